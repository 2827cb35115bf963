"""Prints how many annotated boxes each proposer covers, labels ignored, and what it costs.

    python benchmarks/proposal_recall.py annotations.json pictures/ [--proposer NAME ...]
    python benchmarks/proposal_recall.py --scenes 60 [--proposer NAME ...]

The annotations are COCO JSON (`images`, `annotations` with xywh boxes; crowds are left out), the scenes drawn in the
lineage that training never saw. An annotated box counts as covered when one of the first N proposals has an IoU of at
least 0.5 with it. Times are the median over the pictures, decoding of the file not included.
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


def main() -> None:
    """Measures every proposer asked for and prints one table row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotations", type=Path, nargs="?")
    parser.add_argument("pictures", type=Path, nargs="?")
    parser.add_argument("--scenes", type=int, help="draw so many scenes in place of pictures")
    parser.add_argument(
        "--proposer",
        action="append",
        choices=names(),
        help="repeat; default all that the model has",
    )
    parser.add_argument("--model", default="nano", help="whose boxes `own` are")
    parser.add_argument("--threads", type=int, action="append", help="repeat; default 1")
    options = parser.parse_args()
    if (options.scenes is None) == (options.pictures is None):
        parser.error("give annotations and pictures, or --scenes")
    if options.scenes is None:
        truth = read_boxes(options.annotations)
        pictures = {name: Image.open(options.pictures / name).convert("RGB") for name in truth}
    else:
        truth, pictures = draw(options.scenes)
    model = FO1.from_pretrained(options.model)
    threads = options.threads or [1]
    count = sum(len(boxes) for boxes in truth.values())
    head = [f"R@{budget}" for budget in BUDGETS] + [f"ms ({t} threads)" for t in threads]
    sys.stdout.write(f"{len(truth)} pictures, {count} boxes, IoU >= {COVERED}\n\n")
    sys.stdout.write(f"| proposer | {' | '.join(head)} | boxes |\n")
    sys.stdout.write("|---" * (len(head) + 2) + "|\n")
    for name in options.proposer or names():
        try:
            proposer = model.get_proposer(name, limit=max(BUDGETS))
        except InputError as error:
            sys.stderr.write(f"{name} is left out: {error}\n")
            continue
        recalls, mean_boxes = measure(proposer, truth, pictures)
        cells = [f"{recall:.3f}" for recall in recalls]
        cells += [f"{milliseconds(proposer, pictures, number):.0f}" for number in threads]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} | {mean_boxes:.0f} |\n")
        sys.stdout.flush()


def read_boxes(path: Path) -> dict[str, np.ndarray]:
    """Return the (N, 4) xyxy boxes of every picture that has one, by file name."""
    data = json.loads(path.read_bytes())
    files = {image["id"]: image["file_name"] for image in data["images"]}
    boxes: dict[str, list[list[float]]] = defaultdict(list)
    for annotation in data["annotations"]:
        if not annotation.get("iscrowd"):
            boxes[files[annotation["image_id"]]].append(annotation["bbox"])
    return {name: xywh_to_xyxy(rows) for name, rows in boxes.items()}


def draw(count: int) -> tuple[dict[str, np.ndarray], dict[str, Image.Image]]:
    """Return the boxes and the pictures of drawn scenes, by their number."""
    generator = SceneGenerator(PicturePack.open(), lineages=[HELD_OUT_LINEAGE])
    scenes = {str(index): generator(SEED, index) for index in range(count)}
    boxes = {name: np.array([o.box for o in s.objects], np.float32) for name, s in scenes.items()}
    return boxes, {name: scene.image for name, scene in scenes.items()}


def measure(
    proposer: Proposer, truth: dict[str, np.ndarray], pictures: dict[str, Image.Image]
) -> tuple[list[float], float]:
    """Return the recall within each of `BUDGETS` and the mean number of proposals."""
    ranks: list[int] = []
    counts: list[int] = []
    for name, boxes in truth.items():
        proposals = proposer.propose(pictures[name])
        hits = box_iou(boxes, proposals.boxes) >= COVERED
        ranks += [int(row.argmax()) if row.any() else max(BUDGETS) for row in hits]
        counts.append(len(proposals))
    recalls = [float(np.mean([rank < budget for rank in ranks])) for budget in BUDGETS]
    return recalls, float(np.mean(counts))


def milliseconds(proposer: Proposer, pictures: dict[str, Image.Image], threads: int) -> float:
    """Return the median time per picture with that many threads."""
    torch.set_num_threads(threads)
    times: list[float] = []
    for image in pictures.values():
        start = time.perf_counter()
        proposer.propose(image)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    main()
