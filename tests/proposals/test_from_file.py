"""A user's own boxes: passed on unchanged, or refused with the cure."""

import io
import json
import types

import pytest
from PIL import Image

from fo1.errors import BoxError, InputError
from fo1.proposals import FileProposer

PICTURE = Image.new("RGB", (200, 100))


def write(folder, text: str | bytes) -> FileProposer:
    path = folder / "boxes.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return FileProposer(path)


def test_boxes_keep_their_order_and_numbers(tmp_path) -> None:
    rows = [[150.5, 3, 199, 40], [0, 0, 20, 20], [0, 0, 20, 20], [-5, 90, 30, 130]]
    proposals = write(tmp_path, json.dumps(rows)).propose(PICTURE)
    assert proposals.boxes.tolist() == rows
    assert proposals.scores.tolist() == [1, 1, 1, 1]
    assert proposals.source.endswith("boxes.json")


def test_no_boxes_are_no_boxes(tmp_path) -> None:
    assert len(write(tmp_path, "[]").propose(PICTURE)) == 0


def test_byte_order_mark_is_no_obstacle(tmp_path) -> None:
    assert len(write(tmp_path, b"\xef\xbb\xbf[[1, 2, 3, 4]]").propose(PICTURE)) == 1


def test_dash_reads_standard_input(monkeypatch) -> None:
    stdin = types.SimpleNamespace(buffer=io.BytesIO(b"[[1, 2, 3, 4]]"))
    monkeypatch.setattr("sys.stdin", stdin)
    proposals = FileProposer("-").propose(PICTURE)
    assert proposals.boxes.tolist() == [[1, 2, 3, 4]]
    assert proposals.source == "standard input"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"boxes": {}}', "boxes is an object, not a list"),
        ("null", "holds null, not a list"),
        ("[1, 2, 3, 4]", "row 0 is a number, not a box"),
        ('[[1, 2, 3, 4], {"x": 1}]', "row 1 is an object, not a box"),
        ("[[1, 2, 3, 4], [1, 2, 3]]", "row 1 has 3 entries, a box has 4"),
        ('[[1, 2, 3, "4"]]', "row 0 holds a text, not a number"),
        ("[[true, 2, 3, 4]]", "row 0 holds a truth value, not a number"),
        ("[[1, 2, [3], 4]]", "row 0 holds a list, not a number"),
        ("[[1, 2, NaN, 4]]", "row 0: .* not finite"),
        ("[[1, 2, 3, 1" + "0" * 5000 + "]]", "row 0: .* not finite"),
    ],
)
def test_json_that_is_no_list_of_boxes_is_refused(tmp_path, text: str, problem: str) -> None:
    with pytest.raises(BoxError, match=problem) as caught:
        write(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[[1, 2, 3", "x1,y1", b"\xff\xfe\x00", b"\x80", "[" * 99999])
def test_what_is_not_json_is_refused(tmp_path, text) -> None:
    with pytest.raises(
        InputError, match=r"(is not JSON|is empty).*give a JSON list of boxes"
    ) as caught:
        write(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"cannot read boxes from .*none.json .No such file"):
        FileProposer(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "problem"), [("[[9, 1, 2, 5]]", "x2 = 2"), ("[[300, 1, 400, 5]]", "outside the pict")]
)
def test_boxes_that_do_not_fit_the_picture_are_refused(tmp_path, text: str, problem: str) -> None:
    with pytest.raises(BoxError, match=problem):
        write(tmp_path, text).propose(PICTURE)
