"""gRefCOCO: an expression means any number of boxes, or none.

    "the two on the left" -> all regions that are meant -> right if they are exactly those

Sources: henghuiding/gRefCOCO (data; mdetr/datasets/refexp.py for the metric); He et al., GREC:
Generalized Referring Expression Comprehension, arXiv 2308.16182.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from fo1.evaluation.example import Example
from fo1.evaluation.formats.refer import ReferLayout, Referred, read_refer
from fo1.evaluation.metrics.estimates import Floats, accuracy, estimate
from fo1.evaluation.metrics.referring import (
    HIT_IOU,
    best_pairs,
    boxes_of,
    generalised_iou,
    largest,
    named_regions,
    naming,
)
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.report import Table
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.geometry import Boxes, box_iou
from fo1.pipeline import Request
from fo1.prompts import Task

GREFCOCO = ReferLayout("grefcoco", "grefs(unc)", many=True)

TARGETS = ("no target", "one target", "several targets")


def ask(expression: str) -> Request:
    """Return the request for all that is meant; refer would give one box at most."""
    return Request(task=Task.DETECT, queries=(expression,))


@dataclass(slots=True)
class _Judged:
    """One entry per expression: its picture, boxes that are meant and named, exactly those or not."""

    pictures: list[int]
    due: list[int]
    said: list[int]
    exact: list[float]
    exact_giou: list[float]

    def share(self, right: Sequence[float], chosen: np.ndarray, weights: Floats) -> Floats:
        """Return (R,) the share of the chosen expressions that are right."""
        pictures = np.array(self.pictures, int)[chosen]
        return accuracy(np.array(right, float)[chosen], pictures, weights)


class GRefCoco(EvalTask[Referred]):
    """What all splits share."""

    split: ClassVar[str]

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the split as it lies in a folder; see `read_refer`."""
        read = read_refer(data, GREFCOCO, cls.split, ask)
        return cls(examples=read.examples, broken=read.broken, files=read.files)

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the share of exact answers, and how often none and some are told apart.

        "F1" is the share of expressions with an F1 of 1 at IoU 0.5; "F1 (GIoU)" the same with the
        generalised IoU, which the published script compares.
        """
        judged = self._judge(predictions)
        none, some = np.array(judged.due) == 0, np.array(judged.due) > 0
        silent = [float(count == 0) for count in judged.said]
        spoken = [float(count > 0) for count in judged.said]
        return [
            Figure("F1", judged.share(judged.exact, none | some, weights)),
            Figure("N-acc", judged.share(silent, none, weights)),
            Figure("T-acc", judged.share(spoken, some, weights)),
            Figure("F1 (GIoU)", judged.share(judged.exact_giou, none | some, weights)),
        ]

    def perfect(self, example: Example[Referred]) -> Prediction:
        """Return a prediction whose regions are the boxes that are meant."""
        targets = example.truth.targets
        ends = np.cumsum([len(boxes) for boxes in targets])
        said = [
            Said.found([(text, region) for region in range(end - len(boxes), end)])
            for text, boxes, end in zip(example.truth.texts, targets, ends, strict=True)
        ]
        boxes = np.concatenate(targets)
        return Prediction.made(example, boxes, *said, image_size=example.truth.size)

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return those who say nothing, the largest region, all, and the regions that are meant."""
        pairs = list(zip(self.examples, predictions, strict=True))
        every = [[range(len(p.boxes))] * len(e.requests) for e, p in pairs]
        large = [[largest(p)] * len(e.requests) for e, p in pairs]
        right = [[_meant(p, target) for target in e.truth.targets] for e, p in pairs]
        ways = {"largest region": large, "all regions": every, "best proposals (ceiling)": right}
        made: dict[str, list[Predictions]] = {
            who: [[naming(e, p, chosen) for (e, p), chosen in zip(pairs, each, strict=True)]]
            for who, each in ways.items()
        }
        return {"says nothing": [[Prediction.empty(e) for e in self.examples]], **made}

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return what one region drawn at random gets."""
        judged = self._judge(predictions)
        right: list[float] = []
        spoken: list[float] = []
        for _, example, prediction in self.pairs(predictions):
            boxes = prediction.boxes.astype(np.float32)
            for target in example.truth.targets:
                hits = box_iou(target, boxes) >= HIT_IOU
                right.append(float(hits.mean()) if hits.size and len(target) == 1 else 0.0)
                spoken.append(float(len(boxes) > 0))
        none, some = np.array(judged.due) == 0, np.array(judged.due) > 0
        silent = [1 - one for one in spoken]
        return {
            "chance (any region)": [
                Figure("F1", judged.share(right, none | some, weights)),
                Figure("N-acc", judged.share(silent, none, weights)),
                Figure("T-acc", judged.share(spoken, some, weights)),
            ]
        }

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return the share of exact answers by how many boxes are meant."""
        judged = self._judge(predictions)
        kinds = np.minimum(judged.due, 2)
        table = Table("By number of targets", ("F1 %", "expressions"), "Exact answers, IoU 0.5.")
        for kind, title in enumerate(TARGETS):
            share = judged.share(judged.exact, kinds == kind, weights)
            table.add(title, estimate(100 * share), str((kinds == kind).sum()))
        return [table]

    def true_boxes(self, example: Example[Referred]) -> Boxes:
        """Return all annotated boxes of the picture, not only those that are meant."""
        return example.truth.objects

    def error(self, example: Example[Referred], prediction: Prediction) -> float:
        """Return the share of the picture's expressions that are not answered exactly."""
        return 1 - float(np.mean([exact for _, exact, _ in _answers(example, prediction)]))

    def truth_to_draw(self, example: Example[Referred]) -> tuple[Boxes, tuple[str, ...]]:
        """Return the boxes that are meant, with their expressions."""
        targets = example.truth.targets
        pairs = zip(example.truth.texts, targets, strict=True)
        return np.concatenate(targets), tuple(text for text, each in pairs for _ in each)

    def _judge(self, predictions: Predictions) -> _Judged:
        judged = _Judged([], [], [], [], [])
        for picture, example, prediction in self.pairs(predictions):
            answers = _answers(example, prediction)
            judged.pictures += [picture] * len(answers)
            judged.due += [len(target) for target in example.truth.targets]
            judged.said += [count for count, _, _ in answers]
            judged.exact += [exact for _, exact, _ in answers]
            judged.exact_giou += [exact for _, _, exact in answers]
        return judged


def _answers(example: Example[Referred], prediction: Prediction) -> list[tuple[int, float, float]]:
    """Return (boxes named, exact by IoU, exact by GIoU) of each expression; -1 where it failed."""
    answers: list[tuple[int, float, float]] = []
    for number, target in enumerate(example.truth.targets):
        boxes = boxes_of(prediction, named_regions(prediction, number))
        if prediction.error is not None:  # silence of what could not be asked is no answer
            answers.append((-1, 0.0, 0.0))
        elif len(boxes) != len(target):
            answers.append((len(boxes), 0.0, 0.0))
        else:
            found = [
                len(best_pairs(overlaps(target, boxes))) == len(target)
                for overlaps in (box_iou, generalised_iou)
            ]
            answers.append((len(boxes), float(found[0]), float(found[1])))
    return answers


def _meant(prediction: Prediction, target: Boxes) -> list[int]:
    """Return the regions that fit the boxes that are meant best, one to one."""
    boxes = prediction.boxes.astype(np.float32)
    return [region for _, region in best_pairs(box_iou(target, boxes), least=0.0)]


class GRefCocoVal(GRefCoco):
    """GRefCOCO, val."""

    name, title, split = "grefcoco-val", "gRefCOCO val", "val"


class GRefCocoTestA(GRefCoco):
    """GRefCOCO, testA."""

    name, title, split = "grefcoco-testA", "gRefCOCO testA", "testA"


class GRefCocoTestB(GRefCoco):
    """GRefCOCO, testB."""

    name, title, split = "grefcoco-testB", "gRefCOCO testB", "testB"
