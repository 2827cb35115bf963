"""`fo1 eval` from the words to the files: nano on two real photographs in the form of a photo set."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fo1.cli import main
from fo1.pipeline import FO1

ROOT = Path(__file__).parents[1]
PICTURES = {
    "coffee.jpg": ROOT / "examples/photos/coffee.jpg",
    "chelsea.jpg": ROOT / "tests/fixtures/photos/chelsea.jpg",
}
FILES = [
    *("predictions.jsonl", "reliability.png", "report.md", "rows.jsonl"),
    *("settings.json", "summary.json", "worst"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo set of a cup, a cat, and a picture that is not there."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "open").mkdir()
    for name, source in PICTURES.items():
        shutil.copy(source, folder / "open" / name)
    rows = [
        ("coffee.jpg", 600, 400, [160, 60, 290, 270]),
        ("chelsea.jpg", 451, 300, [10, 5, 430, 290]),
    ]
    rows.append(("gone.jpg", 100, 100, [10, 10, 50, 50]))
    content = {
        "vocabulary": ["cup", "cat"],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "cat"}],
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, width, height, _) in enumerate(rows)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1 + (number == 1), "bbox": box,
             "area": box[2] * box[3], "iscrowd": 0}
            for number, (_, _, _, box) in enumerate(rows)
        ],
    }  # fmt: skip
    content["annotations"].append({"id": 9, "image_id": 0, "category_id": 1, "bbox": "none"})
    (folder / "open.json").write_text(json.dumps(content))
    return folder / "open.json"


@pytest.fixture(scope="module")
def nano() -> FO1:
    return FO1.from_pretrained()


@pytest.fixture
def run(nano: FO1, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    monkeypatch.setattr("fo1.cli.evaluate.FO1.from_pretrained", lambda *_, **__: nano)

    def run(*words: object) -> tuple[int, str, str]:
        status = main(["eval", *map(str, words)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_a_run_writes_everything_and_counts_what_failed(
    run: Any, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    status, told, err = run("folder", "--data", data, "--out", out, "--floors", "--causal")
    assert status == 1  # one picture is missing
    assert "1 of 3 examples failed and count as wrong, 1 rows of the data cannot be read" in err
    assert told.splitlines()[-1] == f"floors, tables and pictures: {out / 'report.md'}"
    assert sorted(path.name for path in out.iterdir()) == FILES
    text = (out / "summary.json").read_text()
    summary = json.loads(text, parse_constant=pytest.fail)  # no NaN, which JSON does not know
    assert summary["counts"]["examples"] == 3
    assert (summary["counts"]["failed"], summary["counts"]["broken"]) == (1, 1)
    figures = summary["figures"]
    assert figures["AP50"]["value"] > 60
    assert figures["AP50"]["unit"] == "%"
    assert summary["bounds"]["true boxes, true names (ceiling)"]["AP"]["value"] == 100
    assert {"text only", "true boxes", "region embeddings zeroed"} <= summary["bounds"].keys()
    assert summary["scored_by"] == ["fusion"]
    record = summary["record"]
    assert record["command"].startswith("fo1 eval folder --data ")
    assert record["hashes"]["task"] == "folder"
    assert len(record["hashes"]["model"]) == len(record["hashes"]["data"]) == 64
    (swaps,) = (t for t in summary["tables"] if t["title"].startswith("Does the model read"))
    assert swaps["rows"]["nothing swapped"][0][0] == 0
    report = (out / "report.md").read_text()
    assert "### Does the model read region tokens?" in report
    assert "### Scores as probabilities" in report
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert sum("broken" in row for row in rows) == 1
    gone = [row for row in rows if "gone.jpg" in row.get("error", "")]
    assert {row["who"] for row in gone} == {row["who"] for row in rows if "who" in row}


def test_again_it_reads_the_rows_and_says_the_same(run: Any, data: Path, tmp_path: Path) -> None:
    words = ("folder", "--data", data, "--out", tmp_path / "run", "--json")
    first, second = run(*words), run(*words)
    assert first[0] == second[0] == 1
    one, two = json.loads(first[1]), json.loads(second[1])
    one.pop("record"), two.pop("record")
    assert one == two


def test_recorded_boxes_and_true_ones_are_used(run: Any, data: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.jsonl"
    lines = [
        {"image": "coffee", "boxes": [[160, 60, 450, 330]], "scores": [0.9]},
        {"image": "chelsea.jpg", "boxes": []},
    ]
    boxes.write_text("\n".join(map(json.dumps, lines)))
    limit = ("--limit", 2, "--json")
    _, told, _ = run(
        "folder", "--data", data, "--out", tmp_path / "a", "--proposals", boxes, *limit
    )
    assert json.loads(told)["figures"]["R@100"]["value"] == 50
    _, told, _ = run(
        "folder", "--data", data, "--out", tmp_path / "b", "--proposals", "true", *limit
    )
    summary = json.loads(told)
    assert summary["figures"]["R@100"]["value"] == 100
    assert summary["record"]["hashes"]["proposals"] == "true"
    assert summary["scored_by"] == ["head"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["coc"], "no task is called 'coc'; did you mean coco?"),
        (["folder", "--data", "SET"], "no --out folder"),
        (["folder", "--data", "SET", "--out", ""], "no --out folder"),
        (["folder", "--data", "SET", "--out", "OUT", "--proposals", "SET"], "an annotation file"),
        (["scenes-new-concepts", "--data", "nowhere", "--out", "OUT"], "nowhere does not exist"),
        (["folder", "--out", "OUT"], "folder needs --data, see docs/evaluation.md"),
        (["folder", "--data", "nowhere", "--out", "OUT"], "--data nowhere does not exist"),
        (["refcoco-val", "--data", "SET", "--out", "OUT"], "instances.json"),
        (["folder", "--data", "SET", "--out", "OUT", "--proposals", "magic"], "no file and no"),
        (["folder", "--data", "SET", "--out", "OUT", "--limit", "0"], "'0' is no number"),
        (["folder", "--data", "SET", "--out", "OUT", "--batch-size", "x"], "x"),
        (["folder", "--data", "SET", "--out", "SET/sub"], "give --out another folder"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line_before_any_work(
    run: Any, data: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    out = tmp_path / "out"
    given = [word.replace("SET", str(data)).replace("OUT", str(out)) for word in words]
    status, printed, err = run(*given)
    assert (status, printed) == (2, "")
    assert err.startswith("fo1: ")
    assert told in err
    assert err.count("\n") == 1
    assert not (out / "rows.jsonl").exists()


def test_a_folder_of_another_run_is_refused(run: Any, data: Path, tmp_path: Path) -> None:
    words = ("folder", "--data", data, "--out", tmp_path / "run", "--limit", 1)
    status, told, _ = run(*words)
    assert status == 1  # a row of the data is broken
    assert "1 of 3 examples (--limit): not to be compared with published figures" in told
    assert "**1 of 3 examples (--limit)" in (tmp_path / "run/report.md").read_text()
    before = (tmp_path / "run/rows.jsonl").read_bytes()
    status, _, err = run(*words[:-1], 2)
    assert status == 2
    assert "holds a run with examples '1', this one has '2'; give --out another folder" in err
    assert (tmp_path / "run/rows.jsonl").read_bytes() == before


def test_killed_and_started_again_it_ends_as_if_nothing_happened(
    data: Path, tmp_path: Path
) -> None:
    """The whole command, killed with SIGKILL while it writes rows."""

    def start(out: Path) -> subprocess.Popen[bytes]:
        words = ["eval", "folder", "--data", str(data), "--floors", "--out", str(out)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "fo1", *words]
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait(250) == 1  # one picture is missing
    process = start(killed)
    part, deadline = killed / "parts/rows-0.jsonl", time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if part.exists() and part.stat().st_size:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert part.exists()
    assert not (killed / "rows.jsonl").exists()
    assert start(killed).wait(250) == 1
    assert (killed / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    one, two = (json.loads((out / "summary.json").read_text()) for out in (whole, killed))
    assert one["figures"] == two["figures"]
    assert one["counts"] == two["counts"]
