"""The official figures: precision tables from faster-coco-eval, which equals pycocotools.

Its `lvis_style` judges as the lvis package does. The engine holds a list for every picture and name,
so names are judged in groups; each has a table of its own, so that changes nothing.

Legend: P pictures, K names, T IoU thresholds, A ranges of size.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fo1.errors import MissingExtraError
from fo1.evaluation.detection.pool import AREAS, Pool, Whole
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.metrics.ranking import COCO_IOUS, MAX_DETECTIONS, RECALLS

PAIRS_AT_ONCE = 400_000
"""Pictures times names that one call of the engine judges."""

LVIS_DETECTIONS = 300
"""Detections of one picture that LVIS looks at; COCO's 100 are those of one name in a picture."""


def official_precision(pool: Pool, federated: bool = False) -> Floats:
    """Return (T, 101, K, A) precision at each recall; -1 for a name without true boxes.

    Args:
        pool: what was found and what is there.
        federated: judge as LVIS does.

    Raises:
        MissingExtraError: the engine is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise MissingExtraError("average precision", "faster-coco-eval", "eval") from error
    group = max(1, PAIRS_AT_ONCE // max(1, len(pool.truths)))
    tables = [np.zeros((len(COCO_IOUS), len(RECALLS), 0, len(AREAS)))]
    for start in range(0, len(pool.names), group):
        chosen = range(start, min(start + group, len(pool.names)))
        truth, found = (COCO(dataset) for dataset in _datasets(pool, chosen))
        judge = COCOeval_faster(truth, found, "bbox", lvis_style=federated)
        judge.params.maxDets = [LVIS_DETECTIONS if federated else MAX_DETECTIONS]
        judge.evaluate()
        tables.append(np.asarray(judge.eval["precision"])[..., -1])
    return np.concatenate(tables, 2)


def average(precision: Floats, threshold: int | None = None, area: str = "") -> float:
    """Return AP in 0 to 1, at all thresholds or one; NaN where there is nothing to find.

    Args:
        precision: (T, 101, K, A).
        threshold: index of the IoU threshold.
        area: letter of the range of size.
    """
    table = precision[..., list(AREAS).index(area)]
    table = table if threshold is None else table[threshold]
    known = table[table > -1]
    return float(known.mean()) if known.size else float("nan")


def _datasets(pool: Pool, names: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return true boxes and detections of some names as the engine reads them.

    Pictures that have neither are left out. The pool holds no detection of a name that was not
    looked for in a picture, so all these names may count as looked for in all these pictures.
    """
    found = np.concatenate([pool.rows[name] for name in names])
    pictures = set(pool.pictures[found].tolist())
    pictures.update(*(pool.true_rows[name] for name in names))
    unsure = {name: set(pool.unsure[name]) for name in names}
    shared = {
        "images": [
            {
                "id": picture,
                "neg_category_ids": list(names),
                "not_exhaustive_category_ids": [n for n in names if picture in unsure[n]],
            }
            for picture in sorted(pictures)
        ],
        "categories": [{"id": name, "name": pool.names[name], "frequency": "f"} for name in names],
    }
    detections = _rows(pool.pictures[found], pool.labels[found], pool.boxes[found])
    for row, score in zip(detections, pool.scores[found].tolist(), strict=True):
        row |= {"score": score, "area": row["bbox"][2] * row["bbox"][3]}
    return {**shared, "annotations": _true(pool, names)}, {**shared, "annotations": detections}


def _true(pool: Pool, names: Sequence[int]) -> list[dict[str, Any]]:
    places = [
        (name, picture, row)
        for name in names
        for picture, rows in pool.true_rows[name].items()
        for row in rows
    ]
    truths = [(pool.truths[picture], row) for _, picture, row in places]
    labels, pictures = (np.array([place[one] for place in places], int) for one in (0, 1))
    made = _rows(pictures, labels, np.array([truth.boxes[row] for truth, row in truths]))
    for target, (truth, row) in zip(made, truths, strict=True):
        target |= {"area": float(truth.areas[row]), "iscrowd": int(truth.crowd[row])}
    return made


def _rows(pictures: Whole, labels: Whole, boxes: Floats) -> list[dict[str, Any]]:
    """Return annotations; sides are rounded, so that they are those of the file to the bit."""
    corners = boxes.reshape(-1, 4)
    sides = (corners[:, 2:] - corners[:, :2]).round(9)
    columns = pictures.tolist(), labels.tolist(), np.hstack([corners[:, :2], sides]).tolist()
    return [
        {"id": number, "image_id": picture, "category_id": label, "bbox": box, "iscrowd": 0}
        for number, (picture, label, box) in enumerate(zip(*columns, strict=True), 1)
    ]
