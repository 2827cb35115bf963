"""Class statistics against counting one by one; a sample that does not depend on the order."""

import random
from typing import Any

import numpy as np

from fo1.labelling.summary import Counts, Sample
from fo1.results import Detections

NAMES = ("cat", "dog", "cup")


def some(seed: int) -> Detections:
    chance = np.random.default_rng(seed)
    count = int(chance.integers(0, 6))
    corners = chance.random((count, 2, 2)) * 200
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    labels = tuple(NAMES[:2][place] for place in chance.integers(0, 2, count))
    scores = np.append(chance.random(count), [1.0])[-count:] if count else []
    return Detections(boxes, labels, scores, [-1] * count, (200, 200))


def slowly(found: list[Detections], name: str) -> dict[str, Any]:
    inside = [[one for one in each if one.label == name] for each in found]
    every = [one for each in inside for one in each]
    areas = [float((one.box[2] - one.box[0]) * (one.box[3] - one.box[1])) for one in every]
    tenths = [int(np.float32(one.score) * np.float32(10)) for one in every]
    scores = [round(one.score, 4) for one in every]
    return {
        "boxes": len(every),
        "pictures": sum(bool(each) for each in inside),
        "most_in_a_picture": max(map(len, inside)),
        "mean_score": round(sum(scores) / len(scores), 4) if scores else None,
        "scores_by_tenths": [sum(min(t, 9) == band for t in tenths) for band in range(10)],
        "small_medium_large": [
            sum(area < 32**2 for area in areas),
            sum(32**2 <= area < 96**2 for area in areas),
            sum(area >= 96**2 for area in areas),
        ],
    }


def test_counts_are_those_of_counting_one_by_one() -> None:
    found = [some(seed) for seed in range(60)]
    counts = Counts(NAMES)
    for one in (*found, None, None):
        counts.add(one)
    told = counts.to_dict()
    assert told["classes"] == {name: slowly(found, name) for name in NAMES}
    assert told["boxes"] == sum(map(len, found)) > 60
    assert (told["pictures"], told["broken"]) == (60, 2)
    assert told["empty"] == sum(not len(one) for one in found) > 3
    assert told["classes"]["cup"]["boxes"] == 0
    assert told["classes"]["cat"]["scores_by_tenths"][9] > 3  # a score of 1 is in the last tenth


def test_a_sample_is_the_same_in_any_order_and_prefers_boxes() -> None:
    pictures = [(f"{number}.png", some(number)) for number in range(80)]
    chosen: list[list[str]] = []
    for seed in range(3):
        random.Random(seed).shuffle(pictures)
        sample = Sample(24)
        for name, found in pictures:
            sample.add(name, found)
        chosen.append([name for name, _ in sample.chosen()])
        assert all(len(found) for _, found in sample.chosen())
    assert chosen[0] == chosen[1] == chosen[2] == sorted(chosen[0])
    assert len(set(chosen[0])) == 24
    few = Sample(24)
    for name, found in pictures[:10]:
        few.add(name, found)
    assert len(few.chosen()) == 10
