"""Polygons filled with pixels, and masks traced as polygons.

Legend: P corners of a polygon, H W sides of the picture in pixels. A pixel belongs to a polygon in which its
centre (x + 0.5, y + 0.5) lies; a corner of a pixel has whole numbers. Tracing and filling a mask gives it back.
"""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fo1.geometry import Size

Polygon: TypeAlias = list[float]
"""[x1, y1, x2, y2, ...] in pixels of the picture, as COCO writes it."""

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # right, down, left, up as (y, x)


def fill(polygons: Iterable[npt.NDArray[np.float64]], size: Size) -> npt.NDArray[np.bool_]:
    """Return (H, W) the pixels that lie in one of the polygons, (P, 2) x and y each.

    What a polygon goes around twice lies outside of it.
    """
    height, width = size
    found = np.zeros(size, np.bool_)
    for corners in polygons:
        (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
        low, high = np.minimum(y0, y1), np.maximum(y0, y1)
        # Rows whose centres a side crosses, its upper end included.
        first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
        count = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64) - first
        side = np.repeat(np.arange(len(corners)), count)
        row = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count) + first[side]
        along = (row + 0.5 - y0[side]) / (y1 - y0)[side]
        crossing = x0[side] + along * (x1 - x0)[side]
        column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        turns = np.zeros((height, width + 1), np.bool_)
        np.logical_xor.at(turns, (row, column), True)
        found |= np.logical_xor.accumulate(turns, axis=1)[:, :width]
    return found


def trace(mask: npt.NDArray[np.bool_]) -> list[Polygon]:
    """Return polygons along the edges of the pixels of a mask (H, W), which together cover it and nothing else.

    Pixels that touch at a corner alone belong to different polygons. Polygons have no holes: a mask with some is cut
    through them.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    return _trace(
        mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
        np.array([columns[0], rows[0]]),
    )


def _trace(mask: npt.NDArray[np.bool_], origin: npt.NDArray[np.int64]) -> list[Polygon]:
    loops = [np.array(loop) for loop in _loops(mask)]
    holes = [loop for loop in loops if _area(loop) < 0]
    if not holes:
        return [(loop + origin).astype(float).ravel().tolist() for loop in loops]
    # The middle one, so that many holes are not cut one after another.
    middle = sorted((loop[:, 0].min() + loop[:, 0].max() + 1) // 2 for loop in holes)
    cut = int(middle[len(middle) // 2])
    return _trace(mask[:, :cut], origin) + _trace(mask[:, cut:], origin + np.array([cut, 0]))


def _area(loop: npt.NDArray[np.int64]) -> int:
    """Return twice the area of a loop, below 0 if it goes around a hole."""
    (x, y), (x1, y1) = loop.T, np.roll(loop, -1, axis=0).T
    return int((x * y1 - x1 * y).sum())


def _loops(mask: npt.NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Return the corners (x, y) of every closed line between the mask, on its right, and what is not in it."""
    around = np.pad(mask, 1)
    upper_left, upper_right = around[:-1, :-1], around[:-1, 1:]
    lower_left, lower_right = around[1:, :-1], around[1:, 1:]
    # Whether an edge leaves a corner to the right, down, to the left, up.
    leaves = [
        lower_right & ~upper_right,
        lower_left & ~lower_right,
        upper_left & ~lower_left,
        upper_right & ~upper_left,
    ]
    width = leaves[0].shape[1]
    open_edges = [bytearray(one.astype(np.uint8).tobytes()) for one in leaves]
    steps = [y * width + x for y, x in _STEPS]
    loops: list[list[tuple[int, int]]] = []
    for start in np.flatnonzero(leaves[0]).tolist():
        if not open_edges[0][start]:
            continue
        place, way, corners = start, 0, list[tuple[int, int]]()
        while open_edges[way][place]:
            open_edges[way][place] = 0
            place += steps[way]
            # To the right first: pixels that touch at a corner stay apart.
            for turn in (way + 1, way, way + 3):
                if open_edges[turn % 4][place] or (turn % 4, place) == (0, start):
                    break
            if turn % 4 != way:
                corners.append((place % width, place // width))
            way = turn % 4
        loops.append(corners)
    return loops
