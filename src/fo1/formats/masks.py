"""Masks as people and tools give them: arrays, run lengths, polygons."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError
from fo1.geometry import Size
from fo1.masks import Masks, Runs, decompress
from fo1.polygons import fill

_CURE = (
    "give an (N, height, width) array of truth values, or per mask one such array, COCO run lengths "
    '{"size": [height, width], "counts": ...} or a list of polygons [x1, y1, x2, y2, ...]'
)


def as_masks(given: Any, image_size: Size, *, where: str = "masks") -> Masks:
    """Return masks of a picture from whatever form they come in; none is empty.

    Args:
        given: `Masks`; an (N, H, W) array or tensor on the CPU, such as `supervision.Detections.mask`; or a list with
            an entry per mask: an (H, W) array, COCO's run lengths, compressed or not, or a list of polygons in pixels
            of the picture.
        image_size: (height, width) of the picture.
        where: what the masks are called in errors, for example a file name.

    Raises:
        InputError: they are of another form or picture, or one covers no pixel; names it.
    """
    size = (int(image_size[0]), int(image_size[1]))
    if isinstance(given, Masks):
        masks = given
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        rows = cast("Sequence[Any]", given)
        runs = tuple(_read(one, size, f"{where} row {row}") for row, one in enumerate(rows))
        masks = Masks(runs, size)
    else:
        masks = Masks.from_array(_array(given, where))
    if masks.image_size != size:
        raise InputError(
            f"{where}: they are for a picture of {masks.image_size[1]} x {masks.image_size[0]}, this one is "
            f"{size[1]} x {size[0]}; give masks in pixels of this picture"
        )
    empty = np.flatnonzero(masks.areas() == 0)
    if empty.size:
        raise InputError(
            f"{where} row {empty[0]}: it covers no pixel of the picture; leave it out, or give a box instead"
        )
    return masks


def _read(one: Any, size: Size, where: str) -> Runs:
    if isinstance(one, Mapping):
        return _run_lengths(cast("Mapping[str, Any]", one), size, where)
    if isinstance(one, Sequence) and not isinstance(one, str | bytes) and not _is_raster(one):
        polygons = cast("Sequence[Any]", one)
        return _one(fill([_corners(polygon, where) for polygon in polygons], size))
    array = _array(one, where)
    if array.shape != size:
        raise InputError(f"{where}: got shape {array.shape}, need {size}; {_CURE}")
    return _one(array)


def _is_raster(one: Sequence[Any]) -> bool:
    """Return whether nested lists are rows of 0 and 1, or True and False; polygons have six numbers or more."""
    truths = (bool, np.bool_)
    return bool(one) and isinstance(one[0], Sequence) and all(isinstance(v, truths) for v in one[0])


def _one(mask: npt.NDArray[Any]) -> Runs:
    return Masks.from_array(mask[None]).runs[0]


def _run_lengths(one: Mapping[str, Any], size: Size, where: str) -> Runs:
    counts, own = one.get("counts"), one.get("size")
    if isinstance(own, Sequence | np.ndarray) and list(own) != list(size):
        raise InputError(
            f"{where}: its size is {list(own)}, the picture's {list(size)} (height, width); "
            "give masks of this picture"
        )
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if isinstance(counts, str):
        runs = decompress(counts)
    elif isinstance(counts, Sequence | np.ndarray) and all(map(_is_count, counts)):
        runs = np.array(counts, np.int64)
    else:
        raise InputError(f"{where}: counts are {str(counts)[:60]}; {_CURE}")
    if (runs < 0).any() or sum(runs.tolist()) != size[0] * size[1]:
        raise InputError(
            f"{where}: run lengths make {sum(runs.tolist())} pixels, the picture has {size[0] * size[1]}; "
            "give masks of this picture"
        )
    return runs


def _is_count(value: object) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and 0 <= int(cast(int, value)) < 1 << 40


def _corners(polygon: Any, where: str) -> npt.NDArray[np.float64]:
    """Return (P, 2) corners of one polygon."""
    try:
        numbers = np.asarray(polygon, np.float64).reshape(-1)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: a polygon is {str(polygon)[:60]}; {_CURE}") from error
    if len(numbers) < 6 or len(numbers) % 2 or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"{where}: a polygon has {len(numbers)} numbers, need x and y of three corners or more, all finite; {_CURE}"
        )
    return numbers.reshape(-1, 2)


def _array(given: Any, where: str) -> npt.NDArray[Any]:
    try:
        array = np.asarray(given)
    except (
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:  # a tensor on another device, ragged rows
        raise InputError(f"{where}: cannot read a {type(given).__name__}; {_CURE}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where}: cannot read a {type(given).__name__}; {_CURE}")
    return array
