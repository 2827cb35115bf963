"""Detection benchmarks: what COCO, LVIS, ODinW and folders of one's own share.

The figure itself comes from the official engine; its interval from own code on resampled pictures,
laid around the figure. Equal scores enter the own curve together while the engine takes them as they
are written, so the two may differ by a little.

Legend: P pictures, K names, M true boxes, R rows of weights, T IoU thresholds, A ranges of size.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, TypeAlias

import numpy as np

from fo1.evaluation.detection import bounds as detection_bounds
from fo1.evaluation.detection.coco_engine import average, official_precision
from fo1.evaluation.detection.pool import AREAS, KINDS, Pool
from fo1.evaluation.detection.tables import (
    class_table,
    count_table,
    part_table,
    recall_table,
    score_tables,
)
from fo1.evaluation.detection.truth import DetectionTruth
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.metrics.ranking import (
    COCO_IOUS,
    mean_of_known,
    weighted_precision,
)
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.report import Table
from fo1.evaluation.task import Chances, EvalTask, Figure, Predictions
from fo1.geometry import Boxes
from fo1.pipeline.request import Score

SPREAD = 200
"""Resamples that intervals of AP are read from; more would take minutes at COCO's size."""

DetectionExample: TypeAlias = Example[DetectionTruth]


@dataclass(frozen=True, kw_only=True)
class DetectionTask(EvalTask[DetectionTruth]):
    """A detection benchmark: one example per picture, AP as COCO defines it.

    Args:
        names: by data set (`DetectionTruth.part`), the names that may be found in its pictures.
        groups: by figure, such as "APr", the names whose mean it is.
        numbers: by name the category's id, for files of results; empty if there are several files.
    """

    names: Mapping[str, tuple[str, ...]] = field(repr=False)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    numbers: Mapping[str, int] = field(default_factory=dict, repr=False)

    packages: ClassVar[tuple[str, ...]] = ("faster_coco_eval",)
    most: ClassVar[int | None] = 100
    federated: ClassVar[bool] = False
    """Whether only some names were looked for in each picture, as in LVIS."""
    per_picture: ClassVar[int | None] = None
    """Detections of a picture that are scored; None for 100 of each name, as in COCO."""

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return AP, AP50, AP75, APs, APm, APl, then those of groups; means over the data sets."""
        return self._over_parts(list(self.pools(predictions).values()), weights)

    def _over_parts(self, pools: Sequence[Pool], weights: Floats) -> list[Figure]:
        each = [self.figures_of(pool, weights) for pool in pools]
        return [
            Figure(column[0].name, mean_of_known(np.stack([one.values for one in column])))
            for column in zip(*each, strict=True)
        ]

    def figures_of(self, pool: Pool, weights: Floats) -> list[Figure]:
        """Return the figures of one data set: row 0 the engine's, the others own resamples."""
        precision = official_precision(pool, self.federated)
        drawn_rows = np.ascontiguousarray(weights[1 : SPREAD + 1, pool.columns].T).T  # by picture
        curves = self.curves(pool, drawn_rows)

        def figure(name: str, official: float, drawn: Floats) -> Figure:
            values = np.full(len(weights), np.nan)
            values[0], values[1 : 1 + len(drawn)] = official, drawn
            return Figure(name, values)

        overall = curves.mean(2)  # (K, A, R)
        made = [figure("AP", average(precision), mean_of_known(overall[:, 0]))]
        for name, threshold in (("AP50", 0), ("AP75", 5)):
            drawn = mean_of_known(curves[:, 0, threshold])
            made.append(figure(name, average(precision, threshold), drawn))
        for place, letter in enumerate(AREAS):
            if letter:
                drawn = mean_of_known(overall[:, place])
                made.append(figure(f"AP{letter}", average(precision, area=letter), drawn))
        for name, members in self.groups.items():
            own = [row for row, one in enumerate(pool.names) if one in members]
            drawn = mean_of_known(overall[own, 0])
            made.append(figure(name, average(precision[:, :, own]), drawn))
        return made

    def curves(self, pool: Pool, weights: Floats) -> Floats:
        """Return (K, A, T, R) own AP of every name; NaN without true boxes."""
        shape = (len(AREAS), len(COCO_IOUS), len(weights))
        result = np.full((len(pool.names), *shape), np.nan)
        most = self.per_picture or 100
        for name in pool.due if len(weights) else ():
            judged, _ = pool.judge(name, tuple(AREAS.values()), most=most)
            result[name] = weighted_precision(judged, weights).reshape(shape)
        return result

    def pools(self, predictions: Predictions) -> dict[str, Pool]:
        """Return by data set all its detections and true boxes."""
        rows: dict[str, list[tuple[int, DetectionTruth, Prediction]]] = {}
        for picture, example, prediction in self.pairs(predictions):
            rows.setdefault(example.truth.part, []).append((picture, example.truth, prediction))
        return {
            part: Pool.of(self.names[part], own, self.per_picture) for part, own in rows.items()
        }

    def asked(self, example: DetectionExample) -> tuple[str, ...]:
        """Return the names that can be judged in a picture."""
        return example.truth.judged(self.names[example.truth.part])

    def first(self, limit: int) -> Self:
        """Return the task with its first examples alone, taken in turn from every data set."""
        taken = Counter[str]()
        turns: list[int] = []
        for example in self.examples:
            turns.append(taken[example.truth.part])
            taken[example.truth.part] += 1
        order = sorted(range(len(turns)), key=turns.__getitem__)[:limit]
        return replace(self, examples=tuple(self.examples[place] for place in sorted(order)))

    def perfect(self, example: DetectionExample) -> Prediction:
        """Return the true boxes under their names, each in answer to the request for its name."""
        truth = example.truth
        single = np.flatnonzero(~truth.crowd)
        said: list[Said] = []
        for request in example.requests:
            rows = [row for row in single if truth.labels[row] in request.queries]
            said.append(Said.found([(truth.labels[row], int(row)) for row in rows]))
        return Prediction.made(example, truth.boxes, *said)

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return fixed boxes, own boxes and true boxes, with true, permuted and random names."""
        made = detection_bounds.bounds(self.examples, predictions, self.asked, self.most)
        return {**made, "true boxes, true names": [[self.perfect(one) for one in self.examples]]}

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return tables by data set, score, class and number of proposals."""
        pools = self.pools(predictions)
        tables = self.score_tables(pools, weights)
        if len(pools) > 1:
            each = {part: self.figures_of(pool, weights) for part, pool in pools.items()}
            tables.append(part_table(each, pools))
        precision = {part: official_precision(p, self.federated) for part, p in pools.items()}
        tables.append(class_table(precision, pools))
        tables.append(recall_table(self.pairs(predictions), weights[: SPREAD + 1]))
        return [*tables, count_table(list(pools.values()))]

    def score_tables(self, pools: Mapping[str, Pool], weights: Floats) -> list[Table]:
        """Return the figures that the same detections get when another score ranks them."""
        found: dict[str, list[Figure]] = {}
        for kind in KINDS:
            ranked = [pool.ranked_by(kind) for pool in pools.values()]
            known = [pool for pool in ranked if pool is not None]
            if len(known) == len(pools):
                found[kind] = self._over_parts(known, weights)
        return score_tables(found)

    def chances(self, predictions: Predictions) -> Mapping[Score, Chances]:
        """Return by score how likely each detection was said to be right, and whether it was.

        Right is a detection that has a true box of its label to itself at IoU 0.5, the best scored
        first. Detections in crowds, and of names that are not all marked, are left out.
        """
        found: dict[Score, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        for pool in self.pools(predictions).values():
            for name in range(len(pool.names)):
                judged, rows = pool.judge(name, ious=COCO_IOUS[:1], most=None)
                for kind, values in pool.evidence.items():
                    chance = values[rows]
                    sure = ~judged.ignored[0] & np.isfinite(chance)
                    pictures = pool.columns[judged.pictures]
                    row = pictures[sure], chance[sure].clip(0, 1), judged.hits[0][sure]
                    found.setdefault(kind, []).append(row)
        joined: dict[Score, Chances] = {}
        for kind, rows in found.items():
            pictures, chance, outcome = (np.concatenate(each) for each in zip(*rows, strict=True))
            joined[kind] = Chances(pictures, chance, outcome)
        return joined

    def exports(self, predictions: Predictions) -> Mapping[str, str]:
        """Return COCO results, as pycocotools and evaluation servers read them."""
        if not self.numbers:
            return {}
        rows = [
            {
                "image_id": example.image_id,
                "category_id": self.numbers[label],
                "bbox": _xywh(prediction.boxes[region]),
                "score": score,
            }
            for _, example, prediction in self.pairs(predictions)
            for said in prediction.said
            for label, region, score in zip(
                said.labels, said.regions.tolist(), said.scores.tolist(), strict=True
            )
            if label in self.numbers and 0 <= region < len(prediction.boxes)
        ]
        return {"coco_results.json": json.dumps(rows) + "\n"}

    def true_boxes(self, example: DetectionExample) -> Boxes | None:
        """Return the true boxes, each once; crowds are none."""
        return example.truth.distinct

    def error(self, example: DetectionExample, prediction: Prediction) -> float:
        """Return 1 - AP50 of this picture alone; without true boxes the best score."""
        row = (0, example.truth, prediction)
        pool = Pool.of(self.asked(example), [row], self.per_picture)
        curves = [
            weighted_precision(pool.judge(name, ious=COCO_IOUS[:1])[0], np.ones((1, 1)))
            for name in pool.due
        ]
        value = float(mean_of_known(np.concatenate(curves))[0]) if curves else float("nan")
        return float(pool.scores.max(initial=0.0)) if np.isnan(value) else 1 - value

    def truth_to_draw(self, example: DetectionExample) -> tuple[Boxes, tuple[str, ...]]:
        """Return the true boxes with their names; crowds say so."""
        truth = example.truth
        marks = zip(truth.labels, truth.crowd, strict=True)
        labels = tuple(f"{label} (crowd)" if crowd else label for label, crowd in marks)
        return truth.boxes.astype(np.float32), labels


def _xywh(box: Floats) -> list[float]:
    return [round(float(side), 2) for side in (box[0], box[1], *(box[2:] - box[:2]))]
