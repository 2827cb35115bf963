"""Floors and ceilings of drawn scenes that need no model, every one from rows that were written.

Legend: W rows of weights (see `metrics`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from fo1.evaluation.drawn import figures as scene_figures
from fo1.evaluation.drawn.cases import FOUND_IOU, Case, rival_names
from fo1.evaluation.drawn.judging import Judgement
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.boxes import centred_boxes
from fo1.evaluation.metrics.estimates import Floats, accuracy, ratio
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.task import Figure
from fo1.geometry import Boxes, box_area, box_iou
from fo1.prompts import Task

Asked: TypeAlias = tuple[int, Example[Case], Prediction]
"""Picture, example and what a model said."""

CENTRED = "four centred boxes under every name"
CEILING = "own proposals, true names (ceiling)"
SHUFFLED = "names shuffled among the boxes"
RECALL = "recall of the proposals at IoU 0.5"


def shuffled(prediction: Prediction, seed: int) -> Prediction:
    """Return a prediction whose answers are dealt anew among its regions."""
    rng = np.random.default_rng([seed, *prediction.key.encode()])
    place = dict(enumerate(rng.permutation(len(prediction.boxes)).tolist()))

    def deal(said: Said) -> Said:
        regions = [place.get(region, region) for region in said.regions.tolist()]
        texts = {place.get(region, region): text for region, text in said.texts.items()}
        return replace(said, regions=np.array(regions, np.int64), texts=texts)

    return replace(prediction, said=tuple(map(deal, prediction.said)))


def of_true_boxes(
    cases: Sequence[tuple[int, Case]], names: Sequence[str], weights: Floats
) -> dict[str, list[Figure]]:
    """Return the floors of scenes whose true and distractor boxes are given.

    Args:
        cases: (picture, its questions).
        names: what every true box is called one of.
        weights: (W, P).
    """
    return {
        **_majority(cases, weights),
        "largest box": _largest(cases, weights),
        "chance": _chance(cases, names, weights),
    }


def of_proposals(asked: Sequence[Asked], weights: Floats) -> dict[str, list[Figure]]:
    """Return the floors and ceilings of scenes whose regions were proposed."""
    centred, ceiling = Judgement(), Judgement()
    found, true = np.zeros((2, weights.shape[1]))
    for picture, example, prediction in asked:
        boxes = centred_boxes(prediction.image_size).astype(np.float32)
        centred.add(picture, example, _under_every_name(example, boxes))
        ceiling.add(picture, example, _best_names(example, prediction))
        overlap = box_iou(example.truth.true, prediction.boxes.astype(np.float32))
        hit = overlap.max(1, initial=0.0) >= FOUND_IOU
        found[picture] += hit.sum()
        true[picture] += len(hit)
    return {
        CENTRED: scene_figures.figures_of(centred, weights),
        CEILING: scene_figures.detection_figures(ceiling, weights),
        RECALL: [Figure("detection: AP50", ratio(found, true, weights))],
    }


def _majority(cases: Sequence[tuple[int, Case]], weights: Floats) -> Mapping[str, list[Figure]]:
    """Return what the most frequent names and counts of these very scenes score."""
    things = [(picture, thing.name) for picture, case in cases for thing in case.objects]
    often = [name for name, _ in Counter(name for _, name in things).most_common(5)]
    ranks = [(picture, often.index(n) if n in often else len(often), n) for picture, n in things]
    first = [(picture, float(rank == 0)) for picture, rank, _ in ranks]
    described = Judgement(described=first)
    naming = [
        *scene_figures.naming_figures(ranks, weights),
        scene_figures.description_figure(described, weights),
    ]
    counts = [(picture, number) for picture, case in cases for _, number in case.counts]
    floors: dict[str, list[Figure]] = {}
    for least, label in (
        (1, "majority in these very scenes"),
        (2, "majority of the counts of 2 or more"),
    ):
        often_said = Counter(n for _, n in counts if n >= least).most_common(1)
        said = often_said[0][0] if often_said else None
        items = [(picture, said, number) for picture, number in counts]
        figures = scene_figures.counting_figures(items, weights)
        floors[f"{label} (count {said})"] = [*(naming if least == 1 else []), *figures]
    return floors


def _largest(cases: Sequence[tuple[int, Case]], weights: Floats) -> list[Figure]:
    judged = Judgement()
    for picture, case in cases:
        box = case.boxes[int(box_area(case.boxes).argmax())]
        for text, target in case.expressions:
            judged.refer(picture, case, text, target, box)
    return scene_figures.referring_figures(judged.referring, weights)


def _chance(
    cases: Sequence[tuple[int, Case]], names: Sequence[str], weights: Floats
) -> list[Figure]:
    rivals: list[tuple[int, int]] = []
    expressions: list[tuple[int, float, bool]] = []
    for picture, case in cases:
        rivals += [(picture, len(rival_names(names, thing)) + 1) for thing in case.objects]
        expressions += [
            (picture, 1 / len(case.boxes), not case.by_name_alone(text))
            for text, _ in case.expressions
        ]
    pictures = [picture for picture, _ in rivals]
    naming = [
        Figure(
            f"naming: top-{limit}",
            accuracy([min(1, limit / number) for _, number in rivals], pictures, weights),
        )
        for limit in (1, 5)
    ]
    auroc = Figure("absent names: AUROC", np.full(len(weights), 0.5))
    return [*naming, *scene_figures.referring_figures(expressions, weights), auroc]


def _under_every_name(example: Example[Case], boxes: Boxes) -> Prediction:
    """Return the prediction that every box is everything that is asked."""
    rows = range(len(boxes))
    said = [
        Said.found([(query, row) for query in request.queries for row in rows], count=len(boxes))
        for request in example.requests
    ]
    return Prediction.made(example, boxes, *said)


def _best_names(example: Example[Case], prediction: Prediction) -> Prediction:
    """Return the prediction that knows how well each proposal fits each name."""
    said: list[Said] = []
    for request in example.requests:
        pairs: list[tuple[str, int]] = []
        scores: list[float] = []
        for name in request.queries if request.task is Task.DETECT else ():
            truth, _ = example.truth.truth(name)
            fit = box_iou(prediction.boxes.astype(np.float32), truth).max(1, initial=0.0)
            pairs += [(name, row) for row in range(len(fit))]
            scores += fit.tolist()
        said.append(Said.found(pairs, scores))
    return Prediction.made(example, prediction.boxes, *said)
