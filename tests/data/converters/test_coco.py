import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fo1.data.converters import convert
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read


def rows(**changes: list[Any]) -> dict[str, Any]:
    """Return a tiny file in the form of instances_train2017.json."""
    return {
        "info": {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017},
        "licenses": [{"url": "http://example.com", "id": 1, "name": "CC"}],
        "images": [
            {"license": 1, "file_name": "000000000139.jpg", "height": 48, "width": 64, "id": 139},
            {"license": 1, "file_name": "000000000285.jpg", "height": 48, "width": 64, "id": 285},
        ],
        "annotations": [
            {
                "segmentation": [[10, 10, 40, 10, 40, 30]],
                "area": 300.0,
                "iscrowd": 0,
                "image_id": 139,
                "bbox": [10.0, 8.0, 30.5, 22.0],
                "category_id": 17,
                "id": 1,
            },
            {
                "segmentation": {"counts": [1, 2], "size": [48, 64]},
                "area": 600,
                "iscrowd": 1,
                "image_id": 139,
                "bbox": [0, 0, 30, 20],
                "category_id": 1,
                "id": 2,
            },
        ],
        "categories": [
            {"supercategory": "person", "id": 1, "name": "person"},
            {"supercategory": "animal", "id": 17, "name": "cat"},
        ],
        **changes,
    }


def save(path: Path, content: object) -> Path:
    """Write a file that holds one row a line from line 2 on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        lines = []
        for name, value in content.items():
            if isinstance(value, list):
                inner = ",\n".join(json.dumps(row) for row in value)
                lines.append(f'"{name}": [\n{inner}\n]')
            else:
                lines.append(f'"{name}": {json.dumps(value)}')
        path.write_text("{\n" + ",\n".join(lines) + "\n}")
    else:
        path.write_text(str(content))
    return path


def line_of(path: Path, part: str) -> int:
    return next(n for n, line in enumerate(path.read_text().split("\n"), 1) if part in line)


def official(folder: Path, content: object | None = None) -> Path:
    for name in ("000000000139.jpg", "000000000285.jpg"):
        paint(folder / "train2017" / name)
    path = folder / "annotations/instances_train2017.json"
    return save(path, rows() if content is None else content)


def test_the_official_layout(tmp_path: Path) -> None:
    path = official(tmp_path)
    save(tmp_path / "annotations/instances_val2017.json", {})
    save(tmp_path / "annotations/captions_train2017.json", {})
    records, bad = read("coco", tmp_path)
    assert list(records) == ["coco/139", "coco/285"]
    first, second = records.values()
    assert first.pictures[0].file == str(tmp_path / "train2017/000000000139.jpg")
    assert first.pictures[0].size == (48, 64)
    assert [(one.box, one.names, one.crowd) for one in first.objects] == [
        ((10.0, 8.0, 40.5, 30.0), ("cat",), False),
        ((0.0, 0.0, 30.0, 20.0), ("person",), True),
    ]
    assert first.looked_for == second.looked_for == ("person", "cat")
    assert second.objects == ()
    assert first.source == f"instances_train2017.json:{line_of(path, '000000000139')}"
    assert (bad.rows, bad.bad) == (6, [])
    assert is_drawn(first)


@pytest.mark.parametrize(
    ("annotations", "folder"),
    [
        ("annotations.json", "."),
        ("annotations.json", "images"),
        ("train/_annotations.coco.json", "train"),
        ("_annotations.coco.json", "."),
        ("annotations/instances_default.json", "images/default"),
        ("annotations/train.json", "train"),
        ("my own.json", "images"),
        ("result.json", "images"),
    ],
)
def test_layouts_that_people_have(tmp_path: Path, annotations: str, folder: str) -> None:
    path = save(tmp_path / annotations, rows())
    for split in ("valid", "test"):
        save(tmp_path / split / "_annotations.coco.json", "no JSON, and never read")
    paint(tmp_path / folder / "000000000139.jpg")
    paint(tmp_path / folder / "000000000285.jpg")
    for source in (tmp_path, path):
        records, bad = read("coco", source)
        assert len(records) == 2
        assert bad.bad == []
        assert is_drawn(records["coco/139"])


def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", rows())
    paint(tmp_path / "far/000000000139.jpg")
    paint(tmp_path / "far/000000000285.jpg")
    assert len(read("coco", path, pictures=tmp_path / "far")[0]) == 2
    with pytest.raises(InputError, match="cannot be used"):
        list(convert("coco", path))


def test_names_of_pictures_may_have_folders(tmp_path: Path) -> None:
    images = [
        {"file_name": "images\\sub\\a.jpg", "id": 1},
        {"file_name": "./images/b.jpg", "id": 2},
        {"file_name": "/home/somebody/labelled/c.jpg", "id": 3},
        {"file_name": "http://example.com/a.jpg", "id": 4},
        {"file_name": "..", "id": 5},
        {"file_name": "x" * 5000, "id": 6},
        {"file_name": "a\0.jpg", "id": 7},
    ]
    path = save(tmp_path / "annotations.json", rows(images=images, annotations=[]))
    for name in ("images/sub/a.jpg", "images/b.jpg", "images/c.jpg"):
        paint(tmp_path / name)
    records, bad = read("coco", tmp_path)
    assert list(records) == ["coco/1", "coco/2", "coco/3"]
    assert [row.line for row in bad.bad] == [line_of(path, f'"id": {n}}}') for n in (4, 5, 6, 7)]


GOOD = rows()["annotations"][0]
BAD_ANNOTATIONS = {
    "no object": 7,
    "no id": {**GOOD, "id": None},
    "the id of another": {**GOOD, "id": 1},
    "no such picture": {**GOOD, "id": 9, "image_id": 5},
    "no such category": {**GOOD, "id": 9, "category_id": 5},
    "no box": {key: value for key, value in GOOD.items() if key != "bbox"} | {"id": 9},
    "three numbers": {**GOOD, "id": 9, "bbox": [1, 2, 3]},
    "texts": {**GOOD, "id": 9, "bbox": ["1", "2", "3", "4"]},
    "negative width": {**GOOD, "id": 9, "bbox": [20, 20, -5, 5]},
    "zero height": {**GOOD, "id": 9, "bbox": [20, 20, 5, 0]},
    "outside": {**GOOD, "id": 9, "bbox": [64, 10, 5, 5]},
    "far outside": {**GOOD, "id": 9, "bbox": [-900, 10, 5, 5]},
    "NaN": {**GOOD, "id": 9, "bbox": [float("nan"), 10, 5, 5]},
    "Infinity": {**GOOD, "id": 9, "bbox": [0, 10, float("inf"), 5]},
    "huge": {**GOOD, "id": 9, "bbox": [0, 10, 10**400, 5]},
    "nested": {**GOOD, "id": 9, "bbox": [[0, 10, 5, 5]]},
    "crowd of two": {**GOOD, "id": 9, "iscrowd": 2},
}


@pytest.mark.parametrize("bad_row", BAD_ANNOTATIONS.values(), ids=BAD_ANNOTATIONS)
def test_bad_annotations_are_told_with_their_line(tmp_path: Path, bad_row: object) -> None:
    path = official(tmp_path, rows(annotations=[*rows()["annotations"], bad_row]))
    records, bad = read("coco", tmp_path)
    assert places(bad) == [(path.name, line_of(path, '"categories"') - 2)]
    assert len(records["coco/139"].objects) == 2
    assert "\n" not in bad.bad[0].problem


def test_a_box_is_cut_at_the_border(tmp_path: Path) -> None:
    official(tmp_path, rows(annotations=[{**GOOD, "bbox": [-10, 30, 500, 500]}]))
    records, bad = read("coco", tmp_path)
    assert records["coco/139"].objects[0].box == (0.0, 30.0, 64.0, 48.0)
    assert bad.bad == []


IMAGE = {"file_name": "000000000139.jpg", "height": 48, "width": 64, "id": 500}
BAD_IMAGES = {
    "not there": {**IMAGE, "file_name": "gone.jpg"},
    "no name": {"id": 500},
    "a number": {**IMAGE, "file_name": 7},
    "another size": {**IMAGE, "height": 64, "width": 48},
    "no size": {**IMAGE, "height": 0},
    "half a pixel": {**IMAGE, "height": 48.5},
    "no picture": {**IMAGE, "file_name": "text.jpg"},
    "no id": {**IMAGE, "id": None},
    "the id of another": {**IMAGE, "id": 139},
}


@pytest.mark.parametrize("bad_row", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_bad_pictures_are_told_with_their_line(tmp_path: Path, bad_row: object) -> None:
    path = official(tmp_path, rows(images=[*rows()["images"], bad_row]))
    (tmp_path / "train2017/text.jpg").write_text("no picture")
    records, bad = read("coco", tmp_path)
    assert list(records) == ["coco/139", "coco/285"]
    assert places(bad) == [(path.name, line_of(path, '"annotations"') - 2)]


def test_bad_categories_are_told_with_their_line(tmp_path: Path) -> None:
    categories = [*rows()["categories"], {"id": 3}, {"id": 4, "name": "  "}]
    path = official(tmp_path, rows(categories=categories))
    records, bad = read("coco", tmp_path)
    assert records["coco/139"].looked_for == ("person", "cat")
    assert [row.line for row in bad.bad] == [line_of(path, '{"id": 3'), line_of(path, '{"id": 4')]


def test_a_size_that_nobody_wrote_is_read_from_the_picture(tmp_path: Path) -> None:
    images = [{"file_name": "a.png", "id": 1}, {"file_name": "turned.jpg", "id": 2}]
    save(tmp_path / "annotations.json", rows(images=images, annotations=[]))
    paint(tmp_path / "a.png", 30, 20)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=turned)
    records, _ = read("coco", tmp_path)
    assert [one.pictures[0].size for one in records.values()] == [(20, 30), (30, 20)]


def test_ids_may_be_texts_and_floats(tmp_path: Path) -> None:
    images = [{**IMAGE, "id": "139"}, {**IMAGE, "id": "b", "file_name": "000000000285.jpg"}]
    annotations = [
        {**GOOD, "id": "x", "image_id": "b", "category_id": 17.0},
        {**GOOD, "id": 2.0, "image_id": 139.0},
    ]
    official(tmp_path, rows(images=images, annotations=annotations))
    records, bad = read("coco", tmp_path)
    assert list(records) == ["coco/139", "coco/000000000285.jpg"]
    assert [one.objects[0].names for one in records.values()] == [("cat",), ("cat",)]
    assert bad.bad == []


def test_too_many_bad_rows_stop_it(tmp_path: Path) -> None:
    zero = [{**GOOD, "id": number, "bbox": [1, 1, 0, 0]} for number in range(100, 112)]
    path = official(tmp_path, rows(annotations=zero))
    with pytest.raises(InputError) as error:
        list(convert("coco", tmp_path))
    line = line_of(path, '"id": 100')
    assert str(error.value).startswith(
        f"11 of 16 rows cannot be used, the first is {path}:{line}: "
    )
    assert str(error.value).endswith("mend them, or allow more with --max-bad 0.5")
    assert len(list(convert("coco", tmp_path, max_bad=0.9))) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"instances_train2017\.json:1:2 is not JSON"),
        ("[]", "holds a list"),
        ({"images": []}, "no list 'annotations'"),
        (rows(categories=[]), "no category with a name"),
        (rows(images=[], annotations=[]), "holds no picture"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: object, problem: str) -> None:
    official(tmp_path, content)
    with pytest.raises(InputError, match=problem):
        list(convert("coco", tmp_path))


def test_a_folder_that_says_too_little(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"holds no COCO file for training; expected annotations\.json"
    ):
        list(convert("coco", tmp_path))
    save(tmp_path / "test.json", rows())
    with pytest.raises(InputError, match="holds no COCO file for training"):
        list(convert("coco", tmp_path))
    for name in ("cats.json", "dogs.json"):
        save(tmp_path / name, rows())
    with pytest.raises(InputError, match=r"several annotation files \(cats\.json, dogs\.json\)"):
        list(convert("coco", tmp_path))
