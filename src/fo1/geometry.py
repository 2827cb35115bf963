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

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""


def as_boxes(boxes: npt.ArrayLike, *, where: str = "boxes") -> Boxes:
    """Return a new (N, 4) float32 array of the given numbers; an empty list gives (0, 4).

    Raises:
        BoxError: not N rows of four finite numbers; names the row.
    """
    try:
        # A tensor on another device or one that requires grad raises TypeError or RuntimeError.
        with np.errstate(over="ignore"):
            array = np.array(boxes, dtype=np.float32)
    except (ValueError, TypeError, RuntimeError) as error:
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


def check_boxes(boxes: npt.ArrayLike, image_size: Size, *, where: str = "boxes") -> Boxes:
    """Return boxes as a new (N, 4) float32 array, checked against a picture, values unchanged.

    A box partly outside the picture is fine, so is one of zero width or height.

    Args:
        boxes: N rows of [x1, y1, x2, y2] in pixels of the original picture; may be empty.
        image_size: (height, width) of that picture.
        where: what the boxes are called in errors, for example a file name.

    Raises:
        BoxError: wrong shape, not finite, inverted, or wholly outside; names the row.

    Example:
        >>> check_boxes([[10, 20, 30, 40]], (480, 640))
        array([[10., 20., 30., 40.]], dtype=float32)
    """
    array = as_boxes(boxes, where=where)
    height, width = image_size
    for near, far, names in ((0, 2, "x"), (1, 3, "y")):
        bad = np.flatnonzero(array[:, far] < array[:, near])
        if bad.size:
            row = int(bad[0])
            raise BoxError(
                f"{where} row {row}: {names}2 = {array[row, far]:g} is less than {names}1 = "
                f"{array[row, near]:g}; give [x1, y1, x2, y2] (xywh_to_xyxy converts xywh)"
            )
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
    return boxes * np.array([ratio_x, ratio_y, ratio_x, ratio_y], dtype=np.float32)


def xywh_to_xyxy(boxes: npt.ArrayLike) -> Boxes:
    """Return (N, 4) [x1, y1, x2, y2] from (N, 4) [x, y, width, height] (COCO), both in pixels."""
    array = as_boxes(boxes)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)


def xyxy_to_xywh(boxes: npt.ArrayLike) -> Boxes:
    """Return (N, 4) [x, y, width, height] (COCO) from (N, 4) [x1, y1, x2, y2], both in pixels."""
    array = as_boxes(boxes)
    return np.concatenate([array[:, :2], array[:, 2:] - array[:, :2]], axis=1)


def box_area(boxes: Boxes) -> npt.NDArray[np.float32]:
    """Return (N,) areas in square pixels; an inverted box has area 0."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], np.float32(0))
    return sides[:, 0] * sides[:, 1]


def box_iou(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float32]:
    """Return (N, M) intersection over union in [0, 1]; 0 where both boxes are empty."""
    shared = _shared_area(boxes, others)
    union = box_area(boxes)[:, None] + box_area(others)[None, :] - shared
    result = np.zeros_like(shared)
    np.divide(shared, union, out=result, where=union > 0)
    return result


def box_containment(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float32]:
    """Return (N, M) intersection over the smaller area in [0, 1]; 1 where one box holds the other."""
    shared = _shared_area(boxes, others)
    smaller = np.minimum(box_area(boxes)[:, None], box_area(others)[None, :])
    result = np.zeros_like(shared)
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


def _shared_area(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float32]:
    """Return (N, M) areas of the intersections in square pixels."""
    near = np.maximum(boxes[:, None, :2], others[None, :, :2])  # (N, M, 2)
    far = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(far - near, np.float32(0))
    return sides[..., 0] * sides[..., 1]


def _conversion_problem(boxes: object, where: str) -> str:
    """Return one line that says why `boxes` is no array of numbers."""
    if isinstance(boxes, list | tuple):
        for row, box in enumerate(cast("Sequence[object]", boxes)):
            if isinstance(box, list | tuple):
                length = len(cast("Sequence[object]", box))
                if length != 4:
                    return f"{where} row {row}: got {length} numbers, need 4: [x1, y1, x2, y2]"
            try:
                np.array(box, dtype=np.float32)
            except (ValueError, TypeError, RuntimeError):
                shown = " ".join(repr(cast("object", box)).split())[:80]
                return f"{where} row {row}: {shown} is not four numbers [x1, y1, x2, y2]"
    kind = type(cast("object", boxes)).__name__
    return f"{where}: cannot read boxes from {kind}; give rows of four numbers on the CPU"


def _numbers(box: npt.NDArray[np.float32]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
