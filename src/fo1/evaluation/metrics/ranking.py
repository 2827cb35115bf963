"""Average precision as COCO defines it, on resampled pictures.

Legend: P pictures, R rows of weights (see `metrics`), N detections, M true boxes, H hits,
T IoU thresholds, J ways to judge: thresholds, or thresholds times ranges of size,
V pictures with a true box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fo1.evaluation.metrics.boxes import overlaps
from fo1.evaluation.metrics.estimates import Bools, Floats, divide
from fo1.geometry import Boxes

COCO_IOUS: Floats = np.linspace(0.5, 0.95, 10)
RECALLS: Floats = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100
_COPIES_AT_ONCE = 20_000_000
"""Detections times rows of weights that are held at once, about 160 MB an array."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Detections of one name in all pictures, in any order.

    Attributes:
        scores: (N,).
        pictures: (N,) index of the picture.
        hits: (J, N) bool: matched a true box that was still free.
        ignored: (J, N) bool: neither right nor wrong.
        positives: (J, V) how many true boxes there are.
        places: (V,) index of the picture.
    """

    scores: Floats
    pictures: npt.NDArray[np.int64]
    hits: Bools
    ignored: Bools
    positives: Floats
    places: npt.NDArray[np.int64]


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
    crowd = np.arange(len(truth) + len(ignore)) >= len(truth)
    overlap = overlaps(boxes, np.concatenate([truth, ignore]), crowd)
    hits, ignored = match(overlap, np.tile(crowd, (len(ious), 1)), crowd, ious)
    return Ranking(given[order], hits, ignored, len(truth), picture)


def match(overlap: Floats, spare: Bools, crowd: Bools, ious: Floats) -> tuple[Bools, Bools]:
    """Return (J, N) detections that hit, and (J, N) those that only met what does not count.

    Each detection in turn takes the true box that it overlaps most and that is still free; one
    that counts before one that does not.

    Args:
        overlap: (N, M) best detection first; IoU, for crowds intersection / own area.
        spare: (J, M) bool: true boxes that do not count.
        crowd: (M,) bool: many in one box, so it is never used up.
        ious: (J,) thresholds.
    """
    hits, ignored = np.zeros((2, len(ious), len(overlap)), bool)
    free = np.ones(spare.shape, bool)
    rows, least = np.arange(len(ious)), ious[:, None]
    for column in np.flatnonzero(overlap.max(1, initial=0.0) >= ious.min()):
        near = (overlap[column] >= least) & free
        due = near & ~spare
        hit, met = due.any(1), near.any(1)
        chosen = np.where(np.where(hit[:, None], due, near), overlap[column], -1.0).argmax(1)
        hits[:, column], ignored[:, column] = hit, met & ~hit
        free[rows[met], chosen[met]] = crowd[chosen[met]]
    return hits, ignored


def average_precision(rankings: Sequence[Ranking], weights: Floats, slack: float = 0.0) -> Floats:
    """Return (T, R) average precision of one name over all pictures; see `weighted_precision`."""
    thresholds = len(rankings[0].hits) if rankings else len(COCO_IOUS)
    empty = np.zeros((thresholds, 0), bool)
    positives = np.array([item.positives for item in rankings], float)
    places = np.array([item.picture for item in rankings], np.int64)
    counts = [len(item.scores) for item in rankings]
    return weighted_precision(
        Judged(
            scores=np.concatenate([np.zeros(0), *(item.scores for item in rankings)]),
            pictures=np.repeat(places, counts),
            hits=np.concatenate([empty, *(item.hits for item in rankings)], 1),
            ignored=np.concatenate([empty, *(item.ignored for item in rankings)], 1),
            positives=np.tile(positives, (thresholds, 1)),
            places=places,
        ),
        weights,
        slack,
    )


def weighted_precision(judged: Judged, weights: Floats, slack: float = 0.0) -> Floats:
    """Return (J, R) average precision of one name; NaN without true boxes.

    101 recall points, precision made monotone, as in COCO; but equal scores enter the curve
    together, so that the order in which they were written earns nothing.

    Args:
        judged: its detections.
        weights: (R, P).
        slack: what recall may lack of a recall point; 0 compares floats as COCO does.

    Source: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py.
    """
    block = max(1, _COPIES_AT_ONCE // max(1, len(judged.scores)))
    blocks = [weights[row : row + block] for row in range(0, len(weights), block)]
    parts = [_weighted_precision(judged, one, slack) for one in blocks]
    return np.concatenate([np.zeros((len(judged.hits), 0)), *parts], axis=1)


def _weighted_precision(judged: Judged, weights: Floats, slack: float) -> Floats:
    due = judged.positives @ weights.T[judged.places]  # (J, R)
    result = np.where(due > 0, 0.0, np.nan)
    order = np.argsort(-judged.scores, kind="stable")
    scores, copies = judged.scores[order], weights.T[judged.pictures[order]]  # (N,), (N, R)
    for row, (hits, ignored) in enumerate(
        zip(judged.hits[:, order], judged.ignored[:, order], strict=True)
    ):
        steps = np.unique(-scores[hits])  # the curve rises at hits only, so it is computed there
        if not len(steps) or not due[row].any():
            continue
        right = _sums(copies, scores, hits, steps)
        precision = right / np.maximum(_sums(copies, scores, ~ignored, steps), 1e-12)  # (H, R)
        precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        recall = right / np.maximum(due[row], 1e-12)
        reached = np.searchsorted(RECALLS, recall + slack, side="right")  # points passed so far
        fresh = np.diff(reached, axis=0, prepend=0)
        result[row] = np.where(due[row] > 0, (fresh * precision).sum(0) / len(RECALLS), np.nan)
    return result


def _sums(copies: Floats, scores: Floats, chosen: Bools, steps: Floats) -> Floats:
    """Return (H, R) sums of the chosen rows whose score is at least each -step, steps rising."""
    rows = np.flatnonzero(chosen)
    ends = np.searchsorted(-scores[rows], steps, side="right")  # at least one row a step: its hit
    starts = np.concatenate([[0], ends[:-1]])
    return np.add.reduceat(copies[rows[: ends[-1]]], starts, axis=0).cumsum(0)


def mean_average_precision(
    by_name: Sequence[Sequence[Ranking]], weights: Floats
) -> tuple[Floats, Floats]:
    """Return (R,) AP@[.5:.95] and (R,) AP50: the mean over the names that have a true box."""
    curves = [average_precision(rankings, weights) for rankings in by_name]
    if not curves:
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    table = np.stack(curves)  # (names, T, R)
    return mean_of_known(table.mean(1)), mean_of_known(table[:, 0])


def mean_of_known(table: Floats) -> Floats:
    """Return (R,) the mean over the rows of (K, R), those that are NaN left out."""
    known = np.isfinite(table)
    return divide(np.where(known, table, 0).sum(0), known.sum(0).astype(float))
