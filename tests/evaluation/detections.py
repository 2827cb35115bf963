"""Random detection data sets in COCO's format, predictions for them, and what pycocotools says."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from fo1.evaluation.prediction import Prediction, Said

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
KINDS = ("proposal", "head", "fusion")


def coco_rows(
    rng: np.random.Generator, pictures: int = 12, names: int = 6, *, crowd: float = 0.1
) -> dict[str, Any]:
    """Return a COCO annotation file; the last name and every fifth picture have no box."""
    images = [
        {"id": 7 * number + 3, "file_name": f"{number:012d}.jpg", "height": 400, "width": 500}
        for number in rng.permutation(pictures).tolist()
    ]
    annotations = []
    for image in images:
        if image["id"] % 5 == 0:
            continue
        for _ in range(int(rng.integers(1, 9))):
            side = rng.choice([12, 40, 150])
            x, y = rng.integers(0, 300, 2).tolist()
            width, height = np.round(rng.uniform(side / 2, side * 1.5, 2), 2).tolist()
            annotations.append(
                {
                    "id": 100 + len(annotations),
                    "image_id": image["id"],
                    "category_id": 2 * int(rng.integers(0, names - 1)) + 1,
                    "bbox": [x, y, width, height],
                    "area": round(width * height * float(rng.uniform(0.3, 1)), 2),
                    "iscrowd": int(rng.random() < crowd),
                }
            )
    categories = [{"id": 2 * number + 1, "name": f"name {number}"} for number in range(names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(rows: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def guesses(task, rng: np.random.Generator, *, ties: bool, most: int = 100) -> list[Prediction]:
    """Return predictions near the true boxes and elsewhere, with all kinds of scores."""
    made = []
    for number, example in enumerate(task.examples):
        truth = example.truth
        near = np.repeat(truth.boxes, 3, 0) + rng.normal(0, 4, (3 * len(truth.boxes), 4))
        odd = rng.uniform(0, 300, (8, 2))
        odd = np.concatenate([odd, odd + rng.uniform(5, 150, odd.shape)], 1)
        boxes = np.concatenate([near, odd])
        near_corners = np.minimum(boxes[:, :2], boxes[:, 2:])
        boxes = np.hstack([near_corners, np.maximum(boxes[:, :2], boxes[:, 2:])])
        boxes = boxes.round(2)
        names = task.asked(example) or ("nothing",)
        labels = [*np.repeat(truth.labels, 3).tolist(), *rng.choice(names, len(odd)).tolist()]
        labels = [str(rng.choice(names)) if rng.random() < 0.2 else str(one) for one in labels]
        scores = rng.random((len(KINDS), len(labels))).round(1 if ties else 6)
        said = Said(
            labels=tuple(labels),
            regions=np.arange(len(labels)),
            scores=scores[-1],
            scored_by="fusion",
            evidence=dict(zip(KINDS, scores, strict=True)),
        )
        if number % 6 == 4:
            made.append(Prediction.failed(example, "the picture cannot be read"))
        else:
            made.append(Prediction(example.key, boxes, scores[0], (said,), (400, 500)))
    return made


def results(task, rows: dict[str, Any], predictions: list[Prediction]) -> list[dict[str, Any]]:
    """Return predictions as the official result files hold them."""
    numbers = {row["name"].replace("_", " "): row["id"] for row in rows["categories"]}
    return [
        {
            "image_id": example.truth.number,
            "category_id": numbers[label],
            "bbox": xywh(prediction.boxes[region]),
            "score": float(score),
        }
        for example, prediction in zip(task.examples, predictions, strict=True)
        for said in prediction.said
        for label, region, score in zip(said.labels, said.regions, said.scores, strict=True)
        if label in numbers
    ]


def xywh(box) -> list[float]:
    x1, y1, x2, y2 = map(float, box)
    return [x1, y1, x2 - x1, y2 - y1]


def pycocotools_figures(rows: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of pycocotools; NaN where it says -1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps({"info": {}, **rows}))
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    stats = [float("nan") if value == -1 else float(value) for value in judge.stats]
    return dict(zip(FIGURES, stats, strict=False))


def lvis_rows(rng: np.random.Generator, pictures: int = 15, names: int = 9) -> dict[str, Any]:
    """Return an LVIS annotation file: federated, without crowds, pictures named by their address."""
    rows = coco_rows(rng, pictures, names, crowd=0)
    numbers = [row["id"] for row in rows["categories"]]
    for row, letter in zip(rows["categories"], "rcfrcfccf", strict=False):
        row |= {"name": row["name"].replace(" ", "_"), "frequency": letter, "synset": "thing.n.01"}
    for row in rows["annotations"]:
        del row["iscrowd"]
    for image in rows["images"]:
        there = {
            row["category_id"] for row in rows["annotations"] if row["image_id"] == image["id"]
        }
        others = [number for number in numbers if number not in there]
        folder = rng.choice(["val2017", "train2017"])
        image["coco_url"] = f"http://images.cocodataset.org/{folder}/{image.pop('file_name')}"
        image["neg_category_ids"] = rng.choice(others, min(3, len(others)), False).tolist()
        both = sorted(there) + image["neg_category_ids"]
        image["not_exhaustive_category_ids"] = [n for n in both if rng.random() < 0.25]
    return rows
