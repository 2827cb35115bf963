"""Detection on a folder of annotated pictures: every picture is asked for every name.

    DATA/annotations.json and pictures -> one question a picture -> AP, recall, false positives

The figures are those of the open photo set's own scorer on the same detections; `submission` writes
what it reads. Without the three lists per picture that the federated protocol needs, every name
counts as looked for everywhere, as in plain COCO.

Legend: P pictures, R rows of weights, M true boxes, D detections, T IoU thresholds.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from fo1.evaluation.detection import federated
from fo1.evaluation.detection.federated import FALSE_SCORE, Found, Ints, Labelled
from fo1.evaluation.detection.photo_set import Photo, load_photo_set
from fo1.evaluation.detection.pool import KINDS
from fo1.evaluation.detection.tables import score_tables
from fo1.evaluation.detection.task import SPREAD
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Floats, estimate, ratio
from fo1.evaluation.metrics.ranking import mean_of_known
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.report import Table
from fo1.evaluation.task import Chances, EvalTask, Figure, Predictions
from fo1.geometry import Boxes
from fo1.pipeline import Request
from fo1.pipeline.request import Score
from fo1.prompts import Task

SEEDS, FEW_SEEDS = 20, 3
"""Of random and of permuted names, for few pictures and for many."""
MANY = 200
"""Pictures; with more, fewer seeds are drawn and AP is resampled `SPREAD` times at most."""

Seen: TypeAlias = Sequence[tuple[int, Labelled, Found]]
"""Of every example its picture, what is there and what was found."""
Rename: TypeAlias = Callable[[np.random.Generator, Ints], Ints]
"""Gives detections other names."""


@dataclass(frozen=True, kw_only=True)
class Folder(EvalTask[Photo]):
    """Detection on one's own pictures.

    Args:
        names: the vocabulary.
    """

    names: tuple[str, ...]

    name: ClassVar[str] = "folder"
    title: ClassVar[str] = "Detection, every picture asked for every name"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the pictures of a folder with a COCO file, or of such a file."""
        found = load_photo_set(data)
        return cls(
            examples=tuple(
                Example(
                    key=str(photo.number),
                    picture=photo.file_name,
                    image=photo.path,
                    requests=cls.requests(photo, found.names),
                    truth=photo,
                    image_id=photo.number,
                    image_size=photo.image_size,
                )
                for photo in found.photos
            ),
            broken=found.broken,
            files=(found.file,),
            names=found.names,
        )

    @classmethod
    def requests(cls, photo: Photo, names: tuple[str, ...]) -> tuple[Request, ...]:
        """Return what is asked about a picture, all names first."""
        return (Request(task=Task.DETECT, queries=names, threshold=0.0),)

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return AP, AP50, recall of the 50 and 100 best boxes, false positives per picture."""
        return self._figures(self._seen(predictions), weights)

    def perfect(self, example: Example[Photo]) -> Prediction:
        """Return the true boxes with their names."""
        boxes = example.truth.truth.boxes
        return Prediction.made(
            example, boxes, Said.found(zip(self._labels(example), range(len(boxes)), strict=True))
        )

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return fixed boxes, random and permuted names, and two ceilings.

        Names are drawn as the open photo set's own scorer draws them, so its figures are met; of
        more than 200 pictures 3 times instead of 20, where that scorer would take hours.
        """
        own, count = self._seen(predictions), len(self.names)
        pairs = list(zip(own, self.examples, predictions, strict=True))
        true = [(place, truth, federated.perfect(truth)) for place, truth, _ in own]
        fixed = [(t[0], t[1], federated.centred(e.truth.image_size, count)) for t, e, _ in pairs]
        renamed = [(t[0], t[1], federated.best_named(p.boxes, t[1])) for t, _, p in pairs]
        permuted = self._mean(own, lambda rng, names: rng.permutation(count)[names], weights)
        gap = [
            replace(one, values=one.values - other.values)
            for one, other in zip(self._figures(own, weights)[:2], permuted[:2], strict=True)
        ]
        return {
            "four centred boxes under every name": self._figures(fixed, weights),
            f"true boxes, random names ({self._seeds} seeds)": self._mean(
                true, lambda rng, names: rng.integers(0, count, len(names)), weights
            ),
            f"names permuted ({self._seeds} seeds)": permuted,
            "model minus names permuted": gap,
            "own boxes, true names (ceiling)": self._figures(renamed, weights),
            "true boxes, true names (ceiling)": self._figures(true, weights),
        }

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return the figures by every score that is known, and average precision by name."""
        table = Table("By name", ("AP %", "AP50 %", "boxes"), "Names that have a box.")
        seen = self._seen(predictions)
        boxes = np.bincount(
            np.concatenate([t.names for _, t, _ in seen]), minlength=len(self.names)
        )
        curves = self._curves(seen, weights)
        for name, curve, count in zip(self.names, curves, boxes, strict=True):
            if count:
                both = (estimate(100 * curve.mean(0)), estimate(100 * curve[0]))
                table.add(name, *both, str(count))
        ranked = {kind: self._seen(predictions, kind) for kind in self._known(predictions)}
        return [*score_tables({k: self._figures(s, weights) for k, s in ranked.items()}), table]

    def chances(self, predictions: Predictions) -> Mapping[Score, Chances]:
        """Return every kind of score as the chance that a detection meets a box of its name."""
        parts: dict[Score, list[Chances]] = {}
        for picture, example, prediction in self.pairs(predictions):
            found, evidence = self._found(prediction), prediction.said[0].evidence
            for name, ranked in federated.judge(found, example.truth.truth, picture).items():
                sure = ~ranked.ignored[0]
                rows = found.order[found.names == name][: len(sure)][sure]
                right = ranked.hits[0][sure]
                for kind, scores in evidence.items():
                    one = Chances(np.full(len(rows), picture), scores[rows], right)
                    parts.setdefault(kind, []).append(one)
        return {
            kind: Chances(
                np.concatenate([one.pictures for one in each]),
                np.concatenate([one.chance for one in each]),
                np.concatenate([one.outcome for one in each]),
            )
            for kind, each in parts.items()
        }

    def true_boxes(self, example: Example[Photo]) -> Boxes:
        """Return the boxes to be found."""
        return example.truth.truth.boxes.astype(np.float32)

    def error(self, example: Example[Photo], prediction: Prediction) -> float:
        """Return how many boxes are missed or wrong at the score that counts as said."""
        found, truth = self._found(prediction), example.truth.truth
        judged = federated.judge(found, truth, 0).values()
        said = [(one.scores >= FALSE_SCORE, one) for one in judged]
        right = sum(int((one.hits[0] & kept).sum()) for kept, one in said)
        wrong = sum(int((~one.hits[0] & ~one.ignored[0] & kept).sum()) for kept, one in said)
        return float(len(truth.boxes) - right + wrong)

    def truth_to_draw(self, example: Example[Photo]) -> tuple[Boxes, tuple[str, ...]]:
        """Return the boxes to be found with their names."""
        return self.true_boxes(example), self._labels(example)

    def submission(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Return what the photo set's own scorer reads, one JSON line a picture."""
        return [
            {"image_id": example.truth.number, "detections": list(self._rows(prediction))}
            for _, example, prediction in self.pairs(predictions)
        ]

    def exports(self, predictions: Predictions) -> Mapping[str, str]:
        """Return the lines of `submission`."""
        lines = [json.dumps(row) + "\n" for row in self.submission(predictions)]
        return {"predictions.jsonl": "".join(lines)}

    def _rows(self, prediction: Prediction) -> Iterator[dict[str, Any]]:
        found = self._found(prediction)
        for box, name, score in zip(found.boxes, found.names, found.scores, strict=True):
            yield {"label": self.names[name], "box": box.tolist(), "score": float(score)}

    def _figures(self, seen: Seen, weights: Floats) -> list[Figure]:
        curves = np.stack(self._curves(seen, weights))  # (names, T, R)
        pictures = [picture for picture, _, _ in seen]
        columns = [
            [1 for _ in seen],
            [len(truth.boxes) for _, truth, _ in seen],
            [federated.recalled(found, truth, 50) for _, truth, found in seen],
            [federated.recalled(found, truth, 100) for _, truth, found in seen],
            [federated.false_positives(found, truth) for _, truth, found in seen],
        ]
        sums = [np.bincount(pictures, column, weights.shape[1]) for column in columns]
        photos, boxes, at_50, at_100, false = sums
        return [
            Figure("AP", mean_of_known(curves.mean(1))),
            Figure("AP50", mean_of_known(curves[:, 0])),
            Figure("R@50", ratio(at_50, boxes, weights)),
            Figure("R@100", ratio(at_100, boxes, weights)),
            Figure("FP/photo", ratio(false, photos, weights), ""),
        ]

    def _mean(self, seen: Seen, rename: Rename, weights: Floats) -> list[Figure]:
        """Return the figures with other names, the mean over seeds."""
        seeds: list[list[Figure]] = []
        for rng in map(np.random.default_rng, range(self._seeds)):
            changed = [
                (place, truth, replace(found, names=rename(rng, found.names)))
                for place, truth, found in seen
            ]
            seeds.append(self._figures(changed, weights))
        return [
            replace(column[0], values=np.mean([one.values for one in column], 0))
            for column in zip(*seeds, strict=True)
        ]

    def _curves(self, seen: Seen, weights: Floats) -> list[Floats]:
        """Return (T, R) average precision of every name.

        Of more than 200 pictures the first 200 resamples alone; the others are NaN, which no
        interval counts.
        """
        judged = [federated.judge(found, truth, picture) for picture, truth, found in seen]
        drawn = weights[: SPREAD + 1] if len(self.examples) > MANY else weights
        curves = federated.average_precision(judged, len(self.names), drawn)
        left = ((0, 0), (0, len(weights) - len(drawn)))
        return [np.pad(curve, left, constant_values=np.nan) for curve in curves]

    @property
    def _seeds(self) -> int:
        return SEEDS if len(self.examples) <= MANY else FEW_SEEDS

    def _known(self, predictions: Predictions) -> list[Score]:
        """Return the scores that all detections have."""
        given = [one.said[0].evidence for one in predictions if one.said[0].labels]
        return [kind for kind in KINDS if given and all(kind in each for each in given)]

    def _seen(self, predictions: Predictions, kind: Score | None = None) -> Seen:
        pairs = self.pairs(predictions)
        return [(picture, e.truth.truth, self._found(one, kind)) for picture, e, one in pairs]

    def _found(self, prediction: Prediction, kind: Score | None = None) -> Found:
        """Return detections best first; what is no name, no region or no score is left out."""
        said = prediction.said[0]
        if kind is not None:
            said = replace(said, scores=said.evidence.get(kind, said.scores))
        names = np.array([self._place.get(label, -1) for label in said.labels], np.int64)
        real = (said.regions >= 0) & (said.regions < len(prediction.boxes))
        kept = np.flatnonzero((names >= 0) & real & np.isfinite(said.scores))
        boxes = prediction.boxes[said.regions[kept]]
        found = Found.of(boxes, names[kept], said.scores[kept])
        return replace(found, order=kept[found.order])

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def _labels(self, example: Example[Photo]) -> tuple[str, ...]:
        return tuple(self.names[name] for name in example.truth.truth.names)
