"""Claim 5: the models that claim 1 trained on most scenes, asked again with other boxes.

python recipes/claims/other_boxes.py --out OUT      after run.py, on an idle machine: it takes times
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import chosen_rate, compared
from measures import Asker, f1, found_boxes, lists, seconds, tally
from scenes import LINEAGES
from study import Study

from fo1.formats.beside import write_beside
from fo1.geometry import nms
from fo1.training.run import learned_model

FIGURES = Path(__file__).with_name("other_boxes.jsonl")
AMOUNTS = (10, 24, 50, 100)
CALL = 100
"""Regions of one call; the vocabulary has index tokens for no more."""
CALLS = 3
COPIES = 0.7
"""IoU from which two listed boxes of different calls are one."""
TIMED = 20


def figures(asker: Asker) -> Iterator[dict[str, Any]]:
    """Return what a model makes of all kinds and numbers of boxes."""
    for source in ("true", "others", "moved .1", "moved .2", "moved .3"):
        yield {"boxes": source, **lists(replace(asker, source=source))}
    for amount in AMOUNTS:
        own = replace(asker, ranks=(0, amount))
        yield {"boxes": f"{amount} proposals", **lists(own), "seconds": seconds(own, TIMED)}
    yield {"boxes": f"{CALLS * CALL} proposals", **in_calls(asker)}


def in_calls(asker: Asker) -> dict[str, float]:
    """Return F1 of the lists of several calls, put together without copies."""
    calls = [
        found_boxes(replace(asker, ranks=(CALL * call, CALL * (call + 1)))) for call in range(CALLS)
    ]
    tallies = []
    for parts in zip(*calls, strict=True):
        boxes = np.concatenate([own for own, _ in parts]).astype(np.float32)
        ranks = -np.arange(len(boxes), dtype=np.float32)
        tallies.append(tally(boxes[nms(boxes, ranks, COPIES)], parts[0][1], 0.5))
    return {"f1@0.5": f1(tallies)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(args.out)
    (training,) = compared(5).values()
    rate = chosen_rate(training, study.found)
    if rate is None:
        raise SystemExit("the trainings of claim 5 are missing; run run.py --claims 5 first")
    rows: list[str] = []
    for held_out in LINEAGES:
        own = replace(training, held_out=held_out, rate=rate)
        asker = study.asker(own, learned_model(study.run_of(own)))
        for found in figures(asker):
            rows.append(json.dumps({"training": asdict(own), **found}))
            print(rows[-1], flush=True)
    write_beside(FIGURES, "".join(f"{row}\n" for row in rows))


if __name__ == "__main__":
    main()
