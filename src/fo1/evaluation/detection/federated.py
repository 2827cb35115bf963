"""Detections judged where not every name was looked for in every picture.

A picture's names are exhaustive (every instance is boxed), absent (looked for, not there) or
unsure: detections under an unsure name are neither right nor wrong.

Source: the federated protocol of LVIS (Gupta et al., arXiv 1908.03195); ties, recall and false
positives as in the scorer of the open photo set (tests/evaluation/photo_scorer.py).

Legend: M true boxes, I boxes to be ignored, D detections, P pictures, R rows of weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fo1.evaluation.metrics import ranking
from fo1.evaluation.metrics.boxes import centred_boxes, overlaps
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.metrics.ranking import COCO_IOUS, MAX_DETECTIONS, Ranking
from fo1.geometry import Size

Ints = npt.NDArray[np.int64]

FOUND_IOU = 0.5
FALSE_SCORE = 0.5
"""Score from which a detection under an absent name is counted as a false positive."""
SLACK = 1e-9
"""What recall may lack of a recall point: 7 of 20 has reached 0.35 whatever floats make of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """What is known about one picture; names are indices into the vocabulary.

    Attributes:
        boxes: (M, 4) float64 xyxy.
        names: (M,).
        ignore: (I, 4) float64 xyxy, neither to be found nor to be missed.
        ignore_names: (I,).
        absent: names that are not there.
        unsure: names of which nothing is known.
    """

    boxes: Floats
    names: Ints
    ignore: Floats
    ignore_names: Ints
    absent: frozenset[int]
    unsure: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Detections of one picture, best first; equal scores keep their order.

    Attributes:
        boxes: (D, 4) float64 xyxy.
        names: (D,).
        scores: (D,) descending.
        order: (D,) their places in what was said.
    """

    boxes: Floats
    names: Ints
    scores: Floats
    order: Ints

    @classmethod
    def of(cls, boxes: Floats, names: npt.ArrayLike, scores: npt.ArrayLike) -> "Found":
        """Return detections in any order, best first."""
        given = np.asarray(scores, float)
        order = np.argsort(-given, kind="stable")
        return cls(boxes[order], np.asarray(names, np.int64)[order], given[order], order)


def centred(image_size: Size, names: int) -> Found:
    """Return four boxes in the middle of a picture under every name: a floor."""
    boxes = centred_boxes(image_size)
    every = np.tile(np.arange(names), len(boxes))
    return Found.of(np.repeat(boxes, names, 0), every, np.ones(len(every)))


def perfect(truth: Labelled) -> Found:
    """Return the true boxes with their names, those of one name together: a ceiling."""
    _, first, name = np.unique(truth.names, return_index=True, return_inverse=True)
    order = np.argsort(first[name], kind="stable")
    return Found.of(truth.boxes[order], truth.names[order], np.ones(len(order)))


def best_named(boxes: Floats, truth: Labelled) -> Found:
    """Return boxes with the name of the true box they overlap most, scored by IoU: a ceiling."""
    overlap = overlaps(boxes, truth.boxes)
    near = np.flatnonzero(overlap.max(1, initial=0.0) > 0)
    best = overlap[near].argmax(1) if len(near) else near
    return Found.of(boxes[near], truth.names[best], overlap[near, best])


def judge(found: Found, truth: Labelled, picture: int) -> dict[int, Ranking]:
    """Return by name how its detections rank, for names that were found or are there.

    Args:
        found: detections; the best 100 of every name count.
        truth: what is there.
        picture: index of the picture.
    """
    judged: dict[int, Ranking] = {}
    for name in set(np.union1d(found.names, truth.names).tolist()) - truth.unsure:
        chosen = np.flatnonzero(found.names == name)[:MAX_DETECTIONS]
        boxes, due = found.boxes[chosen], truth.boxes[truth.names == name]
        ignore = truth.ignore[truth.ignore_names == name]
        crowd = np.arange(len(due) + len(ignore)) >= len(due)
        overlap = overlaps(boxes, np.concatenate([due, ignore]), crowd)
        spare = np.tile(crowd, (len(COCO_IOUS), 1))
        hits, ignored = ranking.match(overlap, spare, crowd, COCO_IOUS)
        judged[name] = Ranking(found.scores[chosen], hits, ignored, len(due), picture)
    return judged


def average_precision(
    judged: Sequence[Mapping[int, Ranking]], names: int, weights: Floats
) -> list[Floats]:
    """Return (T, R) average precision of every name; NaN where nothing is to be found.

    Args:
        judged: of every picture that was asked.
        names: how many there are.
        weights: (R, P).
    """
    by_name: list[list[Ranking]] = [[] for _ in range(names)]
    for one in judged:
        for name, ranked in one.items():
            by_name[name].append(ranked)
    return [
        ranking.average_precision(ranked, weights, SLACK)
        if any(one.positives for one in ranked)
        else np.full((len(COCO_IOUS), len(weights)), np.nan)
        for ranked in by_name
    ]


def recalled(found: Found, truth: Labelled, most: int) -> int:
    """Return how many true boxes are met by the `most` best distinct boxes, whatever their name."""
    if not (len(found.boxes) and len(truth.boxes)):
        return 0
    _, first = np.unique(found.boxes, axis=0, return_index=True)
    best = found.boxes[np.sort(first)[:most]]
    return int((overlaps(best, truth.boxes).max(0) >= FOUND_IOU).sum())


def false_positives(found: Found, truth: Labelled) -> int:
    """Return how many detections under absent names have a score of 0.5 or more."""
    return int((np.isin(found.names, list(truth.absent)) & (found.scores >= FALSE_SCORE)).sum())
