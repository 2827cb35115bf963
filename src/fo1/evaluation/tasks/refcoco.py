"""RefCOCO, RefCOCO+ and RefCOCOg: one box is meant by every expression.

    "man in the red shirt" -> best region -> right from IoU 0.5

Sources: lichengunc/refer (data); Yu et al., Modeling Context in Referring Expressions, ECCV 2016,
and Mao et al., Generation and Comprehension of Unambiguous Object Descriptions, CVPR 2016 (metric).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from fo1.evaluation.example import Example
from fo1.evaluation.formats.refer import ReferLayout, Referred, read_refer
from fo1.evaluation.metrics.estimates import Floats, accuracy
from fo1.evaluation.metrics.referring import HIT_IOU, best_region, boxes_of, largest, naming
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.geometry import Boxes, box_iou
from fo1.pipeline import Request
from fo1.prompts import Task

REFCOCO = ReferLayout("refcoco", "refs(unc)")
REFCOCO_PLUS = ReferLayout("refcoco+", "refs(unc)")
REFCOCOG = ReferLayout("refcocog", "refs(umd)")


def ask(expression: str) -> Request:
    """Return the request for the one box that is meant: the best one, however low its score."""
    return Request(task=Task.REFER, queries=(expression,), threshold=0.0)


class RefCoco(EvalTask[Referred]):
    """What all splits share."""

    layout: ClassVar[ReferLayout]
    split: ClassVar[str]

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the split as it lies in a folder; see `read_refer`."""
        read = read_refer(data, cls.layout, cls.split, ask)
        return cls(examples=read.examples, broken=read.broken, files=read.files)

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the share of expressions whose best region is the box that is meant."""
        pictures: list[int] = []
        right: list[float] = []
        for picture, example, prediction in self.pairs(predictions):
            hits = _hits(example, prediction)
            pictures += [picture] * len(hits)
            right += hits
        return [Figure("accuracy", accuracy(right, pictures, weights))]

    def perfect(self, example: Example[Referred]) -> Prediction:
        """Return a prediction whose regions are the boxes that are meant."""
        said = [Said.found([(text, place)]) for place, text in enumerate(example.truth.texts)]
        boxes = np.concatenate(example.truth.targets)
        return Prediction.made(example, boxes, *said, image_size=example.truth.size)

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return the whole picture, the largest region, and the best region for each expression."""

        def choose(regions: Callable[[Prediction, Boxes], list[int]]) -> list[Predictions]:
            pairs = zip(self.examples, predictions, strict=True)
            return [[naming(e, p, [regions(p, box) for box in e.truth.targets]) for e, p in pairs]]

        return {
            "whole picture": [[_whole(example) for example in self.examples]],
            "largest region": choose(lambda prediction, target: largest(prediction)),
            "best proposal (ceiling)": choose(_nearest),
        }

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return what a region drawn at random gets."""
        pictures: list[int] = []
        share: list[float] = []
        for picture, example, prediction in self.pairs(predictions):
            for target in example.truth.targets:
                hits = _overlaps(prediction, target) >= HIT_IOU
                pictures.append(picture)
                share.append(float(hits.mean()) if len(hits) else 0.0)
        return {"chance (any region)": [Figure("accuracy", accuracy(share, pictures, weights))]}

    def true_boxes(self, example: Example[Referred]) -> Boxes:
        """Return all annotated boxes of the picture, not only those that are meant."""
        return example.truth.objects

    def error(self, example: Example[Referred], prediction: Prediction) -> float:
        """Return the share of the picture's expressions that are answered wrong."""
        return 1 - float(np.mean(_hits(example, prediction)))

    def truth_to_draw(self, example: Example[Referred]) -> tuple[Boxes, tuple[str, ...]]:
        """Return the boxes that are meant, with their expressions."""
        return np.concatenate(example.truth.targets), example.truth.texts


def _hits(example: Example[Referred], prediction: Prediction) -> list[float]:
    """Return 1.0 or 0.0 for each expression."""
    hits: list[float] = []
    for number, target in enumerate(example.truth.targets):
        box = boxes_of(prediction, best_region(prediction, number))
        hits.append(float((box_iou(target, box) >= HIT_IOU).any()))
    return hits


def _overlaps(prediction: Prediction, target: Boxes) -> np.ndarray:
    """Return (N,) the IoU of every region with a box."""
    return box_iou(target, prediction.boxes.astype(np.float32))[0]


def _nearest(prediction: Prediction, target: Boxes) -> list[int]:
    overlaps = _overlaps(prediction, target)
    return [int(overlaps.argmax())] if len(overlaps) else []


def _whole(example: Example[Referred]) -> Prediction:
    height, width = example.truth.size
    said = [Said.found([(text, 0)]) for text in example.truth.texts]
    return Prediction.made(example, [[0, 0, width, height]], *said, image_size=(height, width))


class RefCocoVal(RefCoco):
    """RefCOCO, val."""

    name, title = "refcoco-val", "RefCOCO val"
    layout, split = REFCOCO, "val"


class RefCocoTestA(RefCoco):
    """RefCOCO, testA: people."""

    name, title = "refcoco-testA", "RefCOCO testA"
    layout, split = REFCOCO, "testA"


class RefCocoTestB(RefCoco):
    """RefCOCO, testB: all else."""

    name, title = "refcoco-testB", "RefCOCO testB"
    layout, split = REFCOCO, "testB"


class RefCocoPlusVal(RefCoco):
    """RefCOCO+, val; its expressions say nothing about places."""

    name, title = "refcoco+-val", "RefCOCO+ val"
    layout, split = REFCOCO_PLUS, "val"


class RefCocoPlusTestA(RefCoco):
    """RefCOCO+, testA: people."""

    name, title = "refcoco+-testA", "RefCOCO+ testA"
    layout, split = REFCOCO_PLUS, "testA"


class RefCocoPlusTestB(RefCoco):
    """RefCOCO+, testB: all else."""

    name, title = "refcoco+-testB", "RefCOCO+ testB"
    layout, split = REFCOCO_PLUS, "testB"


class RefCocoGVal(RefCoco):
    """RefCOCOg, val, as the University of Maryland split it."""

    name, title = "refcocog-val", "RefCOCOg val"
    layout, split = REFCOCOG, "val"


class RefCocoGTest(RefCoco):
    """RefCOCOg, test, as the University of Maryland split it."""

    name, title = "refcocog-test", "RefCOCOg test"
    layout, split = REFCOCOG, "test"
