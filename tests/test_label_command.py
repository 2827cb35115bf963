"""`fo1 label`: its words, what it prints, and what it says of words that cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def quick(run: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("fo1.labelling.labeller.FO1.from_pretrained", lambda *_, **__: loaded)
    return run


COMMON = "--out out --proposer grid --processes 1"


def test_it_labels_and_tells(quick: Any, place: Path) -> None:
    (place / "names.txt").write_text("dog\n\ncat\n")
    done = quick(f"label . -q cat;cup --queries names.txt {COMMON} --format coco --format voc,yolo")
    assert (done.status, done.complaints) == (0, [])
    lines = done.out.splitlines()
    assert lines[0].startswith("2 pictures, ")
    assert lines[0].endswith("boxes; nothing in 0, 0 broken")
    assert [line.split()[0] for line in lines[1:5]] == ["class", "cat", "cup", "dog"]
    assert lines[5].startswith("labels as coco, voc, yolo in out; look at ")
    table = json.loads((place / "out/coco.json").read_text())
    assert [one["name"] for one in table["categories"]] == ["cat", "cup", "dog"]
    assert [one["file_name"] for one in table["images"]] == ["a.png", "b.png"]
    assert f"{len(table['annotations'])} boxes" in lines[0]
    assert sorted(path.name for path in (place / "out/voc").iterdir()) == ["a.xml", "b.xml"]
    again = quick(f"label . -q cat;cup;dog {COMMON} --json")
    assert json.loads(again.out)["classes"].keys() == {"cat", "cup", "dog"}


def test_broken_pictures_are_told_and_the_rest_is_labelled(quick: Any, place: Path) -> None:
    (place / "list.txt").write_text("a.png\ngone.png\na.png\n")
    done = quick(f"label list.txt -q cat {COMMON} --json")
    assert done.status == 1
    assert json.loads(done.out)["broken"] == 1
    assert done.err.splitlines()[0] == "fo1: 1 pictures are named again; each counts once"
    assert "1 of 2 pictures could not be labelled; see out" in done.err
    row = json.loads((place / "out/broken.jsonl").read_text())
    assert row["image"] == "gone.png"
    assert row["error"].endswith("gone.png does not exist; check the path")


def test_short_memory_is_one_line(quick: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(loaded, "detect", fail)
    done = quick(f"label . -q cat {COMMON}")
    assert done.status == 1
    assert "fo1: memory ran out with 1 pictures at once; give a smaller --batch-size" in done.err


def test_ctrl_c_says_how_far_it_came(
    quick: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(loaded, "detect", stop)
    done = quick(f"label . -q cat {COMMON}")
    assert done.status == 130
    assert "stopped after 0 of 2 pictures; the same command goes on from there" in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("label", "the following arguments are required: FOLDER_OR_LIST"),
        ("label . -q cat", "no --out folder for the labels; for example: fo1 label photos"),
        ("label . --out out", "label needs a --query, the name of something, or --queries"),
        ("label . -q ; --out out", "label needs a --query"),
        ("label . --queries gone.txt --out out", "cannot read gone.txt"),
        ("label . -q cat --out a.png", "--out a.png is a file; give a folder"),
        ("label . -q cat --out out --format pdf", "no format 'pdf'; choose from coco, yolo"),
        ("label . -q cat --out out --format coco,", "no format ''; choose from"),
        ("label . -q cat --out out --proposer none-such", "none-such"),
        ("label . -q cat --out out --processes 0", "'0' is no number of at least 1"),
        ("label . -q cat --out out --threshold 2", "is no number from 0 to 1"),
        ("label gone -q cat --out out", "gone does not exist; give a folder of pictures"),
        ("label a.png -q cat --out out", "a.png is a picture; give its folder"),
        ("label . b -q cat --out out", "does not know 'b'"),
        ("label . -q cat --out out --model gone", "unknown model 'gone'"),
        ("label . -q cat --out boxes.json/out", "cannot write to"),
    ],
)
def test_words_that_cannot_be_used(quick: Any, place: Path, words: str, told: str) -> None:
    done = quick(words)
    assert done.status == 2
    assert done.out == ""
    assert told in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "module", "told"),
    [
        ("--ray", "ray", "--ray needs the package 'ray[data]'; run: pip install 'fo1[ray]'"),
        ("--format parquet", "pyarrow", "--format parquet needs the package 'pyarrow'"),
    ],
)
def test_packages_that_are_missing_are_told_before_any_work(
    quick: Any, place: Path, monkeypatch: pytest.MonkeyPatch, words: str, module: str, told: str
) -> None:
    monkeypatch.setattr("fo1.cli.label.find_spec", lambda name: None if name == module else True)
    done = quick(f"label . -q cat --out out {words}")
    assert (done.status, told in done.err) == (2, True), done.err
    assert not (place / "out").exists()
