"""The open photo set, or one's own in its format: detection, referring, counting, refusing, naming.

All questions about a picture are asked of one encoding. What the file has no rows for is left out.
Naming is read from the answer about all names, and only where the regions are the true boxes, as
with `--proposals true`.

Legend: P pictures, R rows of weights, N regions of one picture.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from fo1.evaluation.detection.federated import FOUND_IOU
from fo1.evaluation.detection.photo_set import Photo
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.boxes import overlaps
from fo1.evaluation.metrics.estimates import Floats, accuracy, auroc, macro_accuracy, ratio
from fo1.evaluation.metrics.referring import best_region, boxes_of, largest
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.task import Figure, Predictions
from fo1.evaluation.tasks.folder import Folder
from fo1.pipeline import DEFAULT_THRESHOLD, Request
from fo1.prompts import Task

NAMING, MACRO = "naming: accuracy", "naming: macro accuracy"
REFERRING = "referring: accuracy"
SAME_BOX = 0.02
"""Pixels by which a box may differ from itself by being written."""

Pairs: TypeAlias = Sequence[tuple[int, Example[Photo], Prediction]]
Rows: TypeAlias = Sequence[tuple[int, float]]
"""(picture, right from 0 to 1) of every question."""
Choose: TypeAlias = Callable[[Prediction, int], list[int]]
"""Chooses at most one region of a prediction, in answer to the request of this number."""


@dataclass(frozen=True, kw_only=True)
class Photos(Folder):
    """Detection and everything else that a photo set asks."""

    name: ClassVar[str] = "photos"
    title: ClassVar[str] = "Photographs, every one asked for every name"

    @classmethod
    def requests(cls, photo: Photo, names: tuple[str, ...]) -> tuple[Request, ...]:
        """Return what is asked: all names, expressions, counts, what is there and what is not."""
        probed = tuple(_probed(photo, names))
        return (
            *super().requests(photo, names),
            *(Request(task=Task.REFER, queries=(t,), threshold=0.0) for t, _ in photo.referring),
            *(Request(task=Task.COUNT, queries=(noun,)) for noun, _ in photo.counting),
            *(Request(task=Task.DETECT, queries=q, threshold=0.0) for q in [probed] if q),
        )

    def perfect(self, example: Example[Photo]) -> Prediction:
        """Return the true boxes, each with its name and expressions, and the true counts."""
        photo, found = example.truth, super().perfect(example)
        return Prediction.made(
            example,
            found.boxes,
            found.said[0],
            *(Said.found([(text, row)]) for text, row in photo.referring),
            *(Said(count=answer) for _, answer in photo.counting),
            *(found.said if _probed(photo, self.names) else ()),
        )

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the figures of `Folder`, then those of whatever else was asked."""
        pairs = self.pairs(predictions)
        figures = super().measure(predictions, weights)
        if any(example.truth.referring for example in self.examples):
            figures.append(_share(REFERRING, _referred(pairs, best_region), weights))
        if any(example.truth.counting for example in self.examples):
            figures += _counting(_counted(pairs), weights)
        if any(_probed(example.truth, self.names) for example in self.examples):
            figures += self._refusing(pairs, weights)
        return [*figures, *_naming(self._named(pairs), weights)]

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return the floors of `Folder`, and the largest region, chance and majority."""
        pairs = self.pairs(predictions)
        even = np.ones(len(weights))
        chance = [
            _share(REFERRING, _evenly(pairs), weights),
            Figure("absent names: AUROC", even / 2),
        ]
        chance += [Figure(name, even / len(self.names)) for name in (NAMING, MACRO)]
        counts = [(picture, number) for picture, e, _ in pairs for _, number in e.truth.counting]
        number = _most_frequent([true for _, true in counts])
        names = [
            (picture, true) for picture, e, _ in pairs for true in e.truth.truth.names.tolist()
        ]
        name = _most_frequent([true for _, true in names])
        majority = [
            *_counting([(picture, number, true) for picture, true in counts], weights),
            *_naming([(picture, float(true == name), true) for picture, true in names], weights),
        ]
        return {
            **super().expected(predictions, weights),
            "chance (1 / regions, 1 / names)": chance,
            f"majority (always {number}, always '{self.names[name]}')": majority,
            "largest region": [
                _share(REFERRING, _referred(pairs, lambda one, _: largest(one)), weights)
            ],
        }

    def _refusing(self, pairs: Pairs, weights: Floats) -> list[Figure]:
        """Return how well absent names are told from those that are there."""
        rows = [row for one in pairs for row in self._probes(*one)]
        picture, best, there, false = (np.array(column) for column in zip(*rows, strict=True))
        none, there = best < DEFAULT_THRESHOLD, there.astype(bool)
        photos = np.bincount([place for place, _, _ in pairs], minlength=weights.shape[1])
        wrong = np.bincount(picture, false, weights.shape[1])
        return [
            Figure("absent names: AUROC", auroc(best, there, picture, weights)),
            Figure(
                "absent names: none said, absent", accuracy(none[~there], picture[~there], weights)
            ),
            Figure(
                "absent names: none said, present", accuracy(none[there], picture[there], weights)
            ),
            Figure("absent names: FP/photo", ratio(wrong, photos, weights), ""),
        ]

    def _probes(
        self, picture: int, example: Example[Photo], prediction: Prediction
    ) -> list[tuple[int, float, bool, int]]:
        """Return (picture, best score, is it there, false positives) of every name probed."""
        photo = example.truth
        probed = _probed(photo, self.names)
        if prediction.error is not None:  # silence is no answer: wrong about all of them
            return [(picture, 0.0 if own else np.inf, own, int(not own)) for own in probed.values()]
        scores: dict[str, list[float]] = {name: [] for name in probed}
        for said in _answers(photo, prediction)[1]:
            for label, score in zip(said.labels, said.scores.tolist(), strict=True):
                scores.get(label, []).append(score)
        return [
            (
                picture,
                max(scores[name], default=0.0),
                there,
                0 if there else sum(score >= DEFAULT_THRESHOLD for score in scores[name]),
            )
            for name, there in probed.items()
        ]

    def _named(self, pairs: Pairs) -> list[tuple[int, float, int]] | None:
        """Return (picture, right, true name) of every box; None where regions are other boxes.

        Names that tie for the best score share the point.
        """
        if not any(prediction.error is None for _, _, prediction in pairs):
            return None
        rows: list[tuple[int, float, int]] = []
        for picture, example, prediction in pairs:
            truth = example.truth.truth
            if prediction.error is not None:
                rows += [(picture, 0.0, true) for true in truth.names.tolist()]
                continue
            near = truth.boxes.shape == prediction.boxes.shape and np.allclose(
                truth.boxes, prediction.boxes, rtol=0, atol=SAME_BOX
            )
            if not near:
                return None
            found, said = self._found(prediction), prediction.said[0]
            scores = np.full((len(truth.boxes), len(self.names)), -1.0)
            np.maximum.at(scores, (said.regions[found.order], found.names), found.scores)
            for row, true in zip(scores, truth.names.tolist(), strict=True):
                best = row == row.max()
                rows.append((picture, float(best[true] and row[true] >= 0) / best.sum(), true))
        return rows


def _probed(photo: Photo, names: Sequence[str]) -> dict[str, bool]:
    """Return names of boxed things and absent ones, and whether each is there."""
    if photo.absent is None:
        return {}
    there = {names[int(name)]: True for name in photo.truth.names}
    return there | {name: False for name in photo.absent if name not in there}


def _answers(photo: Photo, prediction: Prediction) -> tuple[tuple[Said, ...], tuple[Said, ...]]:
    """Return what was said to counts, and to absent names."""
    first = 1 + len(photo.referring)
    last = first + len(photo.counting)
    return prediction.said[first:last], prediction.said[last:]


def _referred(pairs: Pairs, choose: Choose) -> Rows:
    """Return whether the chosen box is the one that is meant, for every expression."""
    rows: list[tuple[int, float]] = []
    for picture, example, prediction in pairs:
        photo = example.truth
        for number, (_, target) in enumerate(photo.referring, 1):
            chosen = boxes_of(prediction, choose(prediction, number))
            near = overlaps(chosen, photo.truth.boxes[target : target + 1])
            rows.append((picture, float((near >= FOUND_IOU).any())))
    return rows


def _evenly(pairs: Pairs) -> Rows:
    """Return 1 / regions for every expression."""
    return [
        (picture, 1 / len(prediction.boxes) if len(prediction.boxes) else 0.0)
        for picture, example, prediction in pairs
        for _ in example.truth.referring
    ]


def _counted(pairs: Pairs) -> list[tuple[int, int, int]]:
    """Return (picture, said, true) of every count; -1 where no number came."""
    return [
        (picture, -1 if said.count is None else said.count, true)
        for picture, example, prediction in pairs
        for (_, true), said in zip(
            example.truth.counting, _answers(example.truth, prediction)[0], strict=True
        )
    ]


def _counting(rows: Sequence[tuple[int, int, int]], weights: Floats) -> list[Figure]:
    right = [(picture, float(said == true), true) for picture, said, true in rows]
    return [
        _share("counting: exact", [row[:2] for row in right], weights),
        _share(
            "counting: exact where 2 or more", [row[:2] for row in right if row[2] > 1], weights
        ),
    ]


def _naming(rows: Sequence[tuple[int, float, int]] | None, weights: Floats) -> list[Figure]:
    if rows is None:
        return [Figure(name, np.full(len(weights), np.nan)) for name in (NAMING, MACRO)]
    pictures, right, true = ([row[place] for row in rows] for place in range(3))
    return [
        Figure(NAMING, accuracy(right, pictures, weights)),
        Figure(MACRO, macro_accuracy(right, true, pictures, weights)),
    ]


def _share(name: str, rows: Rows, weights: Floats) -> Figure:
    return Figure(name, accuracy([row[1] for row in rows], [row[0] for row in rows], weights))


def _most_frequent(values: Sequence[int]) -> int:
    return Counter(values).most_common(1)[0][0] if values else 0
