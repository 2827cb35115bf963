"""Starts the tiny run again and again and kills it with SIGKILL at random moments, until it ends.

python -m tests.training.killed OUT KILLS SEED [KEY=VALUE ...]     prints one JSON object: kills, and what each left
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from tests.training.tiny_run import make_run

from fo1.training import run as runs  # imported once, so that every start is quick


def start(out: Path, settings: list[str]) -> int:
    """Start the run in a process of its own and return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        torch.set_num_threads(1)
        runs.run(make_run(out, *settings))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    out, kills, seed, settings = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    chance = random.Random(seed)
    left: list[str] = []
    before: set[tuple[str, int]] = set()
    for _ in range(kills):
        begun = time.monotonic()
        while True:
            child = start(out, settings)
            time.sleep(chance.uniform(0.05, 0.9))
            ended, status = os.waitpid(child, os.WNOHANG)
            if not ended:
                break
            assert os.waitstatus_to_exitcode(status) == 0
            sys.stdout.write(json.dumps({"kills": left, "ended": "before all kills"}))
            return
        until = time.monotonic() + 2
        while len(left) % 2 and time.monotonic() < until:  # every second one waits for a save
            if any(out.glob("stages/*/checkpoint-*.part")):
                break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        unmarked = {
            (path.name, path.stat().st_mtime_ns)
            for path in out.glob("stages/*/checkpoint-*")
            if not (path / "complete.json").exists()
        }
        left.append("in a save" if unmarked - before else "elsewhere")
        before = unmarked
        assert time.monotonic() - begun < 120
    child = start(out, settings)
    _, status = os.waitpid(child, 0)
    sys.stdout.write(json.dumps({"kills": left, "status": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    main()
