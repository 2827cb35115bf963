"""`fo1 verify` and `fo1 convert` by the public door: lines, JSON, exit status, nothing left behind."""

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
from safetensors.torch import load_file, save_file

from fo1.cli import main
from tests.parity.cases import FIXTURES

MAIN = FIXTURES / "VLM-FO1_Qwen2.5-VL-tiny"
SOURCE = Path(__file__).parent.parent / "src"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MAIN, tmp_path / "checkpoint"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return main([str(word) for word in words]), *capsys.readouterr()

    return call


def test_verify_a_whole_checkpoint(run: Any) -> None:
    status, out, err = run("verify", MAIN)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("ok    files         10 files")
    assert "all in place" in lines
    assert "docs/parity.md" in out
    assert not any(line.startswith("FAIL") for line in lines)
    assert "what to report" not in out
    assert "```" not in out
    assert str(FIXTURES) not in out, "a path of this machine is nobody's business"


def test_verify_says_what_to_report(run: Any, checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.mm_projector_aux.2.weight"] *= 1e5
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    status, out, err = run("verify", checkpoint)
    assert (status, err) == (1, "")
    lines = out.splitlines()
    block = "\n".join(lines[lines.index("what to report:") :])
    for word in (
        *("versions: fo1 ", "torch ", "transformers ", "platform: python "),
        *("failed: ratio: ", "files: ", "=5174", "header_sha256: "),
        *('"mm_roi_output_size": 7', '"region_to_word_ratio": '),
    ):
        assert word in block
    assert str(checkpoint) not in out, "a path of this machine is nobody's business"


def test_verify_a_damaged_checkpoint(run: Any, checkpoint: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    status, out, err = run("verify", checkpoint)
    assert (status, err) == (1, "")
    assert "FAIL  weights" in out
    assert "not tried: something above failed" in out
    assert "failed: weights: the header" in out or "failed: weights: model.safetensors is" in out
    assert "1 of 6 failed" in out
    assert "Traceback" not in out


def test_verify_as_json(run: Any, checkpoint: Path) -> None:
    status, out, _ = run("verify", checkpoint, "--no-run", "--json")
    found = json.loads(out)
    assert (status, found["ok"], found["statistics"]) == (0, True, {})
    assert set(found["findings"][0]) == {"name", "status", "detail"}
    assert len(found["header_sha256"]) == 64
    assert found["files"]["config.json"] == 2846
    assert found["options"]["mm_roi_output_size"] == 7
    assert {"fo1", "torch", "transformers"} <= found["versions"].keys()
    assert found["platform"].startswith("python ")
    (checkpoint / "config.json").unlink()
    status, out, _ = run("verify", checkpoint, "--json")
    assert (status, json.loads(out)["ok"]) == (1, False)


def test_verify_nano(run: Any) -> None:
    status, out, _ = run("verify", "nano", "--no-run")
    assert status == 0
    assert "layout of fo1" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["verify"], "required: FOLDER"),
        (["verify", "/nowhere"], "'/nowhere' is no folder"),
        (["verify", __file__], "is no folder"),
        (["verify", "a", "b"], "does not know 'b'"),
        (["verify", str(MAIN), "--fast"], "does not know '--fast'"),
        (["verify", str(MAIN), "--device", "abacus"], "device 'abacus'"),
        (["convert", str(MAIN)], "required: OUT"),
        (["convert", "/nowhere", "never"], "/nowhere is no folder"),
        (["convert", str(MAIN), "never", "--to", "gguf"], "gguf"),
        (["convert", str(MAIN), "never", "--dtype", "int8"], "int8"),
        (["convert", "nano", "never", "--to", "published"], "cannot express this model"),
    ],
)
def test_wrong_use(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert complaint in err
    assert err.startswith("fo1: ")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_convert_there_and_back(run: Any, tmp_path: Path) -> None:
    ours, again = tmp_path / "ours", tmp_path / "again"
    status, out, err = run("convert", MAIN, ours)
    assert (status, err) == (0, "")
    size = (ours / "model.safetensors").stat().st_size
    assert f" {size:,} bytes" in next(line for line in out.splitlines() if "safetensors" in line)
    assert out.splitlines()[-1].startswith(f"{ours}: 7 files, ")
    status, out, _ = run(
        "convert", ours, again, "--to", "published", "--dtype", "bfloat16", "--json"
    )
    done = json.loads(out)
    assert status == 0
    assert done["files"].keys() == {file.name for file in again.iterdir()}
    assert "aux_vision_config" in done["notes"][0]
    assert run("verify", again, "--no-run")[0] == 0


def test_convert_over_something(run: Any, checkpoint: Path) -> None:
    before = sorted(checkpoint.iterdir())
    status, _, err = run("convert", MAIN, checkpoint)
    assert status == 2
    assert "exists and is not empty" in err
    assert sorted(checkpoint.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_convert_stopped_by_the_user(tmp_path: Path) -> None:
    """Ctrl-C while the weights are written leaves nothing."""
    code = (
        "import sys, time\n"
        "from fo1.models.checkpoints import convert\n"
        "from fo1.cli import main\n"
        "def slow(*a, **k):\n"
        "    print('writing', flush=True, file=sys.__stdout__)\n"
        "    time.sleep(60)\n"
        "convert.write_shards = slow\n"
        f"sys.exit(main(['convert', {str(MAIN)!r}, {str(tmp_path / 'out')!r}]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert (tmp_path / "out.partial").is_dir()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "fo1: stopped"
    assert list(tmp_path.iterdir()) == []
