"""Boxes against boxes in float64, so that an IoU on a threshold falls as in the official scorers.

Legend: N boxes that are judged, M boxes they are judged by; xyxy pixels.
"""

import numpy as np
import numpy.typing as npt

from fo1.evaluation.metrics.estimates import Bools, Floats
from fo1.geometry import Size

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Sides of the fixed boxes, as shares of the picture's."""


def overlaps(boxes: npt.ArrayLike, others: npt.ArrayLike, crowd: Bools | None = None) -> Floats:
    """Return (N, M) intersection over union; 0 where both boxes are empty.

    Args:
        boxes: (N, 4).
        others: (M, 4).
        crowd: (M,) which of the others hold many: there the union is the area of `boxes` alone.

    Example:
        >>> overlaps([[0, 0, 10, 10]], [[0, 0, 10, 8], [0, 0, 99, 99]], np.array([False, True]))
        array([[0.8, 1. ]])
    """
    one, other = (np.asarray(rows, float).reshape(-1, 4) for rows in (boxes, others))
    near = np.maximum(one[:, None, :2], other[None, :, :2])
    far = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(far - near, 0).prod(-1)
    area, other_area = ((rows[:, 2:] - rows[:, :2]).prod(1) for rows in (one, other))
    union = area[:, None] + other_area[None] - shared
    if crowd is not None:
        union = np.where(crowd[None], area[:, None], union)
    return shared / np.maximum(union, 1e-9)


def centred_boxes(image_size: Size) -> Floats:
    """Return (4, 4) boxes around the middle of a picture, largest first: a guess without looking."""
    height, width = image_size
    corners = np.array(SHARES)[:, None] * [[-1, -1, 1, 1]]
    return (corners + 1) / 2 * [width, height, width, height]
