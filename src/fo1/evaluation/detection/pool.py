"""All detections and true boxes of one data set as flat arrays, ready to be judged.

Legend: P pictures, M true boxes, N detections, K names, A ranges of size, T IoU thresholds,
J = A * T ways to judge, the threshold changing fastest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import get_args

import numpy as np
import numpy.typing as npt

from fo1.evaluation.detection.truth import DetectionTruth
from fo1.evaluation.metrics.boxes import overlaps
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.metrics.ranking import COCO_IOUS, MAX_DETECTIONS, Judged, match
from fo1.evaluation.prediction import Prediction
from fo1.pipeline.request import Score

Whole = npt.NDArray[np.int64]

KINDS: tuple[Score, ...] = get_args(Score)

AREAS: Mapping[str, tuple[float, float]] = {
    "": (0.0, 1e10),
    "s": (0.0, 32.0**2),
    "m": (32.0**2, 96.0**2),
    "l": (96.0**2, 1e10),
}
"""Ranges of size in square pixels, by the letter behind AP; COCO's and LVIS's."""


@dataclass(frozen=True, eq=False)
class Pool:
    """One data set with what was found in it; pictures and detections in the official order.

    Attributes:
        names: K names.
        truths: of the P pictures, by rising number.
        columns: (P,) the pictures' columns of the weights.
        boxes: (N, 4) float64 xyxy.
        labels: (N,) index of the name.
        pictures: (N,) index of the picture, rising.
        scores: (N,).
        evidence: (N,) of every score that is known, NaN where it is not.
        outside: detections that were left out, as their label cannot be judged there.
        unreadable: detections that were left out, as their region or score is none.
    """

    names: tuple[str, ...]
    truths: tuple[DetectionTruth, ...]
    columns: Whole
    boxes: Floats
    labels: Whole
    pictures: Whole
    scores: Floats
    evidence: Mapping[Score, Floats] = field(default_factory=dict)
    outside: int = 0
    unreadable: int = 0

    @classmethod
    def of(
        cls,
        names: tuple[str, ...],
        rows: Sequence[tuple[int, DetectionTruth, Prediction]],
        limit: int | None = None,
    ) -> "Pool":
        """Return the pool of one data set.

        Args:
            names: what may be found.
            rows: (column of the weights, truth, prediction) of every picture.
            limit: detections of one picture that count, best first; None for all.
        """
        rows = sorted(rows, key=lambda row: row[1].number)
        index = {name: place for place, name in enumerate(names)}
        found = [_of_picture(truth, each, index, limit) for _, truth, each in rows]
        return cls(
            names=names,
            truths=tuple(truth for _, truth, _ in rows),
            columns=np.array([column for column, _, _ in rows], np.int64),
            boxes=np.concatenate([np.zeros((0, 4)), *(one.boxes for one in found)]),
            labels=np.concatenate([np.zeros(0, np.int64), *(one.labels for one in found)]),
            pictures=np.repeat(np.arange(len(found)), [len(one.labels) for one in found]),
            scores=np.concatenate([np.zeros(0), *(one.scores for one in found)]),
            evidence={
                kind: np.concatenate([one.known(kind) for one in found])
                for kind in KINDS
                if any(kind in one.evidence for one in found)
            },
            outside=sum(one.outside for one in found),
            unreadable=sum(one.unreadable for one in found),
        )

    def ranked_by(self, kind: Score) -> "Pool | None":
        """Return the pool ranked by another score; None where a detection lacks it."""
        scores = self.evidence.get(kind)
        if scores is None or not np.isfinite(scores).all():
            return None
        return replace(self, scores=scores)

    def judge(
        self,
        name: int,
        areas: Sequence[tuple[float, float]] = ((0.0, 1e10),),
        ious: Floats = COCO_IOUS,
        most: int | None = MAX_DETECTIONS,
    ) -> tuple[Judged, Whole]:
        """Return the detections of one name as COCO judges them, and which ones they are.

        Args:
            name: index of the name.
            areas: A ranges of size.
            ious: (T,) thresholds.
            most: detections of a picture that count.
        """
        own = self.rows[name]
        own = own[np.lexsort((-self.scores[own], self.pictures[own]))]
        pictures = self.pictures[own]
        if most is not None and len(own):
            own = own[np.arange(len(own)) - np.searchsorted(pictures, pictures) < most]
            pictures = self.pictures[own]
        low, high = np.repeat(np.array(areas, float), len(ious), 0).T[:, :, None]  # (J, 1) each
        limits = np.tile(ious, len(areas))
        hits = np.zeros((len(limits), len(own)), bool)
        sizes = (self.boxes[own, 2:] - self.boxes[own, :2]).prod(1)
        ignored = (sizes < low) | (sizes > high)
        ignored |= np.isin(pictures, self.unsure[name])
        true_rows = self.true_rows[name]
        positives = np.zeros((len(limits), len(true_rows)))
        for place, (picture, rows) in enumerate(true_rows.items()):
            truth = self.truths[picture]
            crowd, area = truth.crowd[rows], truth.areas[rows]
            spare = crowd | (area < low) | (area > high)
            positives[:, place] = (~spare).sum(1)
            first, last = np.searchsorted(pictures, [picture, picture + 1])
            overlap = overlaps(self.boxes[own[first:last]], truth.boxes[rows], crowd)
            hit, met = match(overlap, spare, crowd, limits)
            hits[:, first:last] = hit
            ignored[:, first:last] = (ignored[:, first:last] | met) & ~hit
        places = np.array(list(true_rows), np.int64)
        return Judged(self.scores[own], pictures, hits, ignored, positives, places), own

    @property
    def due(self) -> list[int]:
        """Names that have a true box, crowds among them."""
        return [name for name, rows in enumerate(self.true_rows) if rows]

    def boxes_due(self) -> list[int]:
        """Return how many true boxes each name has, crowds left out."""
        return [
            sum(int((~self.truths[picture].crowd[own]).sum()) for picture, own in rows.items())
            for rows in self.true_rows
        ]

    @cached_property
    def rows(self) -> list[Whole]:
        """By name, its detections."""
        order = np.argsort(self.labels, kind="stable")
        edges = np.searchsorted(self.labels[order], np.arange(len(self.names) + 1))
        return [order[start:stop] for start, stop in pairwise(edges)]

    @cached_property
    def true_rows(self) -> list[dict[int, list[int]]]:
        """By name and picture, the rows of its true boxes."""
        index = {name: place for place, name in enumerate(self.names)}
        found: list[dict[int, list[int]]] = [{} for _ in self.names]
        for picture, truth in enumerate(self.truths):
            for row, label in enumerate(truth.labels):
                found[index[label]].setdefault(picture, []).append(row)
        return found

    @cached_property
    def unsure(self) -> list[list[int]]:
        """By name, the pictures in which not all its boxes are marked."""
        index = {name: place for place, name in enumerate(self.names)}
        found: list[list[int]] = [[] for _ in self.names]
        for picture, truth in enumerate(self.truths):
            for label in truth.unsure:
                found[index[label]].append(picture)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The detections of one picture that count."""

    boxes: Floats
    labels: Whole
    scores: Floats
    evidence: Mapping[Score, Floats]
    outside: int
    unreadable: int

    def known(self, kind: Score) -> Floats:
        return self.evidence.get(kind, np.full(len(self.labels), np.nan))


def _of_picture(
    truth: DetectionTruth, prediction: Prediction, index: Mapping[str, int], limit: int | None
) -> _Found:
    names = {name: index[name] for name in truth.judged(tuple(index))}
    labels = np.array([names.get(one, -1) for said in prediction.said for one in said.labels], int)
    regions = np.concatenate([np.zeros(0, int), *(said.regions for said in prediction.said)])
    scores = np.concatenate([np.zeros(0), *(said.scores for said in prediction.said)])
    evidence: dict[Score, Floats] = {
        kind: np.concatenate(
            [said.evidence.get(kind, np.full(len(said.labels), np.nan)) for said in prediction.said]
        )
        for kind in KINDS
        if any(kind in said.evidence for said in prediction.said)
    }
    known = np.asarray(np.isfinite(prediction.boxes).all(axis=1))
    real = (regions >= 0) & (regions < len(known)) & np.isfinite(scores)
    real[real] = known[regions[real]]
    kept = np.flatnonzero(real)
    if limit is not None and len(kept) > limit:
        kept = np.sort(kept[np.argsort(-scores[kept], kind="stable")[:limit]])
    outside = int((labels[kept] < 0).sum())
    kept = kept[labels[kept] >= 0]
    return _Found(
        boxes=prediction.boxes[regions[kept]],
        labels=labels[kept],
        scores=scores[kept],
        evidence={kind: values[kept] for kind, values in evidence.items()},
        outside=outside,
        unreadable=int((~real).sum()),
    )
