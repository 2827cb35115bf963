"""What a source of boxes is, and how a flood of boxes becomes a short ranked list."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from fo1.errors import InputError
from fo1.geometry import Boxes, Size, clip_boxes, nms
from fo1.results import Proposals

DEFAULT_LIMIT = 100
"""Proposals per picture."""

OVERLAP = 0.7
"""Above this IoU with a better box, a box is taken for a copy of it."""

CANDIDATES = 1000
"""Boxes of highest rank among which copies are looked for."""

SMALLEST_SIDE = 1.0
"""Pixels; what is thinner is no proposal."""


class Proposer(Protocol):
    """Something that finds boxes in a picture.

    Args:
        name: what the proposer is called in `get_proposer` and in `Proposals.source`.
    """

    @property
    def name(self) -> str:
        """The proposer's name."""
        ...

    def propose(self, image: Image.Image) -> Proposals:
        """Return boxes in pixels of the picture, best first."""
        ...


@runtime_checkable
class Promptable(Protocol):
    """A proposer that looks for what it is told in words."""

    def prompted(self, names: Sequence[str]) -> Self:
        """Return the same proposer, looking for these names."""
        ...


def prompted(proposer: Proposer, names: Sequence[str]) -> Proposer:
    """Return the proposer told what is looked for; one that takes no words, or told none, as it is."""
    if names and isinstance(proposer, Promptable):
        return proposer.prompted(names)
    return proposer


def check_limit(limit: int) -> int:
    """Return the limit on the number of proposals.

    Raises:
        InputError: it is no whole number, or below 1.
    """
    if not isinstance(limit, Integral) or limit < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"limit is {limit!r} proposals; give a whole number, 1 or more")
    return limit


def rank_and_dedupe(
    boxes: Boxes,
    scores: npt.NDArray[np.float32],
    image_size: Size,
    source: str,
    *,
    limit: int = DEFAULT_LIMIT,
    priority: npt.NDArray[np.float32] | None = None,
    labels: Sequence[str] | None = None,
    overlap: float = OVERLAP,
) -> Proposals:
    """Return the best boxes without near copies, best first; never none.

    Boxes are clipped to the picture; what is then thinner than a pixel is dropped. If nothing is
    left, the whole picture is the one proposal, with score 0.

    Args:
        boxes: (N, 4) float32, xyxy pixels of the picture, clipped or not.
        scores: (N,) float32 in [0, 1].
        image_size: (height, width) of the picture.
        source: goes into the result.
        limit: the most boxes to return.
        priority: (N,) the order in which boxes win, highest first; the scores if not given.
        labels: N names.
        overlap: above this IoU with a better box, a box is a copy of it.
    """
    clipped = clip_boxes(boxes, image_size)
    usable = np.flatnonzero((clipped[:, 2:] - clipped[:, :2] >= SMALLEST_SIDE).all(1))
    rank = scores if priority is None else priority
    candidates = usable[np.argsort(-rank[usable], kind="stable")[:CANDIDATES]]
    if not len(candidates):
        return whole_picture(image_size, source)
    kept = candidates[:0]
    # What survives depends on better boxes only, so a short list that suffices is exact.
    for count in (4 * limit, CANDIDATES):
        best = candidates[:count]
        kept = best[nms(clipped[best], rank[best], overlap)[:limit]]
        if len(kept) == limit:
            break
    named = None if labels is None else tuple(labels[int(row)] for row in kept)
    return Proposals(clipped[kept], scores[kept], source, named)


def join(parts: Sequence[Proposals]) -> Proposals:
    """Return the proposals of all parts, one part after another; what has no label among others is ""."""
    named = any(part.labels is not None for part in parts)
    labels = [name for part in parts for name in part.labels or ("",) * len(part)]
    boxes = np.concatenate([part.boxes for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    return Proposals(boxes, scores, labels=tuple(labels) if named else None)


def take_turns(parts: Sequence[Proposals]) -> Proposals:
    """Return all proposals in the order first of each part, second of each, ..."""
    turns = np.concatenate([np.arange(len(part)) for part in parts])
    return join(parts).select(np.argsort(turns, kind="stable"))


def unite(
    parts: Sequence[Proposals], image_size: Size, source: str, *, limit: int = DEFAULT_LIMIT
) -> Proposals:
    """Return the best boxes of several sources, which take turns, without near copies; never none.

    Args:
        parts: of each source, best first.
        image_size: (height, width) of the picture.
        source: goes into the result.
        limit: the most boxes to return.
    """
    joined = take_turns(parts)
    turns = -np.arange(len(joined), dtype=np.float32)
    return rank_and_dedupe(
        joined.boxes,
        joined.scores,
        image_size,
        source,
        limit=limit,
        priority=turns,
        labels=joined.labels,
    )


def whole_picture(image_size: Size, source: str) -> Proposals:
    """Return the picture itself as the one proposal, with score 0."""
    height, width = image_size
    return Proposals(np.array([[0, 0, width, height]], np.float32), np.zeros(1, np.float32), source)
