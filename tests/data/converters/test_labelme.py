import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fo1.data.converters import convert
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read


def shape(
    label: Any = "cat",
    kind: Any = "rectangle",
    points: Any = ((30.0, 40.0), (5.0, 6.0)),
    group: Any = None,
) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


def write(
    folder: Path, *shapes: Any, name: str = "a", picture: bool = True, **changes: Any
) -> Path:
    """Write one file with one shape a line, from line 5 on."""
    if picture:
        paint(folder / f"{name}.jpg")
    values = {"imagePath": f"{name}.jpg", "imageData": None, "imageHeight": 48, "imageWidth": 64}
    rows = ",\n".join(json.dumps(row) for row in shapes)
    rest = json.dumps({**values, **changes})[1:]
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{\n"version": "5.5.0",\n"flags": {{}},\n"shapes": [\n{rows}\n],\n{rest}')
    return path


def test_shapes_with_an_inside(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        shape(),
        shape("fire truck", "polygon", [[1, 2], [30, 4], [10, 20]]),
        shape("sun", "circle", [[20, 20], [23, 24]]),
        shape("cat", "rectangle", [[1, 1], [9, 1], [9, 8], [1, 8]]),
        shape("old", None, [[1, 2], [30, 4], [10, 20]]),
        shape("moon", "mask", [[3, 3], [12, 13]]),
    )
    for source in (tmp_path, path):
        records, bad = read("labelme", source)
        (record,) = records.values()
        assert record.key == "labelme/a"
        assert [(one.names, one.box) for one in record.objects] == [
            (("cat",), (5.0, 6.0, 30.0, 40.0)),
            (("fire truck",), (1.0, 2.0, 30.0, 20.0)),
            (("sun",), (15.0, 15.0, 25.0, 25.0)),
            (("cat",), (1.0, 1.0, 9.0, 8.0)),
            (("old",), (1.0, 2.0, 30.0, 20.0)),
            (("moon",), (3.0, 3.0, 12.0, 13.0)),
        ]
        assert (bad.rows, bad.bad) == (7, [])
        assert is_drawn(record)


def test_parts_of_a_group_are_one_object(tmp_path: Path) -> None:
    write(
        tmp_path,
        shape(points=[[1, 1], [5, 5]], group=1),
        shape(points=[[20, 20], [30, 31]], group=1),
        shape(points=[[2, 2], [4, 4]], group=2),
        shape("dog", points=[[2, 2], [4, 4]], group=1),
        shape(points=[[2, 2], [4, 4]]),
    )
    (record,) = read("labelme", tmp_path)[0].values()
    assert [one.box for one in record.objects] == [
        (1.0, 1.0, 30.0, 31.0),
        *[(2.0, 2.0, 4.0, 4.0)] * 3,
    ]


def test_every_label_of_the_folder_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path, shape("cat"))
    write(tmp_path, shape("dog"), name="deep/b")
    write(tmp_path, name="c")
    records, _ = read("labelme", tmp_path)
    assert list(records) == ["labelme/a", "labelme/c", "labelme/deep/b"]
    assert {one.looked_for for one in records.values()} == {("cat", "dog")}
    assert records["labelme/c"].objects == ()


def test_a_picture_inside_the_file(tmp_path: Path) -> None:
    data = paint(tmp_path / "elsewhere/a.png").read_bytes()
    text = base64.b64encode(data).decode()
    write(tmp_path, shape(), picture=False, imageData=text, imagePath="..\\pictures\\a.png")
    (record,) = read("labelme", tmp_path / "a.json")[0].values()
    assert (record.pictures[0].file, record.pictures[0].data) == ("a.png", data)
    assert is_drawn(record)


def test_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "labels", shape(), picture=False, imagePath="../pictures/a.jpg")
    paint(tmp_path / "images/a.jpg")
    records, _ = read("labelme", tmp_path / "labels", pictures=tmp_path / "images")
    assert is_drawn(records["labelme/a"])


@pytest.mark.parametrize(
    ("bad_shape", "problem"),
    [
        (shape(kind="point", points=[[3, 3]]), "a point has no box; expected one of: rectangle"),
        (shape(kind="line", points=[[3, 3], [9, 9]]), "a line has no box"),
        (shape(kind=["polygon"]), "has no box"),
        (shape(label=""), "the label is ''; expected a name"),
        (shape(label=7), "the label is 7; expected a name"),
        (shape(points=[[3, 3]]), "at least 2 finite"),
        (shape(points=[[3, 3], [5]]), "at least 2 finite"),
        (shape(points=[[3, 3], ["5", 6]]), "at least 2 finite"),
        (shape(points=[[3, 3], [float("nan"), 6]]), "at least 2 finite"),
        (shape(points=[[3, 3], [float("inf"), 6]]), "at least 2 finite"),
        (shape(points=None), "at least 2 finite"),
        (shape(kind="circle", points=[[3, 3], [4, 4], [5, 5]]), "at least 2 finite"),
        (shape(points=[[3, 3], [3, 9]]), "two sides above 0"),
        (shape(points=[[64, 3], [90, 9]]), "outside"),
        (["cat"], "the shape is a list; expected an object"),
    ],
)
def test_bad_shapes_are_told_with_their_line(tmp_path: Path, bad_shape: Any, problem: str) -> None:
    write(tmp_path, shape(), bad_shape, shape("dog"))
    records, bad = read("labelme", tmp_path)
    assert places(bad) == [("a.json", 6)]
    assert problem in bad.bad[0].problem
    assert [one.names for one in records["labelme/a"].objects] == [("cat",), ("dog",)]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"imagePath": "gone.jpg"}, "found no picture"),
        ({"imageHeight": 50}, "64 x 48 pixels but its row says 64 x 50"),
        ({"imageHeight": "48"}, "a side of the picture"),
        ({"imagePath": "gone.jpg", "imageData": "%%%"}, "no base64"),
        ({"imagePath": "gone.jpg", "imageData": "AAAA"}, "not a picture"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    write(tmp_path, shape(), **changes)
    write(tmp_path, shape(), name="b")
    records, bad = read("labelme", tmp_path)
    assert list(records) == ["labelme/b"]
    assert places(bad) == [("a.json", None)]
    assert problem in bad.bad[0].problem


def test_files_of_other_kinds_are_told(tmp_path: Path) -> None:
    write(tmp_path, shape())
    (tmp_path / "b.json").write_text('{"shapes": [\n{]}')
    (tmp_path / "c.json").write_text('{"settings": 1}')
    (tmp_path / "d.json").write_bytes(b"\xff\xff")
    records, bad = read("labelme", tmp_path)
    assert list(records) == ["labelme/a"]
    assert places(bad) == [("b.json", None), ("c.json", None), ("d.json", None)]
    assert "b.json:2:2 is not JSON" in bad.bad[0].problem


def test_too_many_bad_shapes_stop_it(tmp_path: Path) -> None:
    write(tmp_path, *[shape(kind="point", points=[[3, 3]])] * 12)
    with pytest.raises(InputError, match=r"11 of 13 rows cannot be used, .*a\.json:5: a point"):
        list(convert("labelme", tmp_path))


def test_a_folder_without_such_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.json file with 'shapes'"):
        list(convert("labelme", tmp_path))
