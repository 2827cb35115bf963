"""In which order regions are numbered; training and answering share it, and the model's config names it."""

from typing import Final

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError
from fo1.geometry import Boxes, Size

ORDERS: Final = ("any", "raster", "area", "score")
"""any: as they come, which training shuffles; raster: in rows from the top, each from the left; area: largest first;
score: best proposal first."""
ROWS: Final = 12
"""Rows into which `raster` divides a picture."""


def region_order(
    boxes: Boxes, scores: npt.NDArray[np.floating], policy: str, image_size: Size
) -> npt.NDArray[np.int64]:
    """Return (N,) which box comes first, second, ...; equal ones keep their order.

    Args:
        boxes: (N, 4) xyxy pixels of the picture.
        scores: (N,) of the proposals, 1 for boxes that are given.
        policy: one of `ORDERS`.
        image_size: (height, width) of the picture.

    Raises:
        InputError: another policy.
    """
    if policy not in ORDERS:
        raise InputError(f"region order {policy!r} is unknown; use one of {', '.join(ORDERS)}")
    if policy == "any":
        return np.arange(len(boxes))
    if policy == "score":
        return np.argsort(-np.asarray(scores), kind="stable")
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).astype(np.float64)
    if policy == "area":
        return np.argsort(-sides.prod(1), kind="stable")
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    row = np.floor(centres[:, 1] * (ROWS / max(image_size[0], 1)))
    return np.lexsort((centres[:, 0], row))
