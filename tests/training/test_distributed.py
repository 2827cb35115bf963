"""Two processes give the losses of one, with DDP and with FSDP2."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def losses(out: Path, *settings: str, processes: int = 1) -> list[dict[str, Any]]:
    """Run the tiny recipe and return the rows of its log."""
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
        start += [f"--master-port={free_port()}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [*start, "-m", "tests.training.tiny_run", str(out), *settings]
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return losses(tmp_path_factory.mktemp("alone"))


def same(rows: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [(r["stage"], r["step"]) for r in rows] == [(r["stage"], r["step"]) for r in wanted]
    for found, expected in zip(rows, wanted, strict=True):
        numbers = {k: v for k, v in expected.items() if isinstance(v, float)}
        assert {k: found[k] for k in numbers} == pytest.approx(numbers, rel=1e-4)


@pytest.mark.parametrize("sharded", ["false", "true"], ids=["DDP", "FSDP2"])
@pytest.mark.parametrize("micro", [2, 1], ids=["whole", "accumulated"])
def test_two_processes_equal_one(
    tmp_path: Path, alone: list[dict[str, Any]], sharded: str, micro: int
) -> None:
    settings = (f"sharded={sharded}", f"micro_batch={micro}")
    same(losses(tmp_path / "two", *settings, processes=2), alone)


@pytest.mark.parametrize("sharded", ["false", "true"], ids=["DDP", "FSDP2"])
def test_two_processes_measure_the_model_of_one(tmp_path: Path, sharded: str) -> None:
    figures: list[list[dict[str, Any]]] = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        losses(out, f"sharded={sharded}", "measure_every=3", processes=processes)
        text = (out / "measured.jsonl").read_text()
        figures.append([json.loads(line) for line in text.splitlines()])
    assert len(figures[0]) == 3
    same(figures[1], figures[0])
    assert figures[0][0]["lm"] != figures[0][2]["lm"]


def test_a_run_goes_on_with_another_number_of_processes(
    tmp_path: Path, alone: list[dict[str, Any]]
) -> None:
    losses(tmp_path / "run", "sharded=true", processes=2)
    # As if it had been stopped in its second stage.
    last = tmp_path / "run/stages/2-perception/checkpoint-6"
    (last / "complete.json").unlink()
    same(losses(tmp_path / "run", "sharded=true"), alone)
