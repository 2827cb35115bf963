import json
from pathlib import Path
from typing import Any

import pytest

from fo1.data.converters import convert
from fo1.errors import InputError
from fo1.tags import neutralise
from tests.data.converters.drawn import is_drawn, paint, places, read

FILE = "COCO_train2014_000000390310.jpg"


def image(number: int = 390310, **changes: Any) -> dict[str, Any]:
    values = {"id": number, "set": "train", "width": 64, "height": 48, "file_name": FILE}
    return {**values, **changes}


def word(number: int = 45346, **changes: Any) -> dict[str, Any]:
    return {
        "mask": [5.0, 6.0, 30.0, 6.0, 30.0, 40.0, 5.0, 40.0],
        "class": "machine printed",
        "bbox": [5.0, 6.0, 25.0, 34.0],
        "image_id": 390310,
        "id": number,
        "language": "english",
        "area": 850.0,
        "utf8_string": "New",
        "legibility": "legible",
        **changes,
    }


def write(
    folder: Path, images: list[Any], words: list[Any], name: str = "cocotext.v2.json"
) -> Path:
    """Write a file with one row a line."""
    paint(folder / "train2014" / FILE)

    def table(rows: list[Any]) -> str:
        keyed = [(str(row["id"]) if isinstance(row, dict) else "x", row) for row in rows]
        return ",\n".join(f"{json.dumps(key)}: {json.dumps(row)}" for key, row in keyed)

    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'{{"cats": {{}},\n"anns": {{\n{table(words)}\n}},\n"imgs": {{\n{table(images)}\n}},\n'
        '"imgToAnns": {"390310": [45346]}, "info": {"version": "2.0"}}'
    )
    return path


@pytest.mark.parametrize("name", ["cocotext.v2.json", "annotations/cocotext.v2.json"])
def test_words_and_their_readings(tmp_path: Path, name: str) -> None:
    words = [
        word(),
        word(2, utf8_string="two\n words "),
        word(6, utf8_string="<region0>"),
        word(3, utf8_string=""),
        word(4, legibility="illegible", utf8_string=""),
        word(5, legibility="illegible", utf8_string="guess"),
    ]
    path = write(tmp_path, [image(), image(7, set="val"), image(8, set="test")], words, name)
    for source in (tmp_path, path):
        records, bad = read("coco-text", source)
        (record,) = records.values()
        assert record.key == "coco-text/390310"
        assert [one.texts for one in record.objects] == [
            ("New",),
            ("two words",),
            (neutralise("<region0>"),),
            (),
            (),
            (),
        ]
        assert {one.names for one in record.objects} == {("text",)}
        assert record.objects[0].box == (5.0, 6.0, 30.0, 40.0)
        assert record.looked_for == ("text",)
        assert record.source.startswith("cocotext.v2.json:")
        assert (bad.rows, bad.bad) == (9, [])
        assert is_drawn(record)


def test_a_picture_without_text_teaches_that(tmp_path: Path) -> None:
    write(tmp_path, [image()], [])
    (record,) = read("coco-text", tmp_path)[0].values()
    assert record.objects == ()
    assert record.looked_for == ("text",)


@pytest.mark.parametrize(
    ("bad_word", "problem"),
    [
        (word(9, image_id=1), "not among the pictures"),
        (word(9, bbox=[1, 2, 3]), "expected [x, y, width, height]"),
        (word(9, bbox=[5, 5, -3, 4]), "x2"),
        (word(9, bbox=[5, 5, 0, 4]), "two sides above 0"),
        (word(9, bbox=[90, 5, 9, 4]), "outside"),
        (word(9, bbox=[5, 5, float("inf"), 4]), "expected [x, y, width, height]"),
        (word(9, bbox=[5, 5, float("nan"), 4]), "expected [x, y, width, height]"),
        (word(9, utf8_string=7), "utf8_string is 7; expected a text"),
        (word(9, utf8_string="x" * 1001), "1,001 characters"),
        (7, "not among the pictures"),
    ],
)
def test_bad_words_are_told_with_their_line(tmp_path: Path, bad_word: Any, problem: str) -> None:
    write(tmp_path, [image()], [word(), bad_word])
    records, bad = read("coco-text", tmp_path)
    assert places(bad) == [("cocotext.v2.json", 4)]
    assert problem in bad.bad[0].problem
    assert len(records["coco-text/390310"].objects) == 1


@pytest.mark.parametrize(
    ("bad_image", "problem"),
    [
        (image(9, file_name="gone.jpg"), "found no picture"),
        (image(9, file_name=None), "file_name is None"),
        (image(9, width=48, height=64), "64 x 48 pixels but its row says 48 x 64"),
        (image(9, width="64"), "width"),
        (7, "is no object"),
    ],
)
def test_bad_pictures_are_told_with_their_line(
    tmp_path: Path, bad_image: Any, problem: str
) -> None:
    write(tmp_path, [image(), bad_image], [])
    records, bad = read("coco-text", tmp_path)
    assert list(records) == ["coco-text/390310"]
    assert places(bad) == [("cocotext.v2.json", 7)]
    assert problem in bad.bad[0].problem


def test_too_many_bad_words_stop_it(tmp_path: Path) -> None:
    write(tmp_path, [image()], [word(number, bbox=[1, 1, 0, 0]) for number in range(12)])
    with pytest.raises(
        InputError, match=r"11 of 13 rows cannot be used, .*v2\.json:3: annotation 0"
    ):
        list(convert("coco-text", tmp_path))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"imgs": {"1":\n{}}', r"cocotext\.v2\.json:2:4 is not JSON"),
        ('{"imgs": {}}', "has no list 'anns'"),
        ('{"imgs": {}, "anns": {}}', "holds no picture"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "cocotext.v2.json").write_text(content)
    with pytest.raises(InputError, match=problem):
        list(convert("coco-text", tmp_path))


def test_a_folder_without_its_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no cocotext\.v2\.json"):
        list(convert("coco-text", tmp_path))
