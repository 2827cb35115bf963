import json
from pathlib import Path
from typing import Any

import pytest

from fo1.data.converters import convert
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read

IMAGES = [
    {
        "width": 64,
        "height": 48,
        "url": f"https://example.com/{folder}/{n}.jpg",
        "image_id": n,
        "coco_id": None,
        "flickr_id": None,
    }
    for n, folder in ((1, "VG_100K_2"), (2, "VG_100K"), (3, "VG_100K"))
]


def thing(number: int = 1058498, **changes: Any) -> dict[str, Any]:
    values = {"object_id": number, "synsets": ["clock.n.01"], "names": ["clock", "street  clock"]}
    return {**values, "merged_object_ids": [], "x": 4, "y": 5, "w": 20, "h": 30, **changes}


def region(**changes: Any) -> dict[str, Any]:
    values = {"region_id": 1382, "image_id": 1, "phrase": "the clock is green", "x": 30, "y": 4}
    return {**values, "width": 20, "height": 30, **changes}


def save(path: Path, rows: list[Any]) -> None:
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]")


def write(folder: Path, things: list[Any], said: list[Any], regions: list[Any]) -> Path:
    save(folder / "image_data.json", IMAGES)
    save(folder / "objects.json", [{"image_id": 1, "objects": things, "image_url": ""}])
    save(folder / "attributes.json", [{"image_id": 1, "attributes": said}])
    rows = [{"id": 2, "regions": [region(image_id=2)]}, {"id": 1, "regions": regions}]
    save(folder / "region_descriptions.json", rows)
    paint(folder / "VG_100K_2/1.jpg")
    for number in (2, 3):
        paint(folder / f"VG_100K/{number}.jpg")
    return folder


GREEN = {"object_id": 1058498, "names": ["clock"], "attributes": ["green", "tall", "green"]}


def test_the_official_layout(tmp_path: Path) -> None:
    write(tmp_path, [thing(), thing(7, names=["man"], x=-5)], [GREEN], [region(), region()])
    for source in (tmp_path, tmp_path / "image_data.json"):
        records, bad = read("visual-genome", source)
        assert bad.bad == []
        assert list(records) == ["visual-genome/1", "visual-genome/2"]  # 3 has nothing
        record = records["visual-genome/1"]
        assert [(one.box, one.names, one.descriptions) for one in record.objects] == [
            ((4.0, 5.0, 24.0, 35.0), ("clock", "street clock"), ("green clock", "tall clock")),
            ((0.0, 5.0, 15.0, 35.0), ("man",), ()),
            ((30.0, 4.0, 50.0, 34.0), (), ("the clock is green",)),
        ]
        assert record.looked_for == record.absent == ()
        assert record.partial == ("clock", "street clock", "man")
        assert record.source == "image_data.json:2"
        assert is_drawn(record)
        assert is_drawn(record, 2)


@pytest.mark.parametrize("left_out", ["objects.json", "region_descriptions.json"])
def test_one_of_two_files_is_enough(tmp_path: Path, left_out: str) -> None:
    write(tmp_path, [thing()], [GREEN], [region()])
    (tmp_path / left_out).unlink()
    (tmp_path / "attributes.json").unlink()
    (one,) = read("visual-genome", tmp_path)[0]["visual-genome/1"].objects
    assert bool(one.names) == (left_out != "objects.json")


@pytest.mark.parametrize(
    "changes",
    [{"w": 0}, {"h": -3}, {"x": "4"}, {"x": 64}, {"names": []}, {"names": [7]}, {"names": "a"}],
)
def test_bad_objects_are_told_with_the_line_of_their_picture(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    write(tmp_path, [thing(7, **changes), thing()], [], [])
    records, bad = read("visual-genome", tmp_path)
    assert len(records["visual-genome/1"].objects) == 1
    assert places(bad) == [("objects.json", 2)]
    assert bad.bad[0].problem.startswith("object 7: ")


def test_other_bad_rows_are_told(tmp_path: Path) -> None:
    said = [7, {"object_id": 1058498, "attributes": "green"}]
    write(tmp_path, [thing(), None], said, [region(phrase=""), region(width=None)])
    save(tmp_path / "image_data.json", [*IMAGES, IMAGES[0], {"image_id": 9}, 5])
    records, bad = read("visual-genome", tmp_path)
    assert len(records["visual-genome/1"].objects) == 1
    assert sorted(places(bad), key=str) == [
        ("attributes.json", 2),
        ("attributes.json", 2),
        ("image_data.json", 5),
        ("image_data.json", 6),
        ("image_data.json", 7),
        ("objects.json", 2),
        ("region_descriptions.json", 3),
        ("region_descriptions.json", 3),
    ]


def test_too_many_bad_rows_stop_it(tmp_path: Path) -> None:
    write(tmp_path, [thing(n, w=0) for n in range(20)], [], [])
    with pytest.raises(InputError, match=r"the first is .*objects\.json:2: object 0: "):
        list(convert("visual-genome", tmp_path))


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no objects\.json"):
        list(convert("visual-genome", tmp_path))
