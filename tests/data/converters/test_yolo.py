from pathlib import Path

import pytest

from fo1.data.converters import convert
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read

YAML = """\
path: .
train: images/train
val: images/val
names:
  0: cat
  1: fire truck
"""


def write(folder: Path, lines: str | bytes = "1 0.5 0.5 0.25 0.5\n", table: str = YAML) -> Path:
    """Write a data set of one picture of 64 x 48 with labels and one without."""
    paint(folder / "images/train/a.jpg")
    paint(folder / "images/train/deep/b.png")
    paint(folder / "images/val/c.jpg")
    labels = folder / "labels/train/a.txt"
    labels.parent.mkdir(parents=True, exist_ok=True)
    labels.write_bytes(lines.encode() if isinstance(lines, str) else lines)
    path = folder / "data.yaml"
    path.write_text(table)
    return path


def test_the_usual_layout(tmp_path: Path) -> None:
    path = write(tmp_path, "1 0.5 0.5 0.25 0.5\n0 0.125 0.25 0.25 0.5\n")
    for source in (tmp_path, path):
        records, bad = read("yolo", source)
        assert list(records) == ["yolo/images/train/a.jpg", "yolo/images/train/deep/b.png"]
        first, second = records.values()
        assert [(one.box, one.names) for one in first.objects] == [
            ((24.0, 12.0, 40.0, 36.0), ("fire truck",)),
            ((0.0, 0.0, 16.0, 24.0), ("cat",)),
        ]
        assert first.looked_for == second.looked_for == ("cat", "fire truck")
        assert second.objects == ()
        assert first.pictures[0].size == (48, 64)
        assert (bad.rows, bad.bad) == (4, [])
        assert is_drawn(first)


def test_a_polygon_becomes_the_box_around_it(tmp_path: Path) -> None:
    write(tmp_path, "0 0.25 0.25 0.75 0.25 0.5 0.75\r\n\r\n")
    records, bad = read("yolo", tmp_path)
    assert records["yolo/images/train/a.jpg"].objects[0].box == (16.0, 12.0, 48.0, 36.0)
    assert bad.bad == []


def test_the_export_whose_paths_lead_out(tmp_path: Path) -> None:
    """data.yaml names ../train/images for a folder that is beside it."""
    root = tmp_path / "export"
    paint(root / "train/images/a.jpg")
    (root / "train/labels").mkdir()
    (root / "train/labels/a.txt").write_text("0 0.5 0.5 0.5 0.5")
    table = "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cat']\n"
    (root / "data.yaml").write_text(table)
    (record,) = read("yolo", root)[0].values()
    assert record.key == "yolo/train/images/a.jpg"
    assert record.objects[0].names == ("cat",)
    assert is_drawn(record)


@pytest.mark.parametrize("train", ["train.txt", "[images/train, images/val]"])
def test_lists_of_pictures(tmp_path: Path, train: str) -> None:
    write(tmp_path, table=f"train: {train}\nnames: [cat, dog]")
    (tmp_path / "train.txt").write_text("./images/train/a.jpg\n\nimages/val/c.jpg\n")
    records, _ = read("yolo", tmp_path)
    assert {Path(key).name for key in records} >= {"a.jpg", "c.jpg"}


@pytest.mark.parametrize("names", ["classes.txt", "obj.names"])
def test_names_one_a_line(tmp_path: Path, names: str) -> None:
    (tmp_path / names).write_text("cat\r\nfire truck\r\n\r\n")
    for folder, name in (("images", "a.jpg"), ("images/val", "b.jpg")):
        paint(tmp_path / folder / name)
    paint(tmp_path / "images/a.jpg")
    (tmp_path / "images/a.txt").write_text("1 0.5 0.5 0.5 0.5")
    records, _ = read("yolo", tmp_path)
    assert list(records) == ["yolo/images/a.jpg"]
    assert records["yolo/images/a.jpg"].objects[0].names == ("fire truck",)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("2 0.5 0.5 0.25 0.5", "class 2 has no name; there are 2 names"),
        ("-1 0.5 0.5 0.25 0.5", "class -1 has no name"),
        ("0.5 0.5 0.5 0.25 0.5", "expected 'class x y width height'"),
        ("cat 0.5 0.5 0.25 0.5", "holds no numbers"),
        ("0 0.5 0.5 0.25", "4 numbers; expected"),
        ("0 0.5 0.5 0.25 0.5 0.9", "6 numbers; expected"),
        ("0 0.5 0.5 0.25 0.5 0.9 0.9 0.9", "8 numbers; expected"),
        (
            "0 120 80 40 30",
            "120 is no share of a picture; expected numbers from 0 to 1, not pixels",
        ),
        ("0 -0.4 0.5 0.2 0.2", "-0.4 is no share"),
        ("0 0.5 0.5 0 0.5", "two sides above 0"),
        ("0 nan 0.5 0.2 0.2", "all finite"),
        ("0 0.5 0.5 inf 0.2", "all finite"),
        ("1e400 0.5 0.5 0.2 0.2", "all finite"),
        ("0 0.2 0.2 0.2 0.4 0.2 0.6", "two sides above 0"),
        ("9" * 400 + " 0.5 0.5 0.2 0.2", "all finite"),
    ],
)
def test_bad_lines_are_told(tmp_path: Path, line: str, problem: str) -> None:
    write(tmp_path, f"1 0.5 0.5 0.25 0.5\n\n{line}\n0 0.5 0.5 0.5 0.5\n")
    records, bad = read("yolo", tmp_path)
    assert places(bad) == [("a.txt", 3)]
    assert problem in bad.bad[0].problem
    assert len(records["yolo/images/train/a.jpg"].objects) == 2
    assert bad.rows == 5


def test_a_little_over_the_border_is_cut(tmp_path: Path) -> None:
    write(tmp_path, "0 0.9 0.5 0.21 1.004\n")
    (one,) = read("yolo", tmp_path)[0]["yolo/images/train/a.jpg"].objects
    assert one.box[1:] == (0.0, 64.0, 48.0)


def test_files_that_cannot_be_read_are_bad_rows(tmp_path: Path) -> None:
    write(tmp_path, b"0 0.5 0.5 0.5 0.5\n\xff\xfe\xff")
    (tmp_path / "images/train/z.jpg").write_text("no picture")
    records, bad = read("yolo", tmp_path)
    assert len(records) == 2
    assert places(bad) == [("a.txt", None), ("z.jpg", None)]
    assert "a.txt:2: not UTF-8" in bad.bad[0].problem


def test_too_many_bad_lines_stop_it(tmp_path: Path) -> None:
    write(tmp_path, "7 0.5 0.5 0.5 0.5\n" * 12)
    with pytest.raises(InputError, match=r"11 of 12 rows cannot be used, .*a\.txt:1: class 7"):
        list(convert("yolo", tmp_path))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("names: [cat\ntrain: x", r"data\.yaml:2: no YAML"),
        ("- cat", "holds a list"),
        ("train: images/train", "names is None"),
        ("names: {a: cat}\ntrain: images/train", "names has the number 'a'"),
        ("names: [no]\ntrain: images/train", "name 0 is False; put a name in quotes"),
        ("names: ['']\ntrain: images/train", "name 0 is ''; put a name"),
        ("names: [cat]", "names no 'train'"),
        ("names: [cat]\ntrain: gone", "names the training split .*gone, which is not there"),
        ("names: [cat]\ntrain: labels", "found no pictures"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, table: str, problem: str) -> None:
    write(tmp_path, table=table)
    with pytest.raises(InputError, match=problem):
        list(convert("yolo", tmp_path))


def test_a_folder_without_names_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/classes.txt").write_text("cat\n\ndog")
    with pytest.raises(InputError, match="has an empty line"):
        list(convert("yolo", tmp_path / "empty"))
    with pytest.raises(InputError, match=r"holds neither data\.yaml nor classes\.txt"):
        list(convert("yolo", tmp_path))
