"""Figures with their uncertainty: plain numpy, every one recomputed on resampled pictures.

A row of `weights` says how often each picture counts. Row 0 counts every picture once, so entry 0
of a result is the figure itself; the other rows are bootstrap resamples of the pictures, from which
`estimate` reads a 95 % interval. Boxes and questions of one picture hang together, so they are
never resampled on their own.

Legend: P pictures, R rows of weights, N items (boxes, questions).
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % bootstrap interval over pictures; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return self.show(3)

    def show(self, digits: int) -> str:
        """Return the figure with so many digits behind the point, and its interval if it has one."""
        if np.isnan(self.value):
            return "-"
        value, low, high = (f"{n:.{digits}f}" for n in (self.value, self.low, self.high))
        known = self.low < self.high  # one picture alone, or all alike, tell of no spread
        return f"{value} [{low}, {high}]" if known else value


def resampling(pictures: int, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Return (1 + resamples, P) weights: every picture once, then draws with replacement.

    Raises:
        InputError: there is no picture.
    """
    if pictures < 1:
        raise InputError("nothing to measure: 0 pictures; give at least 1")
    drawn = np.random.default_rng(seed).multinomial(
        pictures, np.full(pictures, 1 / pictures), resamples
    )
    return np.vstack([np.ones(pictures), drawn]).astype(np.float64)


def estimate(values: Floats) -> Estimate:
    """Return the figure of row 0 and the interval of the other rows; NaN does not count.

    The spread of the resamples is laid around the figure. For shares that changes nothing; average
    precision over names with few boxes is too high in resamples, which lack some of the rivals.
    """
    drawn = values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return Estimate(float(values[0]), float("nan"), float("nan"))
    low, high = values[0] + np.percentile(drawn, [2.5, 97.5]) - drawn.mean()
    least, most = min(values[0], drawn.min()), max(values[0], drawn.max())  # a share stays one
    return Estimate(float(values[0]), float(max(low, least)), float(min(high, most)))


def ratio(parts: npt.ArrayLike, wholes: npt.ArrayLike, weights: Floats) -> Floats:
    """Return (R,) sum of parts over sum of wholes, for example right answers over questions.

    Args:
        parts: (P,) per picture.
        wholes: (P,) per picture.
        weights: (R, P).
    """
    return divide(weights @ np.asarray(parts, float), weights @ np.asarray(wholes, float))


def accuracy(correct: npt.ArrayLike, pictures: npt.ArrayLike, weights: Floats) -> Floats:
    """Return (R,) the share of items that are correct.

    Args:
        correct: (N,) 0 to 1.
        pictures: (N,) the picture of each item.
        weights: (R, P).
    """
    share, index = np.asarray(correct, float), np.asarray(pictures, int)
    count = weights.shape[1]
    return ratio(np.bincount(index, share, count), np.bincount(index, minlength=count), weights)


def macro_accuracy(
    correct: npt.ArrayLike, groups: npt.ArrayLike, pictures: npt.ArrayLike, weights: Floats
) -> Floats:
    """Return (R,) the mean over groups of the accuracy in each; absent groups do not count.

    Args:
        correct: (N,) 0 to 1.
        groups: (N,) any labels, for example the true names.
        pictures: (N,) the picture of each item.
        weights: (R, P).
    """
    share, index = np.asarray(correct, float), np.asarray(pictures, int)
    labels, group = np.unique(np.asarray(groups), return_inverse=True)
    if not len(labels):
        return np.full(len(weights), np.nan)
    hits, totals = np.zeros((2, weights.shape[1], len(labels)))
    np.add.at(hits, (index, group), share)
    np.add.at(totals, (index, group), 1.0)
    each = divide(weights @ hits, weights @ totals)  # (R, groups)
    known = np.isfinite(each)
    return divide(np.where(known, each, 0).sum(1), known.sum(1).astype(float))


def auroc(
    scores: npt.ArrayLike, labels: npt.ArrayLike, pictures: npt.ArrayLike, weights: Floats
) -> Floats:
    """Return (R,) the chance that a positive scores above a negative; ties count half.

    Args:
        scores: (N,) any numbers.
        labels: (N,) bool.
        pictures: (N,) the picture of each item.
        weights: (R, P).
    """
    given, positive = np.asarray(scores, float), np.asarray(labels, bool)
    order = np.argsort(given, kind="stable")
    _, starts = np.unique(given[order], return_index=True)  # of equal scores
    positive, index = positive[order], np.asarray(pictures, int)[order]
    result = np.full(len(weights), np.nan)
    for row, own in enumerate(weights if len(order) else ()):  # a table of all rows would not fit
        copies = own[index]
        positives, negatives = (
            np.add.reduceat(np.where(side, copies, 0), starts) for side in (positive, ~positive)
        )
        below = negatives.cumsum() - negatives / 2
        pairs = positives.sum() * negatives.sum()
        result[row] = positives @ below / pairs if pairs else np.nan
    return result


def brier(
    probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, pictures: npt.ArrayLike, weights: Floats
) -> Floats:
    """Return (R,) the mean squared gap between probability and outcome, 0 at best.

    Args:
        probabilities: (N,) in [0, 1].
        outcomes: (N,) bool.
        pictures: (N,) the picture of each item.
        weights: (R, P).
    """
    gap = np.asarray(probabilities, float) - np.asarray(outcomes, float)
    return accuracy(gap**2, pictures, weights)


def brier_skill(
    probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, pictures: npt.ArrayLike, weights: Floats
) -> Floats:
    """Return (R,) 1 - Brier / Brier of always saying the base rate: 1 perfect, 0 useless."""
    base = accuracy(outcomes, pictures, weights)
    return 1 - divide(brier(probabilities, outcomes, pictures, weights), base * (1 - base))


def reliability(
    probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, bins: int = 10
) -> list[tuple[float, float, int, float, float]]:
    """Return (from, to, count, mean probability, share that came true) of each bin in use."""
    chance, happened = np.asarray(probabilities, float), np.asarray(outcomes, float)
    place = np.minimum((chance * bins).astype(int), bins - 1)
    rows: list[tuple[float, float, int, float, float]] = []
    for number in np.unique(place).tolist():
        chosen = place == number
        mean, share = float(chance[chosen].mean()), float(happened[chosen].mean())
        rows.append((number / bins, (number + 1) / bins, int(chosen.sum()), mean, share))
    return rows


def f1(found: npt.ArrayLike, said: npt.ArrayLike, true: npt.ArrayLike, weights: Floats) -> Floats:
    """Return (R,) the harmonic mean of precision and recall, counts of all pictures added up.

    Args:
        found: (P,) answers that are right.
        said: (P,) answers given.
        true: (P,) answers that are due.
        weights: (R, P).
    """
    return ratio(2 * np.asarray(found, float), np.asarray(said, float) + true, weights)


def divide(upper: Floats, lower: Floats) -> Floats:
    """Return upper / lower elementwise, NaN where there is nothing to divide by."""
    result = np.full(np.broadcast_shapes(upper.shape, lower.shape), np.nan)
    np.divide(upper, lower, out=result, where=lower > 0)
    return result
