"""Boxes around masks, in the three ways in which COCO writes a mask.

    [[x1, y1, x2, y2, ...], ...]               corners of polygons, pixels
    {"size": [48, 64], "counts": [70, 3, ...]}   lengths of runs of 0 and 1 by turns, down one column after another
    {"size": [48, 64], "counts": "f63..."}       the same, packed into letters

Source: cocodataset.org/#format-data; cocodataset/cocoapi, common/maskApi.c (how runs are packed).
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from fo1.data.converters.picture_files import box_around, is_numbers
from fo1.data.schema import Box
from fo1.errors import InputError, short_name
from fo1.geometry import Size

_FIRST_LETTER: Final = 48
_BITS: Final = 5
_MORE: Final = 0x20
_SIGN: Final = 0x10
_MOST_LETTERS: Final = 8  # 40 bits, more than any picture has pixels


def box_of_mask(mask: object, size: Size) -> Box:
    """Return the smallest box (xyxy, pixels) around a mask.

    Args:
        mask: polygons or runs.
        size: (height, width) of the picture.

    Raises:
        InputError: it is neither, is empty, or is for a picture of another size.
    """
    if isinstance(mask, Mapping):
        told = mask.get("size")
        if told != list(size):
            shown = short_name(str(told), 40)
            raise InputError(
                f"size (height, width) of the mask is {shown}, the picture's {list(size)}"
            )
        return _box_of_runs(_read_runs(mask.get("counts")), size)
    polygons = mask if isinstance(mask, list) else []
    if polygons and is_numbers(polygons):
        polygons = [polygons]
    points: list[tuple[float, float]] = []
    for polygon in polygons:
        if not is_numbers(polygon) or len(polygon) < 6 or len(polygon) % 2:
            raise InputError(
                f"a polygon is {short_name(str(polygon), 60)}; expected x1, y1, x2, ..."
            )
        points += zip(polygon[::2], polygon[1::2], strict=True)
    if not points:
        raise InputError(f"the mask is {short_name(str(mask), 60)}; expected polygons or runs")
    return box_around(points)


def unpack_runs(letters: str) -> list[int]:
    """Return the lengths of runs that are packed into letters.

    Each letter holds five bits, the lowest first, and whether more follow; from the fourth run on, what is packed is
    the difference to the run before the last.

    Raises:
        InputError: a letter cannot stand there.
    """
    runs: list[int] = []
    value = place = 0
    for letter in letters:
        bits = ord(letter) - _FIRST_LETTER
        if not 0 <= bits < 2 * _MORE or place >= _MOST_LETTERS:
            raise InputError(f"'counts' has {letter!r} where no such letter can stand")
        value |= (bits % _MORE) << (_BITS * place)
        place += 1
        if bits & _MORE:
            continue
        if bits & _SIGN:
            value -= 1 << (_BITS * place)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = place = 0
    if place:
        raise InputError("'counts' ends too early; copy it again")
    return runs


def _read_runs(counts: object) -> list[int]:
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if isinstance(counts, str):
        return unpack_runs(counts)
    if isinstance(counts, list) and all(type(one) is int for one in counts):
        return counts
    raise InputError(f"'counts' is {short_name(str(counts), 40)}; expected runs")


def _box_of_runs(runs: Iterable[int], size: Size) -> Box:
    height, width = size
    ends = [0]
    for run in runs:
        if run < 0:
            raise InputError(f"'counts' has a run of {run}; expected 0 or more")
        ends.append(ends[-1] + run)
    if ends[-1] != height * width:
        raise InputError(f"the runs hold {ends[-1]:,} pixels, the picture {height * width:,}")
    corners: list[tuple[int, int]] = []
    for start, end in list(pairwise(ends))[1::2]:
        if start == end:
            continue
        (left, top), (right, bottom) = divmod(start, height), divmod(end - 1, height)
        if right > left:  # it goes on at the top of the next column
            top, bottom = 0, height - 1
        corners += [(left, top), (right + 1, bottom + 1)]
    if not corners:
        raise InputError("the mask is empty; leave it out")
    return box_around(corners)
