"""CIDEr-D: how much of a caption people would have written, rare words counting most.

Sentences are bags of their runs of 1 to 4 words. A run weighs the more, the fewer items have it in
a reference; caption and reference are compared by the cosine of those weights for each length of
run, clipped so that saying a thing twice earns nothing, and damped where their lengths differ.

Source: Vedantam et al., CIDEr, arXiv:1411.5726 (section 6, CIDEr-D); the figures are those of
salaniz/pycocoevalcap, cider/cider_scorer.py, which counts lengths in runs of two words.

Legend: M items.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fo1.evaluation.metrics.estimates import Floats

Tokens: TypeAlias = Sequence[str]
Run: TypeAlias = tuple[str, ...]

LONGEST = 4
SIGMA = 6.0
SCALE = 10.0


@dataclass(frozen=True, slots=True)
class _Vector:
    """A sentence: by length of run, weights and their norm."""

    weights: tuple[dict[Run, float], ...]
    norms: tuple[float, ...]
    length: int


class CiderD:
    """Scores captions against the references of a data set.

    Example:
        >>> cider = CiderD([[["a", "red", "cup"]], [["a", "dog"]]])
        >>> cider.scores([["a", "red", "cup"], ["a", "cup"]]).round(3).tolist()
        [7.5, 0.0]

    Args:
        references: M items of one or more tokenised sentences; document frequencies are theirs.
    """

    def __init__(self, references: Sequence[Sequence[Tokens]]) -> None:
        self._references = references
        self._documents: Counter[Run] = Counter()
        for item in references:
            self._documents.update(set().union(*map(_runs, item)))
        self._most = math.log(len(references)) if references else 0.0

    def scores(self, captions: Sequence[Tokens]) -> Floats:
        """Return (M,) scores from 0 to 10, one per item.

        Raises:
            ValueError: there are more or fewer captions than items.
        """
        pairs = zip(captions, self._references, strict=True)
        return np.array([self._score(caption, item) for caption, item in pairs], float)

    def _score(self, caption: Tokens, references: Sequence[Tokens]) -> float:
        said = self._vector(caption)
        each = [_similarity(said, self._vector(reference)) for reference in references]
        return SCALE * sum(each) / len(each) if each else 0.0

    def _vector(self, sentence: Tokens) -> _Vector:
        runs = _runs(sentence)
        weights: tuple[dict[Run, float], ...] = tuple({} for _ in range(LONGEST))
        for run, count in runs.items():
            rarity = self._most - math.log(max(1, self._documents[run]))
            weights[len(run) - 1][run] = count * rarity
        norms = tuple(math.sqrt(sum(w * w for w in own.values())) for own in weights)
        return _Vector(weights, norms, sum(n for run, n in runs.items() if len(run) == 2))


def _runs(sentence: Tokens) -> Counter[Run]:
    return Counter(
        tuple(sentence[start : start + size])
        for size in range(1, LONGEST + 1)
        for start in range(len(sentence) - size + 1)
    )


def _similarity(said: _Vector, due: _Vector) -> float:
    """Return the mean clipped cosine over lengths of run, damped by the difference in length."""
    total = 0.0
    for own, other, norm, other_norm in zip(
        said.weights, due.weights, said.norms, due.norms, strict=True
    ):
        shared = sum(min(own[run], other[run]) * other[run] for run in own if run in other)
        if norm and other_norm:
            total += shared / (norm * other_norm)
    return total / LONGEST * math.exp(-((said.length - due.length) ** 2) / (2 * SIGMA**2))
