"""Proposers made of proposers: several in turns, the best of one, one on the tiles of a picture.

Scores of different detectors do not mean the same, so a union takes turns instead of comparing
them; scores of one detector on several tiles do, so tiles are compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from fo1.errors import InputError
from fo1.geometry import Boxes
from fo1.proposals.base import (
    DEFAULT_LIMIT,
    OVERLAP,
    Proposer,
    check_limit,
    join,
    prompted,
    rank_and_dedupe,
    unite,
)
from fo1.results import Proposals

TILE = 640
"""Pixels of a tile's side."""

TILE_OVERLAP = 0.25
"""Share of a tile's side that it has in common with the next."""

_BORDER = 1.0
"""Pixels; a box that comes as near to a tile's inner border is taken to be cut there."""


class UnionProposer:
    """Several proposers that take turns: everyone's best box, everyone's second, ...

    Args:
        proposers: at least one; their order breaks ties.
        limit: the most boxes per picture.

    Raises:
        InputError: no proposers, or the limit is below 1.
    """

    def __init__(self, proposers: Sequence[Proposer], limit: int = DEFAULT_LIMIT) -> None:
        if not proposers:
            raise InputError("got no proposers to unite; give one or more")
        self.proposers = tuple(proposers)
        self.limit = check_limit(limit)

    @property
    def name(self) -> str:
        """The proposers' names, joined by a plus sign."""
        return "+".join(proposer.name for proposer in self.proposers)

    def prompted(self, names: Sequence[str]) -> Self:
        """Return the same union, those of its proposers that take words looking for these names."""
        return type(self)([prompted(part, names) for part in self.proposers], self.limit)

    def propose(self, image: Image.Image) -> Proposals:
        """Return at most `limit` boxes, best rank first, each with the score its source gave it."""
        parts = [proposer.propose(image) for proposer in self.proposers]
        return unite(parts, (image.height, image.width), self.name, limit=self.limit)


class BestProposer:
    """The best boxes of a proposer: those of a score, without near copies (NMS), so many at most.

    Args:
        proposer: whose boxes.
        limit: the most boxes per picture (top-k).
        overlap: above this IoU with a better box, a box is dropped; 1 keeps all.
        threshold: least score.

    Raises:
        InputError: the limit is below 1, or overlap or threshold is outside [0, 1].
    """

    def __init__(
        self,
        proposer: Proposer,
        limit: int = DEFAULT_LIMIT,
        *,
        overlap: float = OVERLAP,
        threshold: float = 0.0,
    ) -> None:
        self.proposer = proposer
        self.limit = check_limit(limit)
        self.overlap = _check_share(overlap, "overlap")
        self.threshold = _check_share(threshold, "threshold")

    @property
    def name(self) -> str:
        """The proposer's name."""
        return self.proposer.name

    def prompted(self, names: Sequence[str]) -> Self:
        """Return the same, its proposer looking for these names."""
        return type(self)(
            prompted(self.proposer, names),
            self.limit,
            overlap=self.overlap,
            threshold=self.threshold,
        )

    def propose(self, image: Image.Image) -> Proposals:
        """Return at most `limit` boxes, best first; the whole picture if none is left."""
        found = self.proposer.propose(image)
        found = found.select(np.flatnonzero(found.scores >= np.float32(self.threshold)))
        return rank_and_dedupe(
            found.boxes,
            found.scores,
            (image.height, image.width),
            self.name,
            limit=self.limit,
            labels=found.labels,
            overlap=self.overlap,
        )


class TiledProposer:
    """A proposer on the whole picture and on overlapping tiles of it, for small things in large pictures.

    A box that a tile cuts is dropped: the next tile or the whole picture holds the thing. A picture
    that is no larger than a tile is seen as a whole alone.

    Args:
        proposer: asked once for the whole and once per tile; its scores are compared.
        limit: the most boxes per picture.
        tile: pixels of a tile's side.
        overlap: share of a tile's side that it has in common with the next.

    Raises:
        InputError: the limit or the tile is below 1, or the overlap is not from 0 to 0.9.
    """

    def __init__(
        self,
        proposer: Proposer,
        limit: int = DEFAULT_LIMIT,
        *,
        tile: int = TILE,
        overlap: float = TILE_OVERLAP,
    ) -> None:
        if tile < 1:
            raise InputError(f"tile is {tile} pixels; give 1 or more, for example {TILE}")
        if _check_share(overlap, "overlap") > 0.9:
            raise InputError(f"overlap is {overlap:g} of a tile; give 0.9 at most")
        self.proposer = proposer
        self.limit = check_limit(limit)
        self.tile, self.overlap = tile, overlap

    @property
    def name(self) -> str:
        """The proposer's name, said to be tiled."""
        return f"tiled {self.proposer.name}"

    def prompted(self, names: Sequence[str]) -> Self:
        """Return the same, its proposer looking for these names."""
        asked = prompted(self.proposer, names)
        return type(self)(asked, self.limit, tile=self.tile, overlap=self.overlap)

    def propose(self, image: Image.Image) -> Proposals:
        """Return at most `limit` boxes, best score first; the whole picture if nothing was found."""
        whole = self.proposer.propose(image)
        parts = [whole, *(self._in_tile(image, tile) for tile in self.tiles(image.size))]
        found = join(parts)
        return rank_and_dedupe(
            found.boxes,
            found.scores,
            (image.height, image.width),
            self.name,
            limit=self.limit,
            labels=found.labels,
        )

    def tiles(self, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """Return the tiles of a picture of that (width, height), xyxy; none if one would hold it all."""
        if max(size) <= self.tile:
            return []
        across, down = (_starts(side, self.tile, self.overlap) for side in size)
        width, height = (min(side, self.tile) for side in size)
        return [(left, top, left + width, top + height) for top in down for left in across]

    def _in_tile(self, image: Image.Image, tile: tuple[int, int, int, int]) -> Proposals:
        """Return what is found in a tile and not cut by it, in pixels of the picture."""
        found = self.proposer.propose(image.crop(tile))
        corner = np.array([tile[0], tile[1]] * 2, np.float32)
        placed = replace(found, boxes=found.boxes + corner)
        return placed.select(np.flatnonzero(~_is_cut(placed.boxes, tile, image.size)))


def _is_cut(
    boxes: Boxes, tile: tuple[int, int, int, int], size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return (N,) whether a box reaches a border of its tile that is none of the picture of (width, height)."""
    near, far = np.array(tile[:2]), np.array(tile[2:])
    at_near = (boxes[:, :2] <= near + _BORDER) & (near > 0)
    at_far = (boxes[:, 2:] >= far - _BORDER) & (far < np.array(size))
    return np.any(at_near | at_far, axis=1)


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    """Return where equally spaced tiles begin that cover a side and overlap at least so much."""
    if side <= tile:
        return [0]
    steps = math.ceil((side - tile) / max(1.0, tile * (1 - overlap)))
    return [round(step * (side - tile) / steps) for step in range(steps + 1)]


def _check_share(value: float, name: str) -> float:
    if not isinstance(value, Real) or not 0 <= value <= 1:  # NaN fails as well
        raise InputError(f"{name} is {value!r}; give a number from 0 to 1")
    return float(value)
