import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fo1.data.converters import convert
from fo1.data.schema import Count, Record
from fo1.data.storage.pictures import open_picture
from fo1.errors import InputError
from tests.data.converters.drawn import paint, places, read
from tests.data.converters.test_conversations import can_be_drawn

SHA = "ab" * 32
PIXMO = {"image_url": "http://example.com/x/dogs%201.jpg?w=9", "image_sha256": SHA}
GOOD = {"image": "a.jpg", "question": "How many headsets are there in the image?", "number": 10}


def write(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))
    paint(folder / "images/a.jpg")
    return path


def only(folder: Path, *rows: object) -> Record:
    write(folder, *rows)
    records, bad = read("counts", folder)
    assert bad.bad == []
    (record,) = records.values()
    return record


def is_opened(record: Record) -> bool:
    """Return whether the picture of a record, which has no box of its own, is the painted one and can be drawn on."""
    return open_picture(record, 0).size == (64, 48) and can_be_drawn(record)


def test_questions_with_a_number(tmp_path: Path) -> None:
    record = only(tmp_path, GOOD)
    assert record.key == "counts/rows/0"
    assert record.counts == (Count("headsets", 10),)
    assert record.absent == record.looked_for == record.objects == ()
    assert record.pictures[0].size == (48, 64)
    assert record.source == "rows.jsonl line 1"
    assert is_opened(record)


@pytest.mark.parametrize(
    ("question", "noun"),
    [
        ("How many people in the foreground are there in the image?", "people in the foreground"),
        ("How many petals does each flower have in this image?", "petals"),
        ("how many  <region0>  in the picture?", "\u2039region0\u203a"),
        ("How many dogs?", "dogs"),
    ],
)
def test_the_noun_of_a_question(tmp_path: Path, question: str, noun: str) -> None:
    assert only(tmp_path, {**GOOD, "question": question}).counts == (Count(noun, 10),)


@pytest.mark.parametrize("file", [f"{SHA}.jpg", "dogs 1.jpg"])
@pytest.mark.parametrize("points", [[{"x": 1.5, "y": 2}] * 2, {"x": [1, 2], "y": [1, 2]}, None])
def test_labels_with_points(tmp_path: Path, file: str, points: object) -> None:
    paint(tmp_path / "images" / file)
    record = only(tmp_path, {**PIXMO, "label": "dogs", "count": 2, "points": points})
    assert record.counts == (Count("dogs", 2),)
    assert Path(record.pictures[0].file).name == file
    assert is_opened(record)


def test_zero_means_absent(tmp_path: Path) -> None:
    record = only(tmp_path, {"image": "a.jpg", "label": "dogs", "count": 0, "points": []})
    assert (record.counts, record.absent) == ((Count("dogs", 0),), ("dogs",))


def test_pictures_inside_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    stream = io.BytesIO()
    Image.new("RGB", (64, 48)).save(stream, "PNG")
    rows = [
        {"image": {"bytes": stream.getvalue(), "path": None}, "question": "How many cats?"}
        | {"text": "three cats", "number": 3},
        {"image": {"bytes": b"no picture", "path": None}, "question": "How many cats?"}
        | {"text": "three cats", "number": 3},
    ]
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        parquet.write_table(
            arrow.Table.from_pylist(rows), tmp_path / f"data/{split}-00000-of-00001.parquet"
        )
    records, bad = read("counts", tmp_path)
    (record,) = records.values()
    assert record.pictures[0].data == stream.getvalue()
    assert is_opened(record)
    assert places(bad) == [("train-00000-of-00001.parquet", None)]
    assert "row 1" in bad.bad[0].problem


BAD: dict[str, Any] = {
    "no object": 7,
    "no number": {**GOOD, "number": None},
    "a text": {**GOOD, "number": "10"},
    "below zero": {**GOOD, "number": -1},
    "half": {**GOOD, "number": 1.5},
    "no noun": {"image": "a.jpg", "number": 3, "text": "three cats"},
    "another question": {**GOOD, "question": "What is it?"},
    "empty label": {**GOOD, "label": " "},
    "other points": {**GOOD, "points": [{"x": 1, "y": 1}]},
    "no picture": {"label": "cats", "count": 3},
    "not there": {**GOOD, "image": "gone.jpg"},
    "strange picture": {**GOOD, "image": 7},
    "strange URL": {"image_url": "http://[", "label": "cats", "count": 3},
}


@pytest.mark.parametrize("row", BAD.values(), ids=BAD)
def test_bad_rows_are_told_with_their_line(tmp_path: Path, row: object) -> None:
    write(tmp_path, GOOD, row)
    records, bad = read("counts", tmp_path)
    assert list(records) == ["counts/rows/0"]
    assert places(bad) == [("rows.jsonl", 2)]


def test_too_many_bad_rows_stop_it(tmp_path: Path) -> None:
    write(tmp_path, *[{**GOOD, "number": -1}] * 20)
    with pytest.raises(InputError, match=r"the first is .*rows\.jsonl:1: 'number' is -1"):
        list(convert("counts", tmp_path))


def test_what_is_for_measuring_is_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, name="countbench_test.jsonl")
    with pytest.raises(InputError, match="holds no rows to learn from"):
        list(convert("counts", tmp_path))
    assert len(read("counts", path)[0]) == 1
