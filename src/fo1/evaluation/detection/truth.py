"""What is known about the objects of one picture.

Legend: M true boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fo1.evaluation.metrics.estimates import Bools, Floats
from fo1.geometry import Boxes


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

    @property
    def distinct(self) -> Boxes:
        """(K, 4) float32 true boxes, each once; crowds are none."""
        return np.unique(self.boxes[~self.crowd], axis=0).astype(np.float32)

    def judged(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names that can be judged in this picture, among those of its data set.

        The order says nothing about what is there.
        """
        if self.absent is None:
            return tuple(names)
        return tuple(sorted({*self.labels, *self.absent}))
