"""The command line by its public door: rows, tables, exit status, one line per complaint."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from fo1 import __version__
from fo1.cli.doctor import NANO_FILES, Check, examine, report
from fo1.pipeline import FO1
from tests import tiny
from tests.tiny_detectors import save_detector

SIZE = (140, 112)  # width, height
KEYS = {
    *("image", "width", "height", "model", "proposer", "task", "regions", "detections"),
    *("texts", "text", "count", "problems", "seconds"),
}
SOURCE = Path(__file__).parent.parent / "src"


# Rows.


@pytest.mark.parametrize(
    "words",
    [
        "detect a.png -q cat",
        "refer a.png -q cat",
        "count a.png -q cat",
        "describe a.png",
        "read a.png --region 0",
        "ask a.png -q what?",
        "ground a.png",
        "similar a.png --region 1",
    ],
)
def test_a_row_of_each_command(quick: Any, loaded: FO1, words: str) -> None:
    done = quick(f"{words} --boxes boxes.json --json")
    (row,) = done.rows
    assert done.status == 0
    assert set(row) == KEYS
    assert (row["image"], row["width"], row["height"]) == ("a.png", *SIZE)
    assert (row["model"], row["proposer"], row["task"]) == (loaded.name, "given", words.split()[0])
    assert row["regions"] == [[0, 0, 40, 40], [30, 30, 80, 100]]
    assert set(row["seconds"]) == {"load", "propose", "encode", "answer"}
    assert row["seconds"]["encode"] > 0 < row["seconds"]["answer"]
    assert isinstance(row["problems"], list)
    assert isinstance(row["count"], int) == (row["task"] == "count")
    for line in done.err.splitlines():
        assert line.startswith("fo1: a.png: note: ")


def test_detections_of_a_row(quick: Any, loaded: FO1) -> None:
    common = ["detect", "a.png", "b.png", "--json", "--threshold", "0", "--boxes", "boxes.json"]
    done = quick([*common, "-q", "cat; coffee cup;", "-q", " cat ", "--query", "dog"])
    first, second = done.rows
    assert [item["label"] for item in first["detections"]] == [
        *("cat", "cat", "coffee cup", "coffee cup", "dog", "dog"),
    ]
    scene = loaded.encode("a.png", [[0, 0, 40, 40], [30, 30, 80, 100]])
    assert first["detections"] == scene.detect(["cat", "coffee cup", "dog"], 0.0).to_dicts()
    assert (second["image"], second["width"]) == ("b.png", 84)
    assert done.complaints == []


def test_the_threshold_cuts(quick: Any) -> None:
    everything = quick("detect a.png -q cat --boxes boxes.json --json --threshold 0").rows[0]
    scores = sorted(item["score"] for item in everything["detections"])
    middle = sum(scores) / 2
    kept = quick(f"detect a.png -q cat --boxes boxes.json --json --threshold {middle}").rows[0]
    assert [item["score"] for item in kept["detections"]] == scores[1:]
    assert (
        quick("detect a.png -q cat --boxes boxes.json --json --threshold 1").rows[0]["detections"]
        == []
    )


def test_proposed_boxes_name_their_source(quick: Any) -> None:
    row = quick("detect a.png -q cat --json").rows[0]
    assert row["proposer"] == "grid"
    assert 20 < len(row["regions"]) <= 100
    row = quick("read a.png --json").rows[0]
    assert len(row["regions"]) == 10


def test_boxes_of_a_data_set_go_to_their_pictures(quick: Any, tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 29, 38]},
            {"id": 2, "image_id": 2, "category_id": 1, "bbox": [3, 4, 20, 20]},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    rows = quick("detect a.png b.png -q cat --boxes coco.json --json --threshold 0").rows
    assert [row["regions"] for row in rows] == [[[1, 2, 30, 40]], [[3, 4, 23, 24]]]
    assert [row["proposer"] for row in rows] == ["given", "given"]
    assert "proposal_score" not in rows[0]["detections"][0]
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.4 0.75\n")
    (row,) = quick("detect a.png -q cat --boxes a.txt --json --threshold 0").rows
    assert row["proposer"] == "a.txt"
    assert row["detections"][0]["proposal_score"] == 0.75
    done = quick("detect a.png -q cat --region 1 --boxes coco.json")
    assert done.status == 2


def test_a_detector_of_transformers_is_a_proposer(run: Any, tmp_path: Path) -> None:
    save_detector(tmp_path / "detector", "rt_detr")
    (row,) = run("detect a.png -q cat --proposer ./detector --json --threshold 0").rows
    assert row["proposer"] == "./detector"
    assert set(row["detections"][0]) == {
        *("label", "box", "score", "region", "proposal_score", "model_score"),
    }
    done = run("detect a.png -q cat --proposer ./nothing")
    assert done.status == 2
    assert "unknown proposer './nothing'; choose one of: nanodet+ssd" in done.err


def test_boxes_from_standard_input(quick: Any, monkeypatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"[[1, 2, 30, 40]]"))
    monkeypatch.setattr("sys.stdin", stdin)
    row = quick("count a.png -q cat --boxes - --json").rows[0]
    assert row["regions"] == [[1, 2, 30, 40]]


def test_pictures_of_every_kind_and_name(quick: Any, place: Path) -> None:
    names = ["\u732b und \u00fc.png", "alpha.png", "grey.png", "with space.jpg"]
    tiny.picture(*SIZE).save(place / names[0])
    tiny.picture(*SIZE).convert("RGBA").save(place / names[1])
    tiny.picture(*SIZE).convert("L").save(place / names[2])
    tiny.picture(*SIZE).save(place / names[3])
    done = quick(["detect", *names, "-q", "\u732b", "--boxes", "boxes.json", "--json"])
    assert [row["image"] for row in done.rows] == names
    assert done.out.isascii()
    assert done.status == 0
    assert names[0] in quick(["detect", names[0], "-q", "cat", "--boxes", "boxes.json"]).out


def test_the_model_is_charged_to_the_first_row_that_succeeds(
    quick: Any, loaded: FO1, monkeypatch
) -> None:
    def load(*_: Any, **__: Any) -> FO1:
        time.sleep(0.2)
        return loaded

    monkeypatch.setattr("fo1.cli.work.FO1.from_pretrained", load)
    _, first, second = quick("count none.png a.png b.png -q cat --boxes boxes.json --json").rows
    assert first["seconds"]["load"] >= 0.2 > second["seconds"]["load"] >= 0


def test_words_in_any_order(quick: Any) -> None:
    for words in ("detect -q cat a.png b.png", "detect a.png -q cat b.png"):
        rows = quick(f"{words} --boxes boxes.json --json").rows
        assert [row["image"] for row in rows] == ["a.png", "b.png"]


# Tables.


def test_a_table_of_detections(quick: Any) -> None:
    done = quick("detect a.png b.png -q cat;dogs --boxes boxes.json --threshold 0")
    lines = done.out.splitlines()
    assert lines[0] == "a.png  140 x 112  4 detections"
    assert lines[1].split() == ["label", "score", "box", "region"]
    assert [line.split()[0] for line in lines[2:6]] == ["cat", "cat", "dogs", "dogs"]
    assert len({len(line) for line in lines[1:6]}) == 1, "the last column is flush"
    assert {line[8:13].strip().count(".") for line in lines[2:6]} == {1}
    assert "b.png  84 x 196  4 detections" in lines
    assert quick("detect a.png -q cat --boxes boxes.json --threshold 1").out == (
        "a.png  140 x 112  no detections\n\n"
    )


def test_tables_of_texts_and_counts(quick: Any) -> None:
    lines = quick("describe a.png --boxes boxes.json").out.splitlines()
    assert lines[0].startswith("a.png  140 x 112  ")
    out = quick("count a.png -q cat --boxes boxes.json --threshold 0").out
    assert out.startswith("a.png  140 x 112  count 2\n")
    assert quick("ask a.png -q what? --boxes boxes.json").status == 0


# Failures.


@pytest.mark.parametrize("form", ["--json", ""])
def test_a_bad_picture_costs_itself_only(quick: Any, place: Path, form: str) -> None:
    (place / "bad.png").write_bytes(b"no picture")
    done = quick(f"detect a.png none.png bad.png b.png -q cat --boxes boxes.json {form}")
    assert done.status == 1
    assert len(done.complaints) == 2
    assert all(line.startswith("fo1: ") and "; " in line for line in done.complaints)
    assert "Traceback" not in done.err
    if form:
        assert [row["image"] for row in done.rows] == ["a.png", "none.png", "bad.png", "b.png"]
        for row in done.rows[1:3]:
            assert set(row) == {"image", "error"}
            assert row["image"] in row["error"]
            assert "\n" not in row["error"]
    else:
        assert "bad.png" not in done.out
        assert "b.png  84 x 196" in done.out


def test_pictures_of_which_none_is_there(quick: Any) -> None:
    done = quick("detect none.png gone.png -q cat --json")
    assert [set(row) for row in done.rows] == [{"image", "error"}] * 2
    assert (done.status, done.complaints) == (1, [f"fo1: {row['error']}" for row in done.rows])
    assert done.err.startswith("fo1: 2 pictures\n")
    assert "2 of 2 pictures, 2 failed" in done.err
    assert "Traceback" in quick("detect none.png -q cat --debug").err
    seen = "data:image/png;base64," + base64.b64encode(Path("a.png").read_bytes()).decode()
    rows = quick(["detect", "none.png", seen, "-q", "cat", "--json"]).rows
    assert ["error" in row for row in rows] == [True, False]


def test_a_box_outside_one_picture_fails_that_one(quick: Any, place: Path) -> None:
    (place / "right.json").write_text("[[100, 0, 130, 50]]")
    done = quick("detect a.png b.png -q cat --boxes right.json --json")
    assert done.status == 1
    assert "outside the picture of width 84" in done.rows[1]["error"]


def test_an_unforeseen_error_is_a_row_as_well(quick: Any, loaded: FO1, monkeypatch) -> None:
    def explode(*_: Any) -> None:
        raise RuntimeError("no memory\nleft")

    monkeypatch.setattr("fo1.pipeline.engine.Engine.match", explode)
    done = quick("detect a.png -q cat --boxes boxes.json --json")
    assert done.status == 1
    assert done.rows == [
        {"image": "a.png", "error": "RuntimeError: no memory left; run it again with --debug"}
    ]
    assert "Traceback" in quick("detect a.png -q cat --boxes boxes.json --debug").err


def test_stopping_is_one_line(run: Any, monkeypatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fo1.cli.work.FO1.from_pretrained", stop)
    done = run("detect a.png -q cat")
    assert (done.status, done.out, done.err) == (130, "", "fo1: stopped\n")


# Pictures written.


def test_a_picture_is_saved_whole(quick: Any, place: Path) -> None:
    before = set(place.iterdir())
    assert quick("detect a.png -q cat --boxes boxes.json --threshold 0 --save x.png").status == 0
    assert set(place.iterdir()) - before == {place / "x.png"}
    with Image.open("a.png") as old, Image.open("x.png") as new:
        assert new.size == old.size
        assert ImageChops.difference(old.convert("RGB"), new.convert("RGB")).getbbox()


def test_several_pictures_are_saved_by_folder_or_pattern(quick: Any, place: Path) -> None:
    (place / "sub").mkdir()
    (place / "out").mkdir()
    tiny.picture(64, 64).save(place / "sub/a.png")
    common = "describe a.png b.png sub/a.png --boxes boxes.json"
    (place / "boxes.json").write_text("[[0, 0, 40, 40]]")
    assert quick(f"{common} --save out").status == 0
    assert {path.name for path in (place / "out").iterdir()} == {"a.png", "b.png", "a_2.png"}
    assert quick(f"{common} --save out/{{index}}-{{stem}}.jpg").status == 0
    assert {path.name for path in (place / "out").glob("*.jpg")} == {
        *("0-a.jpg", "1-b.jpg", "2-a.jpg"),
    }


def test_a_picture_that_cannot_be_written_is_a_failure(quick: Any, monkeypatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    done = quick("detect a.png -q cat --boxes boxes.json --save x.png --json")
    assert done.status == 1
    assert "disk full" in done.rows[0]["error"]
    assert not Path("x.png").exists()


# Help, doctor, and the process itself.


def test_help_and_version(run: Any) -> None:
    done = run("--version")
    assert (done.status, done.out) == (0, f"fo1 {__version__}\n")
    words = run("--help").out
    for command in ("detect", "refer", "count", "describe", "read", "ask", "ground", "similar"):
        assert command in words
        told = run([command, "--help"])
        assert told.status == 0
        assert f"fo1 {command} photo.jpg" in told.out
    assert "exit status" in words


def test_doctor_on_a_good_model(run: Any, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("fo1.pipeline.proposers.ModelProposers.default", "grid")
    done = run("doctor")
    assert done.status == 0, done.out
    assert done.out.splitlines()[-1] == "all in place"
    (row,) = run("doctor --json").rows
    assert row["ok"]
    told = {check["name"]: check["detail"] for check in row["checks"]}
    assert {"python", "torch", "torchvision", "device", "model", "host", "picture"} <= set(told)
    assert told["host"] == (
        "qwen2_5_vl: maps of vision blocks 1, 2, 32 channels, 14 pixels a cell; "
        "a picture of 640 x 480 is seen as 504 x 364 and takes 234 tokens; without pointer"
    )


def test_doctor_on_a_host_without_region_tokens(run: Any, tmp_path: Path) -> None:
    from tests import tiny

    tiny.make_model("internvl").vlm.save_pretrained(tmp_path)
    words = ["doctor", "--json", "--model", str(tmp_path)]
    assert "lacks preprocessor_config.json" in run(words).out
    tiny.HOSTS["internvl"].image_processor().save_pretrained(tmp_path)
    (row,) = run(words).rows
    (told,) = (check["detail"] for check in row["checks"] if not check["ok"])
    assert told.startswith("internvl: maps of vision blocks 1, 24 channels, 14 pixels a cell; ")
    assert "is seen as 168 x 112 and takes 28 tokens; no region tokens yet" in told
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert "no adapter for host family 'gpt2'; known families: gemma3, " in run(words).out


def test_doctor_finds_missing_and_damaged_files(run: Any, place: Path, monkeypatch) -> None:
    for name in NANO_FILES:
        (place / name).write_bytes(b"{}")
    monkeypatch.setattr("fo1.pipeline.loading.packaged_folder", lambda: place)
    done = run("doctor --model nano")
    assert done.status == 1
    assert "model.safetensors is damaged; run: pip install --force-reinstall fo1" in done.out
    (place / "ssd.safetensors").unlink()
    assert "lacks ssd.safetensors" in run("doctor --model nano").out
    (place / "model.safetensors").unlink()
    assert "the files of 'nano' are missing" in run("doctor --model nano").out


def test_doctor_finds_a_broken_torchvision(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision/__init__.py").write_text("raise RuntimeError('no operator nms')")
    monkeypatch.syspath_prepend(tmp_path)
    check = next(check for check in examine("nano", None) if check.name == "torchvision")
    assert not check.ok
    assert "no operator nms" in check.detail
    assert "pip uninstall torchvision" in check.detail
    (tmp_path / "torchvision/__init__.py").write_text("")
    check = next(check for check in examine("nano", None) if check.name == "torchvision")
    assert check.ok


def test_a_report_says_how_much_is_wrong() -> None:
    text = report([Check("a", True, "fine"), Check("long", False, "bad; cure")])
    assert text == "ok    a     fine\nFAIL  long  bad; cure\n1 of 2 failed\n"


def test_the_process_keeps_its_streams_apart(place: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "fo1", "detect", "a.png", "none.png", "-q", "cat", "--json"]
    done = subprocess.run(
        [*command, "--boxes", "boxes.json", "--model", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 1
    assert [set(json.loads(line)) for line in done.stdout.splitlines()] == [
        KEYS,
        {"image", "error"},
    ]
    first, complaint, last = done.stderr.splitlines()
    assert first == "fo1: 2 pictures"
    assert complaint == "fo1: none.png does not exist; check the path"
    assert re.fullmatch(r"fo1: 2 of 2 pictures, 1 failed, \d\d:\d\d passed", last)


def test_help_and_complaints_do_not_wait_for_torch() -> None:
    code = (
        "import sys; from fo1.cli import main; main(['detect', 'a.png']); "
        "main(['detect', 'a.png', '-q', 'cat', '--proposer', 'foo']); "
        "assert main(['detect', 'gone.png', 'https://a.b/c.png', '-q', 'cat']) == 1; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=env)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize(
    ("target", "line", "status"),
    [
        (">/dev/full", "cannot write the output (No space left on device); send it elsewhere", 1),
        (">&-", "standard output is closed; open it, or send it to a file", 2),
    ],
)
def test_output_that_cannot_be_written(
    target: str, line: str, status: int, place: Path, folder: Path
) -> None:
    command = f"{sys.executable} -m fo1 detect a.png -q cat --proposer grid --model {folder} --json"
    done = subprocess.run(
        ["sh", "-c", f"{command} {target}"], cwd=place, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, f"fo1: {line}\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes break as on POSIX")
@pytest.mark.parametrize(
    ("words", "lines", "told"),
    [("--help", 0, ""), ("detect . -q cat --boxes boxes.json --json", 1, "fo1: 22 pictures\n")],
)
def test_a_reader_that_goes_ends_it_quietly(
    words: str, lines: int, told: str, place: Path, folder: Path
) -> None:
    for number in range(20):
        (place / f"{number}.png").write_bytes((place / "a.png").read_bytes())
    model = ["--model", str(folder)] if lines else []
    with subprocess.Popen(
        [sys.executable, "-m", "fo1", *words.split(), *model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": ""},
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for _ in range(lines):
            child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read().decode() == told
    assert child.returncode == 141
