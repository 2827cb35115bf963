"""A box that cannot be used takes from its picture what would be said of its name."""

from pathlib import Path
from typing import Any

import pytest

from fo1.data.converters.known_names import known_names
from fo1.data.schema import TrueObject
from tests.data.converters import (
    test_coco,
    test_coco_text,
    test_labelme,
    test_lvis,
    test_refcoco,
    test_yolo,
)
from tests.data.converters.drawn import read

NOTHING = [0.0, 0.0, 0.0, 0.0]


def test_a_name_is_partial_where_a_box_is_left_and_unknown_where_none_is() -> None:
    objects = [TrueObject((0, 0, 1, 1), ("cat", "pet"))]
    known = known_names(("cat", "dog", "bird"), objects, {"cat", "dog"})
    assert known.looked_for == ("bird",)
    assert known.partial == ("cat",)


@pytest.mark.parametrize(
    ("lost", "looked_for", "partial"),
    [
        ({"bbox": NOTHING}, ("person",), ("cat",)),  # nothing inside
        ({"bbox": "none"}, ("person",), ("cat",)),
        ({"area": -1}, ("person",), ("cat",)),
        ({"id": 1}, ("person",), ("cat",)),  # of another one
        ({"category_id": 1, "bbox": "none"}, ("cat",), ("person",)),
        ({"category_id": 99}, (), ("cat", "person")),  # may be anything
        ({"image_id": 285}, ("person", "cat"), ()),  # a usable box of the other picture
    ],
)
def test_lost_in_coco(
    tmp_path: Path, lost: dict[str, Any], looked_for: tuple[str, ...], partial: tuple[str, ...]
) -> None:
    rows = test_coco.rows()
    rows["annotations"].append({**rows["annotations"][0], "id": 3, **lost})
    test_coco.official(tmp_path, rows)
    records, _ = read("coco", tmp_path)
    record = records["coco/139"]
    assert set(record.looked_for) == set(looked_for)
    assert set(record.partial) == set(partial)
    assert records["coco/285"].looked_for == ("person", "cat")


def test_lost_in_lvis(tmp_path: Path) -> None:
    good, lost = test_lvis.annotation(1, 2), {**test_lvis.annotation(2, 2), "bbox": NOTHING}
    gone = {**test_lvis.annotation(3, 6), "bbox": NOTHING}
    test_lvis.write(tmp_path, [good, lost, gone], test_lvis.image([5, 6]))
    (record,) = read("lvis", tmp_path)[0].values()
    assert record.looked_for == ()
    assert record.partial == ("aerosol can", "spray can")
    assert record.absent == ("teddy bear",)


@pytest.mark.parametrize(
    ("line", "looked_for", "partial"),
    [
        ("1 0.5 0.5 7 0.5", ("cat",), ("fire truck",)),
        ("0 x", ("fire truck",), ()),
        ("9 0.5 0.5 0.25 0.5", (), ("fire truck",)),
        ("word", (), ("fire truck",)),
    ],
)
def test_lost_in_yolo(
    tmp_path: Path, line: str, looked_for: tuple[str, ...], partial: tuple[str, ...]
) -> None:
    test_yolo.write(tmp_path, f"1 0.5 0.5 0.25 0.5\n{line}\n")
    records, _ = read("yolo", tmp_path)
    record = records["yolo/images/train/a.jpg"]
    assert (record.looked_for, record.partial) == (looked_for, partial)
    assert records["yolo/images/train/deep/b.png"].looked_for == ("cat", "fire truck")


def test_a_label_file_of_yolo_that_cannot_be_read(tmp_path: Path) -> None:
    test_yolo.write(tmp_path, b"\xff\xfe\x00")
    record = read("yolo", tmp_path)[0]["yolo/images/train/a.jpg"]
    assert (record.looked_for, record.partial, record.objects) == ((), (), ())


@pytest.mark.parametrize(
    ("lost", "looked_for", "partial"),
    [
        (test_labelme.shape("cat", "point", [[1, 2]]), ("dog",), ("cat",)),
        (test_labelme.shape("dog", "line", [[1, 2], [3, 4]]), ("cat",), ()),
        (test_labelme.shape(None), (), ("cat",)),
    ],
)
def test_lost_in_labelme(
    tmp_path: Path, lost: dict[str, Any], looked_for: tuple[str, ...], partial: tuple[str, ...]
) -> None:
    test_labelme.write(tmp_path, test_labelme.shape("cat"), lost)
    test_labelme.write(tmp_path, test_labelme.shape("dog"), name="b")
    records, _ = read("labelme", tmp_path)
    record = records["labelme/a"]
    assert (record.looked_for, record.partial) == (looked_for, partial)
    assert records["labelme/b"].looked_for == ("cat", "dog")


def test_a_group_of_labelme_that_lacks_a_part_has_no_box(tmp_path: Path) -> None:
    inside, outside = [[1, 1], [20, 20]], [[200, 200], [220, 220]]
    shapes = [test_labelme.shape(points=one, group=1) for one in (inside, outside)]
    test_labelme.write(tmp_path, *shapes, test_labelme.shape("dog"))
    (record,) = read("labelme", tmp_path)[0].values()
    assert [one.names for one in record.objects] == [("dog",)]
    assert (record.looked_for, record.partial) == (("dog",), ())


def test_lost_in_coco_text(tmp_path: Path) -> None:
    words = [test_coco_text.word(), test_coco_text.word(2, bbox=NOTHING)]
    test_coco_text.write(tmp_path, [test_coco_text.image()], words)
    (record,) = read("coco-text", tmp_path)[0].values()
    assert (record.looked_for, record.partial) == ((), ("text",))


def test_lost_in_refcoco(tmp_path: Path) -> None:
    boxes = test_refcoco.instances()["annotations"]
    boxes = [{**boxes[0], "bbox": NOTHING}, *boxes[1:]]
    test_refcoco.write(tmp_path, test_refcoco.REFS, annotations=boxes)
    record = read("refcoco", tmp_path)[0]["refcoco/1"]
    assert (record.looked_for, record.partial) == (("cat",), ("person",))
