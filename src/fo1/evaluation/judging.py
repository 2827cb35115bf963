"""Answers about one drawn scene, judged; and the judgements of many scenes, counted.

Legend: N boxes, K queries, P pictures, R rows of weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fo1.evaluation import metrics, ranking
from fo1.evaluation.cases import NO_OBJECT, Case, naming_rank
from fo1.evaluation.metrics import Estimate, Floats, estimate
from fo1.evaluation.ranking import Ranking
from fo1.geometry import Boxes, box_iou

FOUND_IOU = 0.5


@dataclass(slots=True)
class Judgement:
    """What one contestant got right; every list has one entry per item, its picture first.

    Attributes:
        naming: (picture, names that beat the right one, the right one).
        rankings: by name, one per picture in which it was asked.
        referring: (picture, right or not, needs more than the name).
        counting: (picture, said, true).
        presence: (picture, best score, is there, false positives at the threshold).
        chances: (picture, probabilities, what came true), the last two flat arrays.
    """

    naming: list[tuple[int, int, str]] = field(default_factory=list)
    rankings: dict[str, list[Ranking]] = field(default_factory=dict)
    referring: list[tuple[int, float, bool]] = field(default_factory=list)
    counting: list[tuple[int, int, int]] = field(default_factory=list)
    presence: list[tuple[int, float, bool, int]] = field(default_factory=list)
    chances: list[tuple[int, Floats, Floats]] = field(default_factory=list)

    def judge_naming(
        self,
        picture: int,
        case: Case,
        scores: npt.NDArray[np.floating],
        names: Sequence[str],
        rng: np.random.Generator,
    ) -> None:
        """Adds the place of every object's own name among all; scores (N, K)."""
        for row in np.flatnonzero(case.owner != NO_OBJECT):
            thing = case.objects[case.owner[row]]
            place = naming_rank(scores[row], names, thing, rng)
            self.naming.append((picture, place, thing.name))

    def judge_boxes(
        self,
        picture: int,
        case: Case,
        boxes: Boxes,
        scores: Mapping[str, npt.NDArray[np.floating]],
        rng: np.random.Generator,
        threshold: float,
    ) -> None:
        """Adds detection, referring, counting and presence.

        Args:
            picture: index of the picture.
            case: the questions.
            boxes: (N, 4).
            scores: per query (N,); negative for a box that is not among the answers.
            rng: decides ties.
            threshold: score from which a box is an answer.
        """
        for place, name in enumerate(case.names):
            kept = scores[name] >= 0
            truth, unsure = case.truth(name)
            judged = ranking.rank(boxes[kept], scores[name][kept], truth, unsure, picture)
            self.rankings.setdefault(name, []).append(judged)
            there = place < len(case.present)
            false = 0 if there else int((scores[name] >= threshold).sum())
            best = float(scores[name].max(initial=0.0))
            self.presence.append((picture, best, there, false))
        for text, target in case.expressions:
            chosen = _best(scores[text], rng)
            self.judge_reference(
                picture, case, text, target, None if chosen is None else boxes[chosen]
            )
        for noun, number in case.counts:
            self.counting.append((picture, int((scores[noun] >= threshold).sum()), number))

    def judge_reference(
        self, picture: int, case: Case, text: str, target: int, box: npt.NDArray[np.float32] | None
    ) -> None:
        """Adds whether a box is the one that an expression means."""
        true = np.array([case.objects[target].box], np.float32)
        right = box is not None and bool(box_iou(box[None], true)[0, 0] >= FOUND_IOU)
        self.referring.append((picture, float(right), not case.by_name_alone(text)))

    def judge_chances(
        self, picture: int, case: Case, scores: Mapping[str, npt.NDArray[np.floating]]
    ) -> None:
        """Adds how likely each box was said to match each name, and whether it does."""
        for name in case.names:
            meant = np.append(case.meant(name), False)  # the last entry is what no object owns
            sure = ~np.append(case.unsure(name), False)[case.owner]
            outcome = meant[case.owner].astype(float)
            self.chances.append((picture, scores[name][sure].astype(float), outcome[sure]))


def naming_figures(judgement: Judgement, weights: Floats) -> tuple[Estimate, Estimate]:
    """Return top-1 and top-5 accuracy of naming."""
    pictures = [item[0] for item in judgement.naming]
    places = np.array([item[1] for item in judgement.naming], int)
    top = [estimate(metrics.accuracy(places < limit, pictures, weights)) for limit in (1, 5)]
    return top[0], top[1]


def detection_figures(judgement: Judgement, weights: Floats) -> tuple[Estimate, Estimate, Estimate]:
    """Return AP@[.5:.95] and AP50 over names, and AP50 of all names in one ranking."""
    by_name = list(judgement.rankings.values())
    overall, at_50 = ranking.mean_average_precision(by_name, weights)
    together = [
        Ranking(r.scores, r.hits[:1], r.ignored[:1], r.positives, r.picture)
        for rankings in by_name
        for r in rankings
    ]
    pooled = ranking.average_precision(together, weights)[0]
    found = [estimate(values) for values in (overall, at_50, pooled)]
    low, mid, high = (Estimate(e.value, max(0.0, e.low), min(1.0, e.high)) for e in found)
    return low, mid, high


def referring_figures(
    items: Iterable[tuple[int, float, bool]], weights: Floats
) -> tuple[Estimate, Estimate]:
    """Return the accuracy of all expressions, and of those that need more than the name."""
    rows = list(items)
    return _accuracy(rows, weights), _accuracy([row for row in rows if row[2]], weights)


def counting_figures(
    items: Iterable[tuple[int, int, int]], weights: Floats
) -> tuple[Estimate, Estimate]:
    """Return the share of exact counts, and of those where there are two or more."""
    rows = [(picture, float(said == true), true) for picture, said, true in items]
    return _accuracy(rows, weights), _accuracy([row for row in rows if row[2] > 1], weights)


def presence_figures(
    judgement: Judgement, weights: Floats, threshold: float
) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    """Return AUROC, "none" where absent, "none" where present, false positives per picture."""
    rows = judgement.presence
    pictures = np.array([row[0] for row in rows], int)
    best = np.array([row[1] for row in rows], float)
    there = np.array([row[2] for row in rows], bool)
    none = best < threshold
    false = np.bincount(pictures, [row[3] for row in rows], weights.shape[1])
    return (
        estimate(metrics.auroc(best, there, pictures, weights)),
        estimate(metrics.accuracy(none[~there], pictures[~there], weights)),
        estimate(metrics.accuracy(none[there], pictures[there], weights)),
        estimate(metrics.ratio(false, np.ones(weights.shape[1]), weights)),
    )


def chance_figures(judgement: Judgement, weights: Floats) -> tuple[Estimate, Estimate]:
    """Return Brier score and skill over the base rate, of all pairs of box and name."""
    chance, outcome, pictures = _pairs(judgement)
    return (
        estimate(metrics.brier(chance, outcome, pictures, weights)),
        estimate(metrics.brier_skill(chance, outcome, pictures, weights)),
    )


def reliability_rows(judgement: Judgement) -> list[tuple[float, float, int, float, float]]:
    """Return `metrics.reliability` of all pairs of box and name."""
    chance, outcome, _ = _pairs(judgement)
    return metrics.reliability(chance, outcome)


def _pairs(judgement: Judgement) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    parts = judgement.chances
    pictures = np.repeat([part[0] for part in parts], [len(part[1]) for part in parts])
    chance = np.concatenate([part[1] for part in parts] or [np.zeros(0)])
    outcome = np.concatenate([part[2] for part in parts] or [np.zeros(0)])
    return chance, outcome, pictures.astype(np.int64)


def _accuracy(rows: Sequence[tuple[int, float, object]], weights: Floats) -> Estimate:
    return estimate(metrics.accuracy([row[1] for row in rows], [row[0] for row in rows], weights))


def _best(scores: npt.NDArray[np.floating], rng: np.random.Generator) -> int | None:
    """Return the index of the highest score, ties at random; None where nothing is an answer."""
    if scores.max(initial=-1.0) < 0:
        return None
    return int(rng.choice(np.flatnonzero(scores == scores.max())))
