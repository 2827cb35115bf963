"""Exports are read back by pycocotools, supervision and our own converters, and hold what was written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fo1.data.converters import convert
from fo1.errors import InputError, MissingExtraError
from fo1.export import EXPORTS, LabelledPicture, export
from fo1.results import NO_REGION, Detections
from tests import tiny

NAMES = ("cat", 'odd: "name"', "dog")
SIZES = {"a/one.png": (90, 120), "a/two.v2.png": (60, 40), "empty.png": (50, 70)}
"""(height, width) by name."""


def detections(size: tuple[int, int], *rows: tuple[str, list[float], float]) -> Detections:
    labels, boxes, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(list(boxes), labels, list(scores), [NO_REGION] * len(rows), size)


FOUND = {
    "a/one.png": detections(
        SIZES["a/one.png"],
        ("dog", [10.25, 20.5, 60.75, 80], 0.9),
        ("cat", [0, 0, 120, 90], 0.5),
        ("dog", [30, 5, 33, 9.5], 0.41),
    ),
    "a/two.v2.png": detections(SIZES["a/two.v2.png"], ('odd: "name"', [1.3, 2.6, 39.2, 59.9], 1.0)),
    "empty.png": detections(SIZES["empty.png"]),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, (height, width)) in enumerate(SIZES.items()):
        (folder / name).parent.mkdir(exist_ok=True)
        tiny.picture(width, height, seed).save(folder / name)
    return folder


@pytest.fixture
def write(root: Path, tmp_path: Path) -> Any:
    def write(name: str) -> Path:
        with export(name, tmp_path, NAMES) as picture:
            for number, (file, found) in enumerate(FOUND.items(), 7):
                picture(LabelledPicture(file, str(root / file), number, found))
        return tmp_path

    return write


def boxes_of(labels: Any, boxes: Any) -> list[tuple[str, list[float]]]:
    return sorted(
        (str(label), np.asarray(box).tolist()) for label, box in zip(labels, boxes, strict=True)
    )


def check(found: Any, classes: list[str], name: str, within: float) -> None:
    """Check that a `supervision.Detections` has the boxes of a picture, in any order."""
    numbers = found.class_id if len(found) else ()
    there = boxes_of([classes[number] for number in numbers], found.xyxy)
    true = boxes_of(FOUND[name].labels, FOUND[name].boxes)
    assert [label for label, _ in there] == [label for label, _ in true]
    for (_, box), (_, wanted) in zip(there, true, strict=True):
        assert box == pytest.approx(wanted, abs=within)


def test_coco_as_pycocotools_reads_it(write: Any) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    path = write("coco") / "coco.json"
    truth = coco.COCO(str(path))
    assert [truth.imgs[number]["file_name"] for number in (7, 8, 9)] == list(SIZES)
    assert (truth.imgs[8]["height"], truth.imgs[8]["width"]) == SIZES["a/two.v2.png"]
    assert [one["name"] for one in truth.loadCats([1, 2, 3])] == list(NAMES)
    assert truth.getAnnIds(imgIds=[9]) == []
    first = truth.loadAnns(truth.getAnnIds(imgIds=[7]))[0]
    assert first["bbox"] == [10.25, 20.5, 50.5, 59.5]
    assert first["area"] == pytest.approx(50.5 * 59.5)
    assert [one["id"] for one in truth.dataset["annotations"]] == [1, 2, 3, 4]
    # The same list as results: each box is found where it is, with its score.
    evaluate = pytest.importorskip("pycocotools.cocoeval").COCOeval
    run = evaluate(truth, truth.loadRes(json.loads(path.read_text())["annotations"]), "bbox")
    run.evaluate(), run.accumulate(), run.summarize()
    assert run.stats[0] == pytest.approx(1.0)


def test_coco_as_supervision_reads_it(write: Any, root: Path) -> None:
    supervision = pytest.importorskip("supervision")
    read = supervision.DetectionDataset.from_coco(str(root), str(write("coco") / "coco.json"))
    assert sorted(read.classes) == sorted(NAMES)
    for path, found in read.annotations.items():
        check(found, read.classes, Path(path).relative_to(root).as_posix(), 0.01)


@pytest.mark.parametrize("folder", ["a", ""])
def test_yolo_as_supervision_reads_it(write: Any, root: Path, folder: str) -> None:
    supervision = pytest.importorskip("supervision")
    out = write("yolo") / "yolo"
    read = supervision.DetectionDataset.from_yolo(
        str(out / "images" / folder), str(out / "labels" / folder), str(out / "data.yaml")
    )
    assert read.classes == list(NAMES)
    names = [name for name in SIZES if Path(name).parent == Path(folder)]
    assert sorted(Path(path).name for path in read.image_paths) == sorted(
        Path(name).name for name in names
    )
    for name in names:
        found = read.annotations[str(out / "images" / name)]
        check(found, read.classes, name, 0.001)


@pytest.mark.parametrize("name", ["a/one.png", "a/two.v2.png", "empty.png"])
def test_voc_as_supervision_reads_it(write: Any, root: Path, name: str) -> None:
    supervision = pytest.importorskip("supervision")
    folder = Path(name).parent
    read = supervision.DetectionDataset.from_pascal_voc(
        str(root / folder), str(write("voc") / "voc" / folder)
    )
    check(read.annotations[str(root / name)], read.classes, name, 0.5)


@pytest.mark.parametrize("kind", ["coco", "yolo", "labelme"])
def test_our_own_converters_read_it(write: Any, root: Path, kind: str) -> None:
    """Boxes, names and pictures; that nothing is in a picture is told as well."""
    out = write(kind)
    source = out / {"coco": "coco.json"}.get(kind, kind)
    records = list(convert(kind, source, pictures=root if kind == "coco" else None, max_bad=0.0))
    found = {Path(one.pictures[0].file).name: one for one in records}
    assert found.keys() == {Path(name).name for name in SIZES}
    for name, true in FOUND.items():
        record = found[Path(name).name]
        assert sorted(one.names[0] for one in record.objects) == sorted(true.labels)
        assert Path(record.pictures[0].file).resolve() == (root / name).resolve()
        there = boxes_of(
            (one.names[0] for one in record.objects), [one.box for one in record.objects]
        )
        for (_, box), (_, wanted) in zip(there, boxes_of(true.labels, true.boxes), strict=True):
            assert box == pytest.approx(wanted, abs=0.01)
        assert set(record.looked_for) >= set(true.labels)


def test_jsonl_and_parquet_hold_the_same_rows(write: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = (write("jsonl") / "labels.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["image"] for row in rows] == list(SIZES)
    assert rows[0]["detections"] == FOUND["a/one.png"].to_dicts()
    table = parquet.read_table(write("parquet") / "labels.parquet").to_pylist()
    for row in table:  # what is not known is null there
        row["detections"] = [
            {key: value for key, value in one.items() if value is not None}
            for one in row["detections"]
        ]
    assert table == rows


@pytest.mark.parametrize("name", EXPORTS)
def test_nothing_takes_its_place_before_all_is_written(
    name: str, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.jsonl").write_text("old")

    def stopped() -> None:
        with export(name, tmp_path, NAMES) as picture:
            picture(LabelledPicture("a/one.png", str(root / "a/one.png"), 1, FOUND["a/one.png"]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stopped()
    assert [path.name for path in tmp_path.iterdir()] == ["labels.jsonl"]
    assert (tmp_path / "labels.jsonl").read_text() == "old"


def test_a_second_export_takes_the_place_of_the_first(write: Any, tmp_path: Path) -> None:
    write("voc")
    (tmp_path / "voc/stale.xml").write_text("")
    write("voc")
    assert not (tmp_path / "voc/stale.xml").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["voc"]


def test_names_of_files_and_things_need_not_be_harmless(root: Path, tmp_path: Path) -> None:
    """Control characters, half surrogates, markup: every format writes them somehow."""
    names = ('<&"\u00e9',)
    file = "b\x01\udce9.png"
    found = detections((9, 9), (names[0], [0, 0, 9, 9], 0.5))
    for name in EXPORTS:
        with export(name, tmp_path, names) as picture:
            picture(LabelledPicture(file, str(root / file), 1, found))
    assert '<name>&lt;&amp;"\u00e9</name>' in next((tmp_path / "voc").iterdir()).read_text("utf-8")


def test_an_unknown_format_and_a_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no format 'xml'; choose from coco, yolo"):
        export("xml", tmp_path, NAMES)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'fo1\[train\]'"),
        export("parquet", tmp_path, NAMES),
    ):
        pass


def test_supervision_itself_both_ways() -> None:
    """The package, not a stand-in: boxes, names, scores and regions come back as they were."""
    supervision = pytest.importorskip("supervision")
    found = FOUND["a/one.png"]
    there = found.to_supervision()
    assert isinstance(there, supervision.Detections)
    assert there.class_id.tolist() == [0, 1, 0]
    assert Detections.from_supervision(there, found.image_size) == found
    best = there[there.confidence > 0.45].with_nms(threshold=0.5)
    assert Detections.from_supervision(best, found.image_size) == found.filter(0.45)
    none = Detections.empty((5, 5))
    assert Detections.from_supervision(none.to_supervision(), (5, 5)) == none
    assert len(Detections.from_supervision(supervision.Detections.empty(), (5, 5))) == 0
