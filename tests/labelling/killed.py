"""Starts `fo1 label` again and again and kills it with SIGKILL at random moments, until it ends.

python -m tests.labelling.killed KILLS SEED WORD ...       prints one JSON object: how many rows there were at each kill
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from fo1.cli import main as fo1
from fo1.cli.label import label_pictures  # imported once, so that every start is quick

assert label_pictures


def rows(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("parts/*/*.jsonl"))


def start(words: list[str]) -> int:
    """Start the command in a process of its own and return its id."""
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        status = fo1(words)
    finally:
        os._exit(status)


def main() -> None:
    kills, seed, words = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    out, chance = Path(words[words.index("--out") + 1]), random.Random(seed)
    left: list[int] = []
    while len(left) < kills:
        child, least = start(words), rows(out)
        until = time.monotonic() + 60
        while rows(out) <= least and time.monotonic() < until:  # each start gets somewhere
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left.append(rows(out))
    _, status = os.waitpid(start(words), 0)
    sys.stdout.write(json.dumps({"left": left, "status": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    main()
