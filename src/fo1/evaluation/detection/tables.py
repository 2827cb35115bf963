"""Tables beside the figures of a detection benchmark: by data set, class and number of proposals.

Legend: P pictures, K names, R rows of weights, T IoU thresholds.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fo1.evaluation.detection.coco_engine import average
from fo1.evaluation.detection.pool import Pool
from fo1.evaluation.detection.truth import DetectionTruth
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.boxes import overlaps
from fo1.evaluation.metrics.estimates import Floats, estimate, ratio
from fo1.evaluation.metrics.ranking import COCO_IOUS
from fo1.evaluation.prediction import Prediction
from fo1.evaluation.report import Table
from fo1.evaluation.task import Figure

PROPOSALS = (50, 100, 300)
MAIN = 3
"""Figures that are shown by score, for example AP, AP50 and AP75."""
MANY_CLASSES, SHOWN = 20, 10
"""Of more classes than the first, so many worst and so many best ones are shown."""


def recall_table(
    pairs: Sequence[tuple[int, Example[DetectionTruth], Prediction]], weights: Floats
) -> Table:
    """Return how many true boxes the proposals reach, whatever they were called.

    Args:
        pairs: (picture, example, prediction).
        weights: (R, P).
    """
    table = Table(
        "Proposal recall",
        ("IoU 0.5 %", "mean of IoU 0.5 to 0.95 %"),
        "Share of true boxes that one of the best-scored proposals overlaps so far; several true "
        "boxes may share a proposal. No model that picks among its proposals finds more.",
    )
    reached = np.zeros((len(PROPOSALS), 2, weights.shape[1]))
    due = np.zeros(weights.shape[1])
    for picture, example, prediction in pairs:
        truth = example.truth.boxes[~example.truth.crowd]
        due[picture] += len(truth)
        order = np.argsort(-prediction.box_scores, kind="stable")[: max(PROPOSALS)]
        overlap = overlaps(prediction.boxes[order], truth)
        for row, count in enumerate(PROPOSALS):
            best = overlap[:count].max(0, initial=0.0)
            found = (best[:, None] >= COCO_IOUS).sum(0)
            reached[row, :, picture] += found[0], found.mean()
    for count, (half, mean) in zip(PROPOSALS, reached, strict=True):
        cells = (estimate(100 * ratio(parts, due, weights)) for parts in (half, mean))
        table.add(f"{count} proposals", *cells)
    return table


def class_table(precision: Mapping[str, Floats], pools: Mapping[str, Pool]) -> Table:
    """Return AP of each name that has true boxes, worst first; of many only the ends.

    Args:
        precision: by data set (T, 101, K, A).
        pools: by data set.
    """
    rows: list[tuple[float, str, float, int]] = []
    for part, pool in pools.items():
        boxes = pool.boxes_due()
        for name in pool.due:
            own = precision[part][:, :, [name]]
            if boxes[name]:
                label = f"{part}: {pool.names[name]}" if part else pool.names[name]
                rows.append((average(own), label, average(own, 0), boxes[name]))
    rows.sort(key=lambda row: row[:2])
    note = ""
    if len(rows) > MANY_CLASSES:
        note = f"The {SHOWN} worst and the {SHOWN} best of {len(rows)} classes with boxes."
        rows = rows[:SHOWN] + rows[-SHOWN:]
    table = Table("AP by class", ("AP %", "AP50 %", "boxes"), note)
    for overall, label, half, count in rows:
        table.add(label, 100 * overall, 100 * half, str(count))
    return table


def part_table(
    figures: Mapping[str, Sequence[Figure]], pools: Mapping[str, Pool], due: Sequence[str] = ()
) -> Table:
    """Return the figures of every data set of a collection.

    Args:
        figures: by data set.
        pools: by data set.
        due: data sets that are named even where they are missing.
    """
    missing = [part for part in due if part not in figures]
    names = [f"{one.name} {one.unit}".strip() for one in next(iter(figures.values()))]
    note = "Those with - are not there, or --limit left them out; no mean has them." * bool(missing)
    table = Table("By data set", (*names, "pictures", "boxes", "names"), note)
    for part, each in figures.items():
        pool = pools[part]
        counts = len(pool.truths), sum(pool.boxes_due()), len(pool.names)
        table.add(part, *(one.estimate for one in each), *map(str, counts))
    for part in missing:
        table.add(part, *[None] * (len(names) + 3))
    return table


def score_tables(found: Mapping[str, Sequence[Figure]]) -> list[Table]:
    """Return one table with the main figures by the score that ranks; none if no score is known.

    Args:
        found: by kind of score, the figures.
    """
    for figures in found.values():
        names = tuple(f"{one.name} {one.unit}".strip() for one in figures[:MAIN])
        table = Table(
            "AP by score", names, "The same detections, ranked by each score that all of them have."
        )
        for kind, each in found.items():
            table.add(kind, *(one.estimate for one in each[:MAIN]))
        return [table]
    return []


def count_table(pools: Sequence[Pool]) -> Table:
    """Return what became of the detections."""
    table = Table(
        "Detections",
        ("detections",),
        "A label outside the list is one that was not asked for there; such detections are left "
        "out, and so is what has no such region or no score.",
    )
    table.add("scored", str(sum(len(pool.labels) for pool in pools)))
    table.add("label outside the list", str(sum(pool.outside for pool in pools)))
    table.add("no such region or no score", str(sum(pool.unreadable for pool in pools)))
    return table
