"""Masks of regions as run lengths, which is what COCO writes: small, exact, and quick to tell boxes and areas from.

Legend: N masks, H W sides of the picture in pixels, M parts of a box per axis. A pixel covers [x, x + 1) x [y, y + 1).
Source: cocodataset.org, the format of results with segmentation; its run lengths go down the columns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError
from fo1.geometry import Boxes, Size, clip_boxes
from fo1.polygons import Polygon, trace

Runs: TypeAlias = npt.NDArray[np.int64]
"""Lengths of runs of pixels, column by column, outside and inside the mask in turn; the first may be 0."""

PARTS = 56
"""Parts per axis into which a mask cuts its box for pooling: 8 to each of the 7 bins of RoIAlign."""

_SHORTEST = 1e-3  # pixels; a side of a box that is shorter still reads the pixel where it lies


class Rle(TypedDict):
    """A mask as COCO writes it, compressed."""

    size: list[int]
    counts: str


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Which pixels of a picture belong to each of N regions; selects by slice, mask or indices.

    Args:
        runs: per mask its run lengths.
        image_size: (height, width) of the picture.

    Raises:
        InputError: run lengths are below 0 or make another number of pixels than the picture has.

    Example:
        >>> masks = Masks.from_array([[[0, 1, 1], [0, 1, 0]]])
        >>> masks.runs[0].tolist(), masks.boxes().tolist(), masks.to_rle()[0]["counts"]
        ([2, 3, 1], [[1.0, 0.0, 3.0, 2.0]], '231')
    """

    runs: tuple[Runs, ...]
    image_size: Size

    def __post_init__(self) -> None:
        height, width = self.image_size
        object.__setattr__(self, "image_size", (int(height), int(width)))
        runs = tuple(
            _canonical(np.array(own, dtype=np.int64).reshape(-1), height * width, row)
            for row, own in enumerate(self.runs)
        )
        object.__setattr__(self, "runs", runs)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[Any]) -> "Masks":
        """Return the masks that an index selects."""
        if not isinstance(index, slice) and len(index) == 0:
            index = slice(0, 0)  # numpy reads an empty list as floats
        chosen: npt.NDArray[np.int64] = np.arange(len(self))[index]
        return Masks(tuple(self.runs[int(row)] for row in chosen), self.image_size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        pairs = zip(self.runs, other.runs, strict=False)
        return (len(self), self.image_size) == (len(other), other.image_size) and all(
            np.array_equal(own, others) for own, others in pairs
        )

    @classmethod
    def from_array(cls, masks: npt.ArrayLike) -> Self:
        """Return the masks of an (N, H, W) array of truth values or of 0 and 1.

        Raises:
            InputError: the array has another shape or holds other numbers.
        """
        array = np.asarray(masks)
        if array.ndim != 3:
            raise InputError(f"masks: got shape {array.shape}, need (N, height, width)")
        _, height, width = array.shape
        if not height * width:
            raise InputError(f"masks: got shape {array.shape}; give masks of a picture's size")
        flat = array.transpose(0, 2, 1).reshape(-1, height * width)
        if array.dtype != np.bool_:
            strange = flat[(flat != 0) & (flat != 1)]
            if strange.size:
                raise InputError(
                    f"masks hold {strange[0]!s}; give truth values, for example masks > 0.5"
                )
        return cls(tuple(map(_runs, flat != 0)), array.shape[1:])

    @classmethod
    def merge(cls, parts: Iterable["Masks"], image_size: Size) -> Self:
        """Return all masks of the parts, which are of one picture, in order."""
        return cls(tuple(runs for part in parts for runs in part.runs), image_size)

    def to_array(self) -> npt.NDArray[np.bool_]:
        """Return (N, H, W) truth values."""
        height, width = self.image_size
        found = np.zeros((len(self), height, width), np.bool_)
        for row in range(len(self)):
            found[row] = self.decode(row)
        return found

    def decode(self, row: int) -> npt.NDArray[np.bool_]:
        """Return one mask as (H, W) truth values."""
        height, width = self.image_size
        own = self.runs[row]
        inside = np.arange(len(own)) % 2 == 1
        return np.repeat(inside, own).reshape(width, height).T

    def areas(self) -> npt.NDArray[np.int64]:
        """Return (N,) pixels."""
        return np.array([own[1::2].sum() for own in self.runs], np.int64).reshape(-1)

    def boxes(self) -> Boxes:
        """Return the (N, 4) smallest boxes around the masks; zeros for one that covers no pixel."""
        found = np.zeros((len(self), 4), np.float32)
        height = self.image_size[0]
        for row, own in enumerate(self.runs):
            ends = np.cumsum(own)
            first, last = ends[0::2][: len(own) // 2], ends[1::2] - 1
            if len(last):
                x1, x2 = first[0] // height, last[-1] // height + 1
                # A run over the foot of a column goes on at the head of the next.
                whole = (first // height != last // height).any()
                y1 = 0 if whole else (first % height).min()
                y2 = height if whole else (last % height).max() + 1
                found[row] = x1, y1, x2, y2
        return found

    def over(self, boxes: Boxes, parts: int = PARTS) -> npt.NDArray[np.float32]:
        """Return (N, M, M) in [0, 1]: the share of each part of its box that a mask covers, exactly.

        Args:
            boxes: (N, 4) one per mask; cut at the borders of the picture first.
            parts: M.
        """
        height, width = self.image_size
        found = np.zeros((len(self), parts, parts), np.float32)
        for row, box in enumerate(clip_boxes(boxes, self.image_size).astype(np.float64)):
            (top, rows), (left, columns) = (
                _overlap(box[1], box[3], height, parts),
                _overlap(box[0], box[2], width, parts),
            )
            mask = self.decode(row)[top : top + rows.shape[1], left : left + columns.shape[1]]
            found[row] = rows @ mask.astype(np.float64) @ columns.T
        return found

    def to_rle(self) -> list[Rle]:
        """Return the masks as COCO writes them, compressed."""
        return [Rle(size=list(self.image_size), counts=compress(own)) for own in self.runs]

    def to_polygons(self) -> list[list[Polygon]]:
        """Return each mask as polygons along the edges of its pixels, which together cover it exactly."""
        return [trace(self.decode(row)) for row in range(len(self))]


def compress(runs: Runs) -> str:
    """Return run lengths as a text: differences to the last but one, 5 bits a letter, low ones first."""
    letters: list[str] = []
    values = runs.tolist()
    for place, value in enumerate(values):
        rest = value - values[place - 2] if place > 2 else value
        more = True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            letters.append(chr(48 + bits + 32 * more))
    return "".join(letters)


def decompress(text: str) -> Runs:
    """Return the run lengths of a text.

    Raises:
        InputError: it is none; names the letter.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            raise InputError(f"run lengths hold {letter!r}, which COCO does not write there")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise InputError("run lengths end in the middle of a number; give the whole text")
    return np.array(runs, np.int64)


def _runs(flat: npt.NDArray[np.bool_]) -> Runs:
    """Return the run lengths of (H W,) truth values."""
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], turns, [len(flat)]]))
    return np.concatenate([[0], runs]) if len(flat) and flat[0] else runs


def _canonical(runs: Runs, pixels: int, row: int) -> Runs:
    """Return run lengths of which only the first may be 0.

    Raises:
        InputError: they do not fit the picture.
    """
    if (runs < 0).any() or runs.sum() != pixels:
        raise InputError(
            f"mask {row}: run lengths make {runs.sum()} pixels, the picture has {pixels}; "
            "give masks of this picture"
        )
    if (runs[1:] == 0).any():
        return _runs(np.repeat(np.arange(len(runs)) % 2 == 1, runs))
    runs.flags.writeable = False
    return runs


def _overlap(
    low: float, high: float, length: int, parts: int
) -> tuple[int, npt.NDArray[np.float64]]:
    """Return the first pixel that [low, high] touches, and (M, L): how much of each of M equal parts lies on each."""
    short = max(_SHORTEST - (high - low), 0) / 2
    low = min(max(low - short, 0), length - _SHORTEST)
    high = max(min(high + short, length), low + _SHORTEST)
    edges = np.linspace(low, high, parts + 1)
    pixels = np.arange(int(low), min(int(np.ceil(high)), length))
    shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shared = np.maximum(shared, 0)
    return int(low), shared / shared.sum(1, keepdims=True)
