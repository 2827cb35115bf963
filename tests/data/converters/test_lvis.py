from pathlib import Path
from typing import Any

import pytest

from fo1.data.converters import convert
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read
from tests.data.converters.test_coco import line_of, save


def category(number: int, name: str, *synonyms: str) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "synset": f"{name}.n.01",
        "synonyms": [name, *synonyms],
        "def": "a thing",
        "frequency": "f",
        "image_count": 1,
        "instance_count": 1,
    }


CATEGORIES = [
    category(1, "cup_(drink_container)"),
    category(2, "aerosol_can", "spray_can"),
    category(3, "bow_(weapon)"),
    category(4, "bow_(decorative_ribbons)"),
    category(5, "teddy_bear"),
    category(6, "cat"),
]


def annotation(number: int, category_id: int) -> dict[str, Any]:
    box = [5, 6, 20, 30]
    return {
        "id": number,
        "image_id": 1,
        "category_id": category_id,
        "bbox": box,
        "area": 600.0,
        "segmentation": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]],
    }


def image(negative: Any = (), partial: Any = (), **changes: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg",
        "flickr_url": "http://example.com/1.jpg",
        "height": 48,
        "width": 64,
        "license": 3,
        "neg_category_ids": list(negative),
        "not_exhaustive_category_ids": list(partial),
        **changes,
    }


def write(folder: Path, annotations: list[Any], *images: Any) -> Path:
    paint(folder / "train2017/000000391895.jpg")
    table = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    return save(folder / "lvis_v1_train.json", {name: [*each] for name, each in table.items()})


def test_what_is_known_of_each_name(tmp_path: Path) -> None:
    path = write(tmp_path, [annotation(1, 1), annotation(2, 2)], image([5, 6], [2]))
    for source in (tmp_path, path):
        records, bad = read("lvis", source)
        (record,) = records.values()
        assert record.key == "lvis/1"
        assert [one.names for one in record.objects] == [
            ("cup", "cup (drink container)"),
            ("aerosol can", "spray can"),
        ]
        assert record.looked_for == ("cup", "cup (drink container)")
        assert record.partial == ("aerosol can", "spray can")
        assert record.absent == ("cat", "teddy bear")
        assert record.pictures[0].file == str(tmp_path / "train2017/000000391895.jpg")
        assert bad.bad == []
        assert is_drawn(record)


@pytest.mark.parametrize(
    ("there", "negative", "looked_for", "partial", "absent"),
    [
        ([3], [], {"bow (weapon)"}, {"bow"}, set()),
        ([3], [4], {"bow (weapon)", "bow"}, set(), {"bow (decorative ribbons)"}),
        ([], [3], set(), set(), {"bow (weapon)"}),
        ([], [3, 4], set(), set(), {"bow (weapon)", "bow (decorative ribbons)", "bow"}),
    ],
)
def test_a_name_of_two_categories_says_what_holds_for_both(
    tmp_path: Path,
    there: list[int],
    negative: list[int],
    looked_for: set[str],
    partial: set[str],
    absent: set[str],
) -> None:
    annotations = [annotation(number, one) for number, one in enumerate(there)]
    write(tmp_path, annotations, image(negative))
    (record,) = read("lvis", tmp_path)[0].values()
    assert set(record.looked_for) == looked_for
    assert set(record.partial) == partial
    assert set(record.absent) == absent


def test_a_name_that_is_both_there_and_denied_is_there(tmp_path: Path) -> None:
    write(tmp_path, [annotation(1, 6)], image([6]))
    (record,) = read("lvis", tmp_path)[0].values()
    assert record.absent == ()
    assert record.looked_for == ("cat",)


@pytest.mark.parametrize(
    "bad_image",
    [
        image([99], id=2),
        image("x", id=2),
        {"id": 2, "height": 48, "width": 64},
        image(id=2, coco_url="http://images.cocodataset.org/train2017/gone.jpg"),
        image(id=2, height=5),
    ],
)
def test_bad_pictures_are_told_with_their_line(tmp_path: Path, bad_image: Any) -> None:
    path = write(tmp_path, [annotation(1, 1)], image(), bad_image)
    records, bad = read("lvis", tmp_path)
    assert list(records) == ["lvis/1"]
    assert places(bad) == [(path.name, line_of(path, '"id": 2') if "id" in bad_image else 0)]


def test_bad_boxes_are_told_with_their_line(tmp_path: Path) -> None:
    flat = {**annotation(7, 1), "bbox": [1, 1, 5, 0]}
    path = write(tmp_path, [annotation(1, 2), flat], image())
    records, bad = read("lvis", tmp_path)
    assert records["lvis/1"].looked_for == ("aerosol can", "spray can")
    assert places(bad) == [(path.name, line_of(path, '"id": 7'))]


def test_older_files_name_pictures_otherwise(tmp_path: Path) -> None:
    row = image(file_name="COCO_val2014_000000391895.jpg")
    del row["coco_url"]
    write(tmp_path, [], row).rename(tmp_path / "lvis_v0.5_train.json")
    (record,) = read("lvis", tmp_path)[0].values()
    assert record.pictures[0].file == str(tmp_path / "train2017/000000391895.jpg")


def test_a_folder_without_its_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected lvis_v1_train\.json"):
        list(convert("lvis", tmp_path))
