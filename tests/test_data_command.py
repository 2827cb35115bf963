"""`fo1 data` by its public door: wrong use is one line; inspect, audit and convert leave their files."""

import json
from pathlib import Path
from typing import Any

import pytest

from fo1.cli import main
from fo1.data.storage import RecordFile
from tests import tiny


def coco_folder(folder: Path, *, bad: int = 0) -> Path:
    """Write six pictures with two boxes each, and `bad` boxes of no known name."""
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(1, 7):
        tiny.picture(96, 80, seed=number).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 80})
        for place, name in ((10, 1), (50, 2)):
            row = {"id": len(annotations) + 1, "image_id": number, "category_id": name}
            annotations.append({**row, "bbox": [place, 10, 30, 40], "area": 1200, "iscrowd": 0})
    for number in range(bad):
        row = {"id": 100 + number, "image_id": 1, "category_id": 99}
        annotations.append({**row, "bbox": [10, 10, 5, 5], "area": 25, "iscrowd": 0})
    names = [{"id": 1, "name": "zorp"}, {"id": 2, "name": "blick"}]
    table = {"images": images, "annotations": annotations, "categories": names}
    (folder / "annotations.json").write_text(json.dumps(table))
    return folder


def stored(coco: Path) -> Path:
    """Return the folder's records, so that its pictures can be spoiled afterwards."""
    assert main(["data", "convert", str(coco), str(coco / "records.jsonl")]) == 0
    return coco / "records.jsonl"


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return coco_folder(tmp_path / "drawn")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("", "give one of inspect, audit, convert"),
        ("inspekt {coco}", "inspekt"),
        ("inspect nowhere --out x", "nowhere does not exist"),
        ("inspect {coco}", "nowhere to write to"),
        ("inspect {coco} --out x --recipe nanno", "did you mean nano?"),
        ("inspect {coco} --out x --count 0", "no number of at least 1"),
        ("audit {coco} --out {coco}/1.png", "is a file"),
        ("audit {coco} --out x --colour", "does not know"),
        ("convert {coco} {coco}/out.txt", "unknown ending"),
    ],
)
def test_wrong_use_is_one_line(
    coco: Path,
    tmp_path: Path,
    words: str,
    problem: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words.format(coco=coco).split()]) == 2
    err = capsys.readouterr().err
    assert problem in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("embed", [False, True])
def test_convert_writes_records_and_tells_bad_rows(
    embed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = coco_folder(tmp_path / "drawn", bad=12)
    out = tmp_path / "made" / "records.jsonl"
    words = ["data", "convert", f"coco:{folder}", str(out), "--max-bad", "0.9"]
    assert main([*words, *(["--embed"] if embed else [])]) == 0
    said = capsys.readouterr()
    assert "6 records" in said.out
    assert "12 of" in said.err
    assert sum(line.startswith("  ") for line in said.err.splitlines()) == 11
    assert "and 2 more" in said.err
    records = RecordFile(out)
    assert len(records) == 6
    assert all((r.pictures[0].data is not None) == embed for r in records)
    again = tmp_path / "again.tar"
    more = ["--embed"] if embed else []
    assert main(["data", "convert", str(out), str(again), *more]) == 0
    assert [r.key for r in RecordFile(again)] == [r.key for r in records]


def test_too_many_bad_rows_leave_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = coco_folder(tmp_path / "drawn", bad=12)
    out = tmp_path / "records.jsonl"
    assert main(["data", "convert", str(folder), str(out)]) == 2
    assert "--max-bad" in capsys.readouterr().err
    assert not out.exists()


def test_records_are_not_written_over_themselves(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "records.jsonl"
    assert main(["data", "convert", str(coco), str(out)]) == 0
    assert main(["data", "convert", str(out), str(out)]) == 2
    assert "over itself" in capsys.readouterr().err
    assert len(RecordFile(out)) == 6


def test_inspect_writes_samples_and_statistics(
    coco: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seen"
    words = ["data", "inspect", str(coco), "--out", str(out), "--model", str(folder), "--json"]
    assert main([*words, "--count", "4", "--set", "proposer=none"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["statistics"]["objects"] == 12
    assert told["statistics"]["names"] == {"blick": 6, "zorp": 6}
    assert (out / "samples.md").read_text().count("\n## ") == 4
    assert len(list(out.glob("sample-*.png"))) == 4


def test_inspect_tells_of_a_picture_that_cannot_be_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = stored(coco_folder(tmp_path / "drawn"))
    (tmp_path / "drawn" / "1.png").write_bytes(b"no picture")
    out = tmp_path / "seen"
    words = ["data", "inspect", str(records), "--out", str(out), "--model", str(folder), "--json"]
    capsys.readouterr()
    assert main([*words, "--count", "6", "--set", "proposer=none"]) == 1
    said = capsys.readouterr()
    assert len(json.loads(said.out)["failed"]) == 1
    assert "1.png" in said.err


def test_audit_writes_its_list_and_goes_on_after_a_bad_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coco = coco_folder(tmp_path / "drawn")
    table = json.loads((coco / "annotations.json").read_text())
    twice = {**table["annotations"][4], "id": 500, "bbox": [10, 10, 30, 39]}
    table["annotations"].append(twice)
    (coco / "annotations.json").write_text(json.dumps(table))
    records = stored(coco)
    (coco / "1.png").write_bytes(b"no picture")
    out = tmp_path / "doubts"
    words = ["data", "audit", str(records), "--out", str(out), "--model", str(folder), "--json"]
    capsys.readouterr()
    assert main([*words, "--limit", "3"]) == 1
    counts = json.loads(capsys.readouterr().out)
    assert counts["failed"] == 1
    assert counts["counts"]["duplicate"] == 1
    found = json.loads((out / "audit.json").read_text())
    (same,) = [row for row in found["found"] if row["what"] == "duplicate"]
    assert Path(same["file"]).name == "3.png"
    assert same["score"] == pytest.approx(39 / 40, abs=1e-3)
    assert (out / same["picture"]).stat().st_size > 0
    assert "not a verdict" in found["how"]
    page = (out / "audit.md").read_text()
    assert "not a verdict" in page
    assert "1.png" in page
