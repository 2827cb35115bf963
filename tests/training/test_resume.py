"""Killed at random moments, also inside saves, a run makes the very losses that it would have made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = ("save_every=1", "stages.alignment.steps=24", "stages.perception.steps=24")


def command(module: str, *words: str) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, env=env, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    "settings", [(), ("bf16=true", "micro_batch=1", "pack_to=800")], ids=["plain", "bf16, packed"]
)
def test_twenty_kills_change_no_loss(tmp_path: Path, settings: tuple[str, ...]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command("tests.training.tiny_run", str(whole), *STEPS, *settings)
    told = json.loads(
        command("tests.training.killed", str(killed), "20", "1", *STEPS, *settings).splitlines()[-1]
    )
    assert told.get("status") == 0, told
    assert len(told["kills"]) == 20
    assert told["kills"].count("in a save") >= 1
    assert (killed / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
    rows = (whole / "log.jsonl").read_text().splitlines()
    assert len(rows) == 48
    assert len({json.loads(row)["loss"] for row in rows}) == 48
