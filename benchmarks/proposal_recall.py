"""Prints how many annotated boxes each proposer covers, labels ignored, and what it costs: one table.

    python benchmarks/proposal_recall.py annotations.json pictures/ --scenes 60 [--proposer NAME|FOLDER ...]

The annotations are COCO JSON (`images`, `annotations` with xywh boxes; crowds are left out), the scenes drawn in the
lineage that training never saw; either may be left out. An annotated box counts as covered when one of the first N
proposals has an IoU of at least 0.5 with it. Times are processor time in one thread of torch, the median over the
pictures, so that other work on the machine does not count; decoding of the file is not included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fo1 import FO1
from fo1.data.pictures import PicturePack
from fo1.data.scenes import HELD_OUT_LINEAGE, SceneGenerator
from fo1.errors import InputError
from fo1.geometry import box_iou, xywh_to_xyxy
from fo1.proposals import Proposer, names

BUDGETS = (50, 100, 300)
COVERED = 0.5
SEED = 7


Truth = dict[str, np.ndarray]
Pictures = dict[str, Image.Image]


def main() -> None:
    """Measures every proposer asked for and prints one table row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path, nargs="?")
    parser.add_argument("pictures", type=Path, nargs="?")
    parser.add_argument("--scenes", type=int, help="draw so many scenes as well")
    parser.add_argument(
        "--proposer",
        action="append",
        help="a name, or a folder with a detector of transformers; repeat; default all that the model has",
    )
    parser.add_argument("--model", default="nano", help="whose boxes `own` are")
    options = parser.parse_args()
    sets: dict[str, tuple[Truth, Pictures]] = {}
    if options.pictures is not None:
        truth = read_boxes(options.annotations)
        pictures = {name: Image.open(options.pictures / name).convert("RGB") for name in truth}
        sets["photos"] = truth, pictures
    if options.scenes is not None:
        sets["scenes"] = draw(options.scenes)
    if not sets:
        parser.error("give annotations and pictures, or --scenes, or both")
    torch.set_num_threads(1)
    model = FO1.from_pretrained(options.model)
    for name, (truth, _) in sets.items():
        count = sum(len(boxes) for boxes in truth.values())
        sys.stdout.write(f"{name}: {len(truth)} pictures, {count} boxes, IoU >= {COVERED}\n")
    columns = [f"R@{budget}" for budget in BUDGETS] + ["boxes", "ms"]
    head = ["proposer", *(f"{name} {column}" for name in sets for column in columns)]
    sys.stdout.write(f"\n| {' | '.join(head)} |\n{'|---' * len(head)}|\n")
    for name in options.proposer or names():
        try:
            proposer = model.get_proposer(name, limit=max(BUDGETS))
        except InputError as error:
            sys.stderr.write(f"{name} is left out: {error}\n")
            continue
        cells = [
            cell for truth, pictures in sets.values() for cell in measure(proposer, truth, pictures)
        ]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
        sys.stdout.flush()


def read_boxes(path: Path) -> Truth:
    """Return the (N, 4) xyxy boxes of every picture that has one, by file name."""
    data = json.loads(path.read_bytes())
    files = {image["id"]: image["file_name"] for image in data["images"]}
    boxes: dict[str, list[list[float]]] = defaultdict(list)
    for annotation in data["annotations"]:
        if not annotation.get("iscrowd"):
            boxes[files[annotation["image_id"]]].append(annotation["bbox"])
    return {name: xywh_to_xyxy(rows) for name, rows in boxes.items()}


def draw(count: int) -> tuple[Truth, Pictures]:
    """Return the boxes and the pictures of drawn scenes, by their number."""
    generator = SceneGenerator(PicturePack.open(), lineages=[HELD_OUT_LINEAGE])
    scenes = {str(index): generator(SEED, index) for index in range(count)}
    boxes = {name: np.array([o.box for o in s.objects], np.float32) for name, s in scenes.items()}
    return boxes, {name: scene.image for name, scene in scenes.items()}


def measure(proposer: Proposer, truth: Truth, pictures: Pictures) -> list[str]:
    """Return the recall within each of `BUDGETS`, the mean number of proposals and the milliseconds a picture."""
    ranks: list[int] = []
    counts: list[int] = []
    times: list[float] = []
    for name, boxes in truth.items():
        start = time.process_time()
        proposals = proposer.propose(pictures[name])
        times.append(time.process_time() - start)
        hits = box_iou(boxes, proposals.boxes) >= COVERED
        ranks += [int(row.argmax()) if row.any() else max(BUDGETS) for row in hits]
        counts.append(len(proposals))
    recalls = [float(np.mean([rank < budget for rank in ranks])) for budget in BUDGETS]
    milliseconds = 1000 * statistics.median(times)
    return [
        *(f"{recall:.3f}" for recall in recalls),
        f"{np.mean(counts):.0f}",
        f"{milliseconds:.0f}",
    ]


if __name__ == "__main__":
    main()
