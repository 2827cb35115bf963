"""Floors and ceilings of detection benchmarks: predictions made by hand."""

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from fo1.evaluation.detection.truth import DetectionTruth
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.boxes import SHARES, centred_boxes, overlaps
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.prediction import Prediction, Said
from fo1.geometry import Size

SEEDS = 3

DetectionExample: TypeAlias = Example[DetectionTruth]


def centred(
    examples: Sequence[DetectionExample],
    predictions: Sequence[Prediction],
    asked: Callable[[DetectionExample], tuple[str, ...]],
    most: int | None,
) -> list[Prediction]:
    """Return four boxes around the middle of each picture, under every name, or as many as count.

    Scores fall with the name's rank in the data set, then with the box: what a guesser knows who
    has seen the data set but no picture.
    """
    seen = Counter(label for example in examples for label in example.truth.labels)
    frequent = max(seen.values(), default=1)
    made: list[Prediction] = []
    for example, prediction in zip(examples, predictions, strict=True):
        names = sorted(asked(example), key=lambda name: (-seen[name], name))
        names = names[: None if most is None else max(1, most // len(SHARES))]
        scores = {name: (seen[name] + 1) / (frequent + 1) for name in names}
        made.append(
            said(
                example,
                centred_boxes(prediction.image_size),
                [(name, place) for name in names for place in range(len(SHARES))],
                [scores[name] * (1 - place / 8) for name in names for place in range(len(SHARES))],
                prediction.image_size,
            )
        )
    return made


def names_permuted(example: DetectionExample, prediction: Prediction, seed: int) -> Prediction:
    """Return a prediction with the names of its detections dealt anew among them."""
    labels = [label for one in prediction.said for label in one.labels]
    dealt = iter([labels[place] for place in _rng(example, seed).permutation(len(labels))])
    parts = [replace(one, labels=tuple(next(dealt) for _ in one.labels)) for one in prediction.said]
    return replace(prediction, said=tuple(parts))


def true_names(example: DetectionExample, prediction: Prediction) -> Prediction:
    """Return a model's own proposals, each with the name of the true box that it overlaps most.

    The overlap is the score; proposals that meet no true box are not named.
    """
    truth = example.truth
    single = np.flatnonzero(~truth.crowd)
    overlap = overlaps(prediction.boxes, truth.boxes[single])
    if not overlap.size:
        return Prediction.empty(example)
    best = overlap.max(1)
    rows = np.flatnonzero(best > 0)
    owner = single[overlap.argmax(1)]
    pairs = [(truth.labels[owner[row]], int(row)) for row in rows]
    return said(example, prediction.boxes, pairs, best[rows], prediction.image_size)


def random_names(
    example: DetectionExample, names: Sequence[str], size: Size, seed: int
) -> Prediction:
    """Return the true boxes, each under a name drawn from those that were asked for."""
    truth, rng = example.truth, _rng(example, seed)
    single = np.flatnonzero(~truth.crowd)
    drawn = rng.integers(0, max(1, len(names)), len(single))
    pairs = [(names[int(name)], int(row)) for name, row in zip(drawn, single, strict=True)]
    return said(example, truth.boxes, pairs, rng.random(len(pairs)), size)


def every_name(example: DetectionExample, boxes: Floats) -> Prediction:
    """Return boxes (N, 4) that are each called everything that was asked, with one score."""
    names = example.requests[0].queries
    pairs = [(name, row) for row in range(len(boxes)) for name in names]
    return said(example, boxes, pairs, np.ones(len(pairs)))


def said(
    example: DetectionExample,
    boxes: Floats,
    pairs: Sequence[tuple[str, int]],
    scores: Floats | Sequence[float],
    size: Size = (0, 0),
) -> Prediction:
    """Return a prediction with all detections in answer to one request, whatever was asked."""
    return Prediction.made(example, boxes, Said.found(pairs, scores), image_size=size)


def bounds(
    examples: Sequence[DetectionExample],
    predictions: Sequence[Prediction],
    asked: Callable[[DetectionExample], tuple[str, ...]],
    most: int | None,
) -> Mapping[str, Sequence[Sequence[Prediction]]]:
    """Return all of them by what they are; several under one name are seeds.

    Args:
        examples: of the task.
        predictions: of the model, one per example.
        asked: tells the names that can be judged in a picture.
        most: detections of a picture that count.
    """
    both = list(zip(examples, predictions, strict=True))
    return {
        "four centred boxes, every name": [centred(examples, predictions, asked, most)],
        "own detections, names permuted": [
            [names_permuted(*pair, seed) for pair in both] for seed in range(SEEDS)
        ],
        "true boxes, random names": [
            [random_names(one, asked(one), each.image_size, seed) for one, each in both]
            for seed in range(SEEDS)
        ],
        "own proposals, true names": [[true_names(*pair) for pair in both]],
    }


def _rng(example: DetectionExample, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(example.key.encode())])
