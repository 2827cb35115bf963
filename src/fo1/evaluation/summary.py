"""From predictions to figures: the model, its floors and ceilings, what others published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fo1.evaluation.contestants import MODEL
from fo1.evaluation.metrics.estimates import (
    RESAMPLES,
    Estimate,
    brier,
    brier_skill,
    estimate,
    resampling,
)
from fo1.evaluation.predicting import Told
from fo1.evaluation.published import published
from fo1.evaluation.report import Table
from fo1.evaluation.task import AnyTask, Chances, Figure
from fo1.pipeline.request import Score
from fo1.prompts import QUERY_TASKS

DIGITS: Mapping[str, int] = {"%": 1, "": 3}
"""Behind the point, by unit."""

_SCORES: Mapping[Score, str] = {
    "proposal": "score of the proposal",
    "head": "score head's match",
    "fusion": "fusion: square root of match times proposal",
    "token": "probability with which the region's token was written",
}


@dataclass(frozen=True, slots=True)
class Summary:
    """All figures of a run.

    Attributes:
        task: name of the task.
        figures: of the model, the main one first.
        units: "%" or "" of each figure.
        bounds: by floor or ceiling, its figures.
        counts: examples, pictures, failed, broken, problems.
        scored_by: what the scores of the detections are; empty without detections.
        chances: by kind of score, how good it is as a probability.
        tables: everything, in reading order.
    """

    task: str
    figures: Mapping[str, Estimate]
    units: Mapping[str, str]
    bounds: Mapping[str, Mapping[str, Estimate]]
    counts: Mapping[str, int]
    scored_by: tuple[Score, ...]
    chances: Mapping[Score, Chances]
    tables: tuple[Table, ...]

    def digits(self, name: str) -> int:
        """Return how many digits behind the point a figure is shown with."""
        return DIGITS[self.units[name]]

    def to_dict(self) -> dict[str, Any]:
        """Return what summary.json holds; an interval is [low, high]."""
        return {
            "task": self.task,
            "figures": {name: _plain(one, self.units[name]) for name, one in self.figures.items()},
            "bounds": {
                who: {name: _plain(one, self.units[name]) for name, one in each.items()}
                for who, each in self.bounds.items()
            },
            "published": published(self.task),
            "counts": dict(self.counts),
            "scored_by": list(self.scored_by),
            "tables": [table.to_dict() for table in self.tables],
        }


def summarise(
    task: AnyTask,
    told: Told,
    *,
    floors: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Summary:
    """Return the figures of a run.

    Args:
        task: what was asked.
        told: by contestant, the model among them, one prediction per example.
        floors: whether floors and ceilings are worked out as well.
        seed: of the resamples.
        resamples: of the pictures, for the intervals.
    """
    weights = resampling(len(task.picture_names), resamples, seed)
    own = told[MODEL.name]
    figures = task.measure(own, weights)
    bounds = {who: task.measure(each, weights) for who, each in told.items() if who != MODEL.name}
    if floors:
        for who, seeds in task.bounds(own).items():
            bounds[who] = _mean([task.measure(one, weights) for one in seeds])
        bounds |= task.expected(own, weights)
    shown = {one.name: one.estimate for one in figures}
    others = {who: {one.name: one.estimate for one in each} for who, each in bounds.items()}
    chances = task.chances(own)
    tables = [*_main_tables(task, figures, shown, others), *task.details(own, weights)]
    if chances:
        tables.append(_chances_table(chances, weights))
    scored = {
        said.scored_by
        for _, example, one in task.pairs(own)
        for request, said in zip(example.requests, one.said, strict=True)
        if said.labels and request.task in QUERY_TASKS
    }
    kinds: tuple[Score, ...] = tuple(kind for kind in _SCORES if kind in scored)
    return Summary(
        task=task.name,
        figures=shown,
        units={one.name: one.unit for each in (*bounds.values(), figures) for one in each},
        bounds=others,
        counts={
            "examples": len(task.examples),
            "pictures": len(task.picture_names),
            "failed": sum(one.error is not None for one in own),
            "broken": len(task.broken),
            "problems": sum(len(one.problems) for one in own),
        },
        scored_by=kinds,
        chances=chances,
        tables=tuple(tables),
    )


def _main_tables(
    task: AnyTask,
    figures: Sequence[Figure],
    shown: Mapping[str, Estimate],
    others: Mapping[str, Mapping[str, Estimate]],
) -> list[Table]:
    """Return a table per group of figures; a row that has none of a group is left out of it.

    Args:
        task: names the tables and the published figures.
        figures: of the model, for their groups, names and units.
        shown: the same with their intervals.
        others: those of floors and ceilings, by what they are.
    """
    groups: dict[str, list[Figure]] = {}
    for one in figures:
        groups.setdefault(one.group, []).append(one)
    known = {f"published: {who}": each for who, each in published(task.name).items()}
    tables: list[Table] = []
    for group, own in groups.items():
        title = f"{task.title}: {group}" if group else task.title
        digits = tuple(DIGITS[one.unit] for one in own)
        table = Table(title, tuple(one.column for one in own), digits=digits)
        for who, each in {MODEL.name: shown, **others}.items():
            cells = [each.get(one.name) for one in own]
            if who == MODEL.name or any(cell and cell.value == cell.value for cell in cells):
                table.add(who, *cells)
        for who, numbers in known.items():
            if any(one.name in numbers for one in own):
                table.add(who, *(numbers.get(one.name) for one in own))
        tables.append(table)
    return tables


def _chances_table(chances: Mapping[Score, Chances], weights: np.ndarray) -> Table:
    table = Table(
        "Scores as probabilities",
        ("Brier score", "Brier skill", "share right", "detections"),
        "Is a detection right, by its score? Skill 1 is perfect, 0 as good as always saying the "
        "share that is right, below 0 worse. See reliability.png.",
        digits=3,
    )
    for kind, one in chances.items():
        flat = (one.chance, one.outcome, one.pictures, weights)
        share = float(np.mean(one.outcome)) if len(one.outcome) else None
        table.add(
            _SCORES[kind],
            estimate(brier(*flat)),
            estimate(brier_skill(*flat)),
            share,
            str(len(one.outcome)),
        )
    return table


def _mean(seeds: Iterable[Sequence[Figure]]) -> list[Figure]:
    """Return the mean of each figure over seeds."""
    columns = list(zip(*seeds, strict=True))
    return [
        Figure(column[0].name, np.mean([one.values for one in column], 0), column[0].unit)
        for column in columns
    ]


def _plain(one: Estimate, unit: str) -> dict[str, Any]:
    value, low, high = (None if n != n else round(n, 9) for n in (one.value, one.low, one.high))
    return {"value": value, "interval": [low, high], "unit": unit}
