"""Makes the trainings of docs/claims.md and keeps their figures in recipes/claims/figures.jsonl.

    python recipes/claims/run.py --out OUT                  all; several such processes share the work
    python recipes/claims/run.py --out OUT --claims 2 3     those of two claims

What was made before is not made again, also where only its figures are left; a stopped training goes on.
"""

import argparse
import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from claims import wanted
from study import Study, Training

from fo1.formats.beside import write_beside

FIGURES = Path(__file__).with_name("figures.jsonl")
CLAIMS = (1, 2, 3, 4, 5, 6)


@contextmanager
def alone(folder: Path, name: str) -> Iterator[bool]:
    """Yield whether no other process is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:  # the system lets go of it when a process dies
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free


def work(study: Study, claims: tuple[int, ...]) -> None:
    """Make all trainings of some claims, in the company of other processes."""
    left = True
    while left:
        left = waiting = False
        for training in wanted(study, claims):
            if training is None:
                left = waiting = True
            elif not study.file(training).exists():
                left = True
                if _make(study, training):
                    break  # a rate may be chosen now
                waiting = True
        if waiting:
            time.sleep(5)


def _make(study: Study, training: Training) -> bool:
    """Make a training, or its host; return False where another process is at it."""
    locks, host = study.out / "locks", f"host-{training.family}-{training.held_out}"
    if training.host == "trained" and not study.has_host(training):
        with alone(locks, host) as free:
            if free:
                study.train_host(training.family, training.held_out)
            return free
    with alone(locks, training.name) as free:
        if free:
            begun = time.monotonic()
            found = study.figures(training)
            told = f"{found['own boxes']['f1@0.5']:.3f} F1, {found['naming']:.3f} named"
            print(f"{training.name}: {told}, {time.monotonic() - begun:.0f} s", flush=True)
        return free


def restore(study: Study) -> None:
    """Take up the figures that are beside this file, so that their trainings are not made again."""
    for line in FIGURES.read_text(encoding="utf-8").splitlines() if FIGURES.exists() else ():
        file = study.file(Training(**json.loads(line)["training"]))
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            write_beside(file, f"{line}\n")


def collect(study: Study) -> None:
    """Write the figures of all trainings beside this file."""
    files = sorted((study.out / "figures").glob("*.json"))
    lines = [json.dumps(json.loads(one.read_text(encoding="utf-8"))) for one in files]
    write_beside(FIGURES, "".join(f"{line}\n" for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--claims", type=int, nargs="+", choices=CLAIMS, default=CLAIMS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(args.out)
    restore(study)
    work(study, tuple(args.claims))
    collect(study)


if __name__ == "__main__":
    main()
