"""What is known about the objects of one picture.

Legend: M true boxes, N detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fo1.evaluation.metrics.estimates import Bools, Floats


@dataclass(frozen=True, slots=True, eq=False)
class DetectionTruth:
    """What is known about one picture.

    Attributes:
        boxes: (M, 4) float64 xyxy.
        labels: M names.
        crowd: (M,) bool: many in one box; neither to be found nor a mistake to find.
        areas: (M,) as the annotation file says, square pixels; size ranges go by it.
        number: of the picture in its data set, unique there; equal scores are judged in its order.
        part: the data set, in collections.
        absent: names that are known not to be there; None if all the others are.
        unsure: names whose boxes are not all marked; wrong detections of them are not counted.
    """

    boxes: Floats
    labels: tuple[str, ...]
    crowd: Bools
    areas: Floats
    number: int
    part: str = ""
    absent: tuple[str, ...] | None = None
    unsure: tuple[str, ...] = ()

    def judged(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names that can be judged in this picture, among those of its data set.

        The order says nothing about what is there.
        """
        if self.absent is None:
            return tuple(names)
        return tuple(sorted({*self.labels, *self.absent}))


def overlaps(boxes: Floats, truth: Floats, crowd: Bools) -> Floats:
    """Return (N, M) IoU in float64; for crowds intersection over the area of the detection."""
    near = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    far = np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    shared = np.maximum(far - near, 0).prod(-1)
    own = (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None]
    other = (truth[:, 2:] - truth[:, :2]).prod(1)[None]
    whole = np.where(crowd[None], own, own + other - shared)
    return shared / np.maximum(whole, 1e-12)
