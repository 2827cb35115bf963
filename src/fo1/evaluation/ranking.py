"""Average precision as COCO defines it, on resampled pictures.

Legend: P pictures, R rows of weights (see `metrics`), N detections, H hits, T IoU thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fo1.evaluation.metrics import Bools, Floats, divide
from fo1.geometry import Boxes, box_area, box_iou

COCO_IOUS: Floats = np.linspace(0.5, 0.95, 10)
RECALLS: Floats = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100


@dataclass(frozen=True, slots=True)
class Ranking:
    """Detections of one name in one picture, best first, judged against the true boxes.

    Attributes:
        scores: (N,) descending.
        hits: (T, N) bool: matched a true box that was still free.
        ignored: (T, N) bool: neither right nor wrong.
        positives: how many true boxes there are.
        picture: index of the picture.
    """

    scores: Floats
    hits: Bools
    ignored: Bools
    positives: int
    picture: int


def rank(
    boxes: Boxes,
    scores: npt.ArrayLike,
    truth: Boxes,
    ignore: Boxes,
    picture: int,
    ious: Floats = COCO_IOUS,
) -> Ranking:
    """Return the detections of one name in one picture as COCO judges them.

    Args:
        boxes: (N, 4) detected boxes, xyxy.
        scores: (N,) their scores; the best 100 count.
        truth: (M, 4) boxes to be found.
        ignore: (I, 4) boxes to be ignored; a detection counts as in one by intersection / own area.
        picture: index of the picture.
        ious: (T,) thresholds.
    """
    given = np.asarray(scores, float)
    order = np.argsort(-given, kind="stable")[:MAX_DETECTIONS]
    boxes = boxes[order]
    overlap = box_iou(boxes, truth)
    swallowed = _inside(boxes, ignore).max(1, initial=0.0)
    hits = np.zeros((len(ious), len(order)), bool)
    for row, threshold in enumerate(ious):
        free = np.ones(len(truth), bool)
        for column in np.flatnonzero(overlap.max(1, initial=0.0) >= threshold):
            candidates = np.where(free, overlap[column], -1.0)
            best = int(candidates.argmax())
            if candidates[best] >= threshold:
                hits[row, column], free[best] = True, False
    ignored = ~hits & (swallowed >= ious[:, None])
    return Ranking(given[order], hits, ignored, len(truth), picture)


def average_precision(rankings: Sequence[Ranking], weights: Floats) -> Floats:
    """Return (T, R) average precision of one name over all pictures; NaN without true boxes.

    101 recall points, precision made monotone, as in COCO; but equal scores enter the curve
    together, so that the order in which they were written earns nothing.

    Source: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py.
    """
    weights = weights[:, [item.picture for item in rankings]]
    due = weights @ np.array([item.positives for item in rankings], float)
    thresholds = len(rankings[0].hits) if rankings else len(COCO_IOUS)
    result = np.where(due > 0, 0.0, np.nan) * np.ones((thresholds, 1))
    scores = np.concatenate([item.scores for item in rankings] or [np.zeros(0)])
    owner = np.repeat(np.arange(len(rankings)), [len(item.scores) for item in rankings])
    for row in range(thresholds if len(scores) else 0):
        hit = np.concatenate([item.hits[row] for item in rankings])
        wrong = ~hit & ~np.concatenate([item.ignored[row] for item in rankings])
        steps = -np.sort(-scores[hit])  # the curve rises at hits only, so it is computed there
        if not len(steps):
            continue
        right, false = (
            weights @ _at_least(scores[chosen], owner[chosen], steps, len(rankings))
            for chosen in (hit, wrong)
        )  # (R, H)
        precision = right / np.maximum(right + false, 1e-12)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / np.maximum(due, 1e-12)[:, None]
        reached = np.searchsorted(RECALLS, recall, side="right")  # recall points passed so far
        fresh = np.diff(reached, axis=1, prepend=0)
        result[row] = np.where(due > 0, (fresh * precision).sum(1) / len(RECALLS), np.nan)
    return result


def _at_least(scores: Floats, owner: npt.NDArray[np.int64], steps: Floats, owners: int) -> Floats:
    """Return (owners, H) how many of each owner's scores are at least each step, steps falling."""
    first = np.searchsorted(-steps, -scores, side="left")  # the highest step that a score reaches
    counts = np.zeros((owners, len(steps) + 1))
    np.add.at(counts, (owner, first), 1.0)
    return counts[:, :-1].cumsum(1)


def mean_average_precision(
    by_name: Sequence[Sequence[Ranking]], weights: Floats
) -> tuple[Floats, Floats]:
    """Return (R,) AP@[.5:.95] and (R,) AP50: the mean over the names that have a true box."""
    curves = [average_precision(rankings, weights) for rankings in by_name]
    if not curves:
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    table = np.stack(curves)  # (names, T, R)
    known = np.isfinite(table[:, 0])  # (names, R)
    number = known.sum(0).astype(float)
    each = np.where(known[:, None], table, 0).sum(0)
    return divide(each.mean(0), number), divide(each[0], number)


def _inside(boxes: Boxes, regions: Boxes) -> Floats:
    """Return (N, I) intersection over the area of the box."""
    near = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = np.maximum(far - near, 0).prod(-1, dtype=float)
    return shared / np.maximum(box_area(boxes), 1e-9)[:, None]
