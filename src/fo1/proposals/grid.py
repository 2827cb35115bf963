"""Boxes on a grid, whatever the picture shows: the floor every other source has to beat."""

from __future__ import annotations

import numpy as np
from PIL import Image

from fo1.proposals.base import DEFAULT_LIMIT, check_limit, rank_and_dedupe
from fo1.results import Proposals

_FRACTIONS = (1.0, 0.7, 0.5, 0.35, 0.25)
_SHAPES = (1.0, 2.0, 0.5)


class GridProposer:
    """Half-overlapping boxes of several sizes and shapes, large ones first.

    The score is the share of the picture's side that a box takes.

    Args:
        limit: the most boxes per picture.

    Raises:
        InputError: the limit is below 1.
    """

    name = "grid"

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self.limit = check_limit(limit)

    def propose(self, image: Image.Image) -> Proposals:
        """Return at most `limit` boxes."""
        boxes: list[tuple[float, float, float, float]] = []
        scores: list[float] = []
        for fraction in _FRACTIONS:
            for shape in _SHAPES:
                width, height = min(1.0, fraction * shape**0.5), min(1.0, fraction / shape**0.5)
                for top in _starts(height):
                    for left in _starts(width):
                        boxes.append((left, top, left + width, top + height))
                        scores.append(fraction)
        size = (image.height, image.width)
        pixels = np.array(boxes, np.float32) * np.array(image.size * 2, np.float32)
        return rank_and_dedupe(
            pixels, np.array(scores, np.float32), size, self.name, limit=self.limit
        )


def _starts(length: float) -> list[float]:
    """Return the left ends of half-overlapping intervals of one length that cover 0 to 1."""
    count = 1 if length == 1.0 else round((1 - length) / (length / 2)) + 1
    return [float(start) for start in np.linspace(0, 1 - length, count)]
