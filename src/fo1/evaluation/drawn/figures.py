"""The judgements of many scenes as figures, the group of each before the colon.

Legend: P pictures, W rows of weights (see `metrics`), M pairs of region and name.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from fo1.evaluation.drawn.judging import Judgement
from fo1.evaluation.metrics import estimates as metrics
from fo1.evaluation.metrics import ranking
from fo1.evaluation.metrics.estimates import Bools, Floats
from fo1.evaluation.metrics.ranking import Ranking
from fo1.evaluation.task import Figure


def figures_of(judgement: Judgement, weights: Floats) -> list[Figure]:
    """Return all figures that a judgement has; those of naming only where names were asked."""
    named = (
        [*naming_figures(judgement.naming, weights), description_figure(judgement, weights)]
        if judgement.naming
        else []
    )
    return [
        *named,
        *detection_figures(judgement, weights),
        answer_figure(judgement, weights),
        *referring_figures(judgement.referring, weights),
        *counting_figures(judgement.counting, weights),
        *presence_figures(judgement, weights),
        *([chance_figure(judgement, weights)] if judgement.naming else []),
    ]


def naming_figures(items: Sequence[tuple[int, int, str]], weights: Floats) -> list[Figure]:
    """Return top-1 and top-5 accuracy of naming."""
    pictures, places = [item[0] for item in items], np.array([item[1] for item in items], int)
    return [
        Figure(f"naming: top-{limit}", metrics.accuracy(places < limit, pictures, weights))
        for limit in (1, 5)
    ]


def description_figure(judgement: Judgement, weights: Floats) -> Figure:
    """Return the share of things whose description is exactly one of their names."""
    return Figure("naming: description is a name", _accuracy(judgement.described, weights))


def detection_figures(judgement: Judgement, weights: Floats) -> list[Figure]:
    """Return AP and AP50 over names, and AP50 of all names in one ranking."""
    by_name = list(judgement.rankings.values())
    overall, at_50 = ranking.mean_average_precision(by_name, weights)
    together = [
        Ranking(r.scores, r.hits[:1], r.ignored[:1], r.positives, r.picture)
        for rankings in by_name
        for r in rankings
    ]
    pooled = ranking.average_precision(together, weights)[0]
    names = ("AP", "AP50", "AP50, one ranking")
    return [
        Figure(f"detection: {name}", values)
        for name, values in zip(names, (overall, at_50, pooled), strict=True)
    ]


def answer_figure(judgement: Judgement, weights: Floats) -> Figure:
    """Return the F1 of the pairs of name and region that are answers."""
    found, answered, due = counts = np.zeros((3, weights.shape[1]))
    for picture, *numbers in judgement.pairs:
        counts[:, picture] += numbers
    return Figure("detection: F1 of the answers", metrics.f1(found, answered, due, weights))


def referring_figures(items: Iterable[tuple[int, float, bool]], weights: Floats) -> list[Figure]:
    """Return the accuracy of all expressions, and of those that need more than the name."""
    rows = list(items)
    hard = [row for row in rows if row[2]]
    return [
        Figure("referring: all", _accuracy(rows, weights)),
        Figure("referring: not by the name alone", _accuracy(hard, weights)),
    ]


def counting_figures(items: Iterable[tuple[int, int | None, int]], weights: Floats) -> list[Figure]:
    """Return the share of exact counts, and of those where there are two or more."""
    rows = [(picture, float(said == true), true) for picture, said, true in items]
    many = [row for row in rows if row[2] > 1]
    return [
        Figure("counting: exact", _accuracy(rows, weights)),
        Figure("counting: exact where 2 or more", _accuracy(many, weights)),
    ]


def presence_figures(judgement: Judgement, weights: Floats) -> list[Figure]:
    """Return AUROC, "none" for absent names, some for present ones, false positives per picture."""
    rows = judgement.presence
    pictures, best = np.array([row[0] for row in rows], int), [row[1] for row in rows]
    there, some = np.array([row[2:4] for row in rows], bool).reshape(-1, 2).T
    false = np.bincount(pictures, [row[4] for row in rows], weights.shape[1])
    return [
        Figure("absent names: AUROC", metrics.auroc(best, there, pictures, weights)),
        Figure(
            "absent names: none said", metrics.accuracy(~some[~there], pictures[~there], weights)
        ),
        Figure(
            "absent names: found if there", metrics.accuracy(some[there], pictures[there], weights)
        ),
        Figure(
            "absent names: false positives",
            metrics.ratio(false, np.ones(weights.shape[1]), weights),
            "",
        ),
    ]


def chance_figure(judgement: Judgement, weights: Floats) -> Figure:
    """Return the Brier skill over the base rate, of all pairs of box and name."""
    skill = metrics.brier_skill(*flat_chances(judgement), weights)
    return Figure("probabilities: Brier skill", skill)


def flat_chances(judgement: Judgement) -> tuple[Floats, Bools, npt.NDArray[np.int64]]:
    """Return (M,) probabilities, what came true, and pictures of all pairs."""
    parts = judgement.chances
    pictures = np.repeat([part[0] for part in parts], [len(part[1]) for part in parts])
    chance = np.concatenate([part[1] for part in parts] or [np.zeros(0)])
    outcome = np.concatenate([part[2] for part in parts] or [np.zeros(0, bool)])
    return chance, outcome, pictures.astype(np.int64)


def _accuracy(rows: Sequence[tuple[int, float, *tuple[object, ...]]], weights: Floats) -> Floats:
    return metrics.accuracy([row[1] for row in rows], [row[0] for row in rows], weights)
