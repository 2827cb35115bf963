"""Boxes as (N, 4) arrays: check, clip, scale, convert, compare, select.

Legend: N, M boxes. A box is xyxy in float pixels, x to the right, y down, the far corner exclusive.
Every size is `(height, width)` in pixels. No function changes its arguments.
"""

from collections.abc import Sequence
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from fo1.errors import BoxError, InputError

Boxes: TypeAlias = npt.NDArray[np.float32]
"""(N, 4) float32, xyxy pixels."""

Points: TypeAlias = npt.NDArray[np.float32]
"""(N, 2) float32, x and y in pixels."""

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

AUXILIARY_RESIZES = ("dynamic", "squash", "dynamic_square")
"""How a picture may be resized for the auxiliary encoder; see `auxiliary_size`."""

SQUASHED = 768
SQUARE_SIDES = (384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024, 1280, 1536, 1792, 2048)

_LARGEST = np.finfo(np.float32).max
# A tensor on another device or one that requires grad raises TypeError or RuntimeError.
_CONVERSION_ERRORS = (ValueError, TypeError, OverflowError, RuntimeError)


def as_boxes(boxes: npt.ArrayLike, *, where: str = "boxes") -> Boxes:
    """Return a new (N, 4) float32 array of the given numbers; an empty list gives (0, 4).

    Raises:
        BoxError: not N rows of four finite numbers; names the row.
    """
    try:
        array = _float32(boxes)
    except _CONVERSION_ERRORS as error:
        raise BoxError(_conversion_problem(boxes, where)) from error
    if array.ndim == 0:
        raise BoxError(_conversion_problem(boxes, where))
    if array.size == 0 and array.shape in ((0,), (0, 4), (1, 0)):
        return np.zeros((0, 4), dtype=np.float32)
    if array.shape == (4,):
        raise BoxError(f"{where}: got one flat box of 4 numbers; wrap it: [[x1, y1, x2, y2]]")
    if array.ndim != 2 or array.shape[1] != 4:
        raise BoxError(f"{where}: got shape {array.shape}, need (N, 4): rows of [x1, y1, x2, y2]")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        row = int(bad[0])
        raise BoxError(
            f"{where} row {row}: {_numbers(array[row])} is not finite in float32; "
            "remove the row or give pixel coordinates"
        )
    return array


def check_boxes(boxes: npt.ArrayLike, image_size: Size | None, *, where: str = "boxes") -> Boxes:
    """Return boxes as a new (N, 4) float32 array, checked against a picture, values unchanged.

    A box partly outside the picture is fine, so is one of zero width or height.

    Args:
        boxes: N rows of [x1, y1, x2, y2] in pixels of the original picture; may be empty.
        image_size: (height, width) of that picture; None if any is possible.
        where: what the boxes are called in errors, for example a file name.

    Raises:
        BoxError: wrong shape, not finite, inverted, or wholly outside; names the row.

    Example:
        >>> check_boxes([[10, 20, 30, 40]], (480, 640))
        array([[10., 20., 30., 40.]], dtype=float32)
    """
    array = as_boxes(boxes, where=where)
    for near, far, names in ((0, 2, "x"), (1, 3, "y")):
        bad = np.flatnonzero(array[:, far] < array[:, near])
        if bad.size:
            row = int(bad[0])
            raise BoxError(
                f"{where} row {row}: {names}2 = {array[row, far]:g} is less than {names}1 = "
                f"{array[row, near]:g}; give [x1, y1, x2, y2] (xywh_to_xyxy converts xywh)"
            )
    if image_size is None:
        return array
    height, width = image_size
    limits = np.array([width, height], dtype=np.float32)
    near_corner, far_corner = array[:, :2], array[:, 2:]
    # An empty box exactly on the border still counts as inside: published checkpoints take it.
    outside = ((near_corner < 0) & (far_corner <= 0)) | (
        (near_corner >= limits) & (far_corner > limits)
    )
    bad = np.flatnonzero(outside.any(axis=1))
    if bad.size:
        row = int(bad[0])
        raise BoxError(
            f"{where} row {row}: {_numbers(array[row])} lies outside the picture of width {width} "
            f"and height {height}; give pixels of the original picture or remove the row"
        )
    return array


def as_points(points: npt.ArrayLike, size: Size) -> Points:
    """Return (P, 2) float32 points that lie in a picture.

    Raises:
        InputError: not P rows of two finite numbers, or one lies outside; names the row.
    """
    try:
        places = _float32(points)
    except _CONVERSION_ERRORS as error:
        kind = type(cast("object", points)).__name__
        raise InputError(f"points: cannot read a {kind}; give rows of [x, y] in pixels") from error
    places = places.reshape(-1, 2) if places.size == 0 else places
    if places.ndim != 2 or places.shape[1] != 2:
        raise InputError(f"points: got shape {places.shape}, need (P, 2): rows of [x, y] in pixels")
    height, width = size
    inside = (places >= 0) & (places <= np.array([width, height]))  # NaN is in neither
    bad = np.flatnonzero(~inside.all(axis=1))
    if bad.size:
        x, y = places[bad[0]]
        raise InputError(
            f"points row {bad[0]}: ({x:g}, {y:g}) lies outside the picture of width {width} and height {height}; "
            "give pixels of the original picture"
        )
    return places


def clip_boxes(boxes: Boxes, image_size: Size) -> Boxes:
    """Return boxes cut at the borders of the picture: 0 <= x <= width, 0 <= y <= height.

    Example:
        >>> clip_boxes(np.float32([[-5, 2, 30, 9]]), (8, 20))
        array([[ 0.,  2., 20.,  8.]], dtype=float32)
    """
    height, width = image_size
    limits = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(boxes, np.float32(0), limits)


def scale_boxes(boxes: Boxes, from_size: Size, to_size: Size) -> Boxes:
    """Return boxes carried from a picture of one size to the same picture at another size.

    A number that leaves the range of float32 stays at its end.

    Raises:
        InputError: a side of `from_size` is not positive.

    Example:
        >>> scale_boxes(np.float32([[10, 20, 30, 40]]), (100, 100), (50, 200))
        array([[20., 10., 60., 20.]], dtype=float32)
    """
    if min(from_size) <= 0:
        raise InputError(f"cannot scale boxes from a picture of size {from_size}; need sides > 0")
    ratio_y = to_size[0] / from_size[0]
    ratio_x = to_size[1] / from_size[1]
    with np.errstate(over="ignore"):
        scaled = boxes * np.array([ratio_x, ratio_y, ratio_x, ratio_y], dtype=np.float32)
    return np.clip(scaled, -_LARGEST, _LARGEST)


def place_boxes(boxes: npt.ArrayLike, size: Size, capped: Size, frame: Size) -> Boxes:
    """Return boxes of a picture in the frame of the auxiliary encoder, cut at the picture's borders.

    Parity: float64 until the end, so that a box over the whole picture ends on the frame's border to the last bit;
    a difference in the last bit can change how many samples RoIAlign takes.

    Args:
        boxes: N checked rows of [x1, y1, x2, y2] in pixels of the original picture.
        size: of that picture.
        capped: size at which it enters the encoders, from `cap_size`.
        frame: size at which the auxiliary encoder sees it, from `auxiliary_size`.

    Example:
        >>> place_boxes([[-5, 0, 2400, 1600]], (1600, 2400), (1365, 2048), (768, 768))
        array([[  0.,   0., 768., 768.]], dtype=float32)
    """
    exact = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    sides = [np.array([s[1], s[0], s[1], s[0]], dtype=np.float64) for s in (size, capped, frame)]
    original, limits, target = sides
    inside = np.clip(exact * (limits / original), 0, limits)
    return (inside * target / limits).astype(np.float32)


def xywh_to_xyxy(boxes: npt.ArrayLike) -> Boxes:
    """Return (N, 4) [x1, y1, x2, y2] from (N, 4) [x, y, width, height] (COCO), both in pixels.

    Raises:
        BoxError: not N rows of four numbers, or a result is not finite; names the row.
    """
    array = as_boxes(boxes)
    with np.errstate(over="ignore"):
        return as_boxes(np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1))


def xyxy_to_xywh(boxes: npt.ArrayLike) -> Boxes:
    """Return (N, 4) [x, y, width, height] (COCO) from (N, 4) [x1, y1, x2, y2], both in pixels.

    Raises:
        BoxError: not N rows of four numbers, or a result is not finite; names the row.
    """
    array = as_boxes(boxes)
    with np.errstate(over="ignore"):
        return as_boxes(np.concatenate([array[:, :2], array[:, 2:] - array[:, :2]], axis=1))


def box_area(boxes: Boxes) -> npt.NDArray[np.float64]:
    """Return (N,) float64 areas in square pixels; an inverted box has area 0."""
    return _area(boxes[:, :2], boxes[:, 2:])


def box_iou(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float32]:
    """Return (N, M) intersection over union in [0, 1]; 0 where both boxes are empty."""
    shared = _shared_area(boxes, others)
    union = box_area(boxes)[:, None] + box_area(others)[None, :] - shared
    result = np.zeros_like(shared, dtype=np.float32)
    np.divide(shared, union, out=result, where=union > 0)
    return result


def box_containment(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float32]:
    """Return (N, M) intersection over the smaller area in [0, 1]; 1 where one box holds the other."""
    shared = _shared_area(boxes, others)
    smaller = np.minimum(box_area(boxes)[:, None], box_area(others)[None, :])
    result = np.zeros_like(shared, dtype=np.float32)
    np.divide(shared, smaller, out=result, where=smaller > 0)
    return result


def nms(
    boxes: Boxes,
    scores: npt.NDArray[np.floating],
    iou_threshold: float,
    containment: float = 1.0,
) -> npt.NDArray[np.int64]:
    """Return (K,) indices of the boxes kept, best score first; equal scores keep their order.

    A box is dropped when its IoU with a better kept box is above `iou_threshold`, or when more
    than `containment` of the smaller of the two lies in the other (1 switches that off).

    Raises:
        InputError: the number of scores differs from the number of boxes.
    """
    if len(boxes) != len(scores):
        raise InputError(f"got {len(boxes)} boxes but {len(scores)} scores; give one score a box")
    waiting = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while waiting.size:
        best = waiting[0]
        kept.append(int(best))
        first, rest = boxes[best : best + 1], boxes[waiting[1:]]
        clear = box_iou(first, rest)[0] <= iou_threshold
        if containment < 1:
            clear &= box_containment(first, rest)[0] <= containment
        waiting = waiting[1:][clear]
    return np.array(kept, dtype=np.int64)


def cap_size(size: Size, max_side: int = 2048, min_side: int = 28) -> Size:
    """Return the size at which a picture enters the encoders, in the order it was given.

    A side under `min_side` is raised to it, each side on its own. Otherwise a long side over
    `max_side` shrinks both sides by the same factor, cut to whole pixels, never under `min_side`.

    Source: image preparation in om-ai-lab/VLM-FO1, vlm_fo1/mm_utils.py.
    Parity: cutting, not rounding, decides the auxiliary encoder's map size.

    Example:
        >>> cap_size((1600, 2400)), cap_size((24, 60)), cap_size((300, 451))
        ((1365, 2048), (28, 60), (300, 451))
    """
    first, second = size
    if first < min_side or second < min_side:
        first, second = max(first, min_side), max(second, min_side)
    longest = max(first, second)
    if longest > max_side:
        factor = max_side / longest
        first, second = int(first * factor), int(second * factor)
    return max(first, min_side), max(second, min_side)


def auxiliary_size(size: Size, resize: str) -> Size:
    """Return the size at which the auxiliary encoder sees a picture.

    Args:
        size: of the picture, after `cap_size`.
        resize: "dynamic" leaves it, "squash" makes 768 x 768 of it, "dynamic_square" the square that is nearest in
            area, the smaller one of two equally near.

    Raises:
        InputError: another `resize`.

    Source: image preparation in om-ai-lab/VLM-FO1, davit/image_processing_clip.py.

    Example:
        >>> auxiliary_size((300, 451), "squash"), auxiliary_size((300, 451), "dynamic_square")
        ((768, 768), (384, 384))
    """
    if resize == "dynamic":
        return size
    if resize == "squash":
        return SQUASHED, SQUASHED
    if resize != "dynamic_square":
        raise InputError(f"resize {resize!r} is unknown; use one of {', '.join(AUXILIARY_RESIZES)}")
    area = size[0] * size[1]
    side = min(SQUARE_SIDES, key=lambda side: abs(side * side - area))
    return side, side


def _shared_area(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Return (N, M) areas of the intersections in square pixels."""
    near = np.maximum(boxes[:, None, :2], others[None, :, :2])  # (N, M, 2)
    return _area(near, np.minimum(boxes[:, None, 2:], others[None, :, 2:]))


def _area(near: npt.NDArray[np.float32], far: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return (...,) areas between (..., 2) corners."""
    # Float64 holds the product of any two float32 lengths, however long or short.
    sides = np.maximum(far.astype(np.float64) - near, 0)
    return sides[..., 0] * sides[..., 1]


def _float32(numbers: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return a new float32 array; a number beyond its range becomes infinite."""
    if np.iscomplexobj(numbers):
        raise TypeError("complex numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(numbers, dtype=np.float32)


def _conversion_problem(boxes: object, where: str) -> str:
    """Return one line that says why `boxes` is no array of numbers."""
    if isinstance(boxes, list | tuple):
        for row, box in enumerate(cast("Sequence[object]", boxes)):
            if isinstance(box, list | tuple):
                length = len(cast("Sequence[object]", box))
                if length != 4:
                    return f"{where} row {row}: got {length} numbers, need 4: [x1, y1, x2, y2]"
            try:
                _float32(cast("npt.ArrayLike", box))
            except _CONVERSION_ERRORS:
                shown = " ".join(repr(cast("object", box)).split())[:80]
                return f"{where} row {row}: {shown} is not four numbers [x1, y1, x2, y2]"
    kind = type(cast("object", boxes)).__name__
    return f"{where}: cannot read boxes from {kind}; give rows of four numbers on the CPU"


def _numbers(box: npt.NDArray[np.float32]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
