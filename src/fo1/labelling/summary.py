"""What was found in all pictures, class by class, and which of them are shown."""

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fo1.geometry import box_area
from fo1.results import Detections

SMALL, LARGE = 32**2, 96**2
"""Square pixels where medium boxes begin and end. Source: COCO's evaluation."""
BANDS: Final = 10
"""Of scores, each as wide as the others."""


@dataclass(slots=True)
class ClassCount:
    """One class.

    Attributes:
        boxes: of this class.
        pictures: that have one.
        most: boxes in one picture.
        scores: their sum.
        bands: boxes whose score is in [0, .1), [.1, .2), ... [.9, 1].
        sizes: boxes that are small, medium and large.
    """

    boxes: int = 0
    pictures: int = 0
    most: int = 0
    scores: float = 0.0
    bands: list[int] = field(default_factory=lambda: [0] * BANDS)
    sizes: list[int] = field(default_factory=lambda: [0] * 3)

    def add(self, found: Detections) -> None:
        """Count the boxes of one picture, all of this class; there is at least one."""
        self.boxes += len(found)
        self.pictures += 1
        self.most = max(self.most, len(found))
        self.scores += sum(round(float(score), 4) for score in found.scores)
        areas = box_area(found.boxes)
        for band in np.minimum(found.scores * BANDS, BANDS - 1).astype(int).tolist():
            self.bands[band] += 1
        for size in np.digitize(areas, (SMALL, LARGE)).tolist():
            self.sizes[size] += 1

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "boxes": self.boxes,
            "pictures": self.pictures,
            "most_in_a_picture": self.most,
            "mean_score": round(self.scores / self.boxes, 4) if self.boxes else None,
            "scores_by_tenths": list(self.bands),
            "small_medium_large": list(self.sizes),
        }


class Counts:
    """Counts of a run, picture by picture.

    Args:
        names: of the classes.

    Attributes:
        classes: by name.
        pictures: that were labelled.
        empty: those of them in which nothing was found.
        broken: that could not be labelled.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.classes = {name: ClassCount() for name in names}
        self.pictures = self.empty = self.broken = 0

    def add(self, found: Detections | None) -> None:
        """Count one picture; None where it could not be labelled."""
        if found is None:
            self.broken += 1
            return
        self.pictures += 1
        self.empty += not len(found)
        labels = np.array(found.labels, object)
        for name in dict.fromkeys(found.labels):
            self.classes[name].add(found[labels == name])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "pictures": self.pictures,
            "empty": self.empty,
            "broken": self.broken,
            "boxes": sum(one.boxes for one in self.classes.values()),
            "classes": {name: one.to_dict() for name, one in self.classes.items()},
        }


class Sample:
    """Some pictures of a run, drawn evenly, the same ones in whatever order they come; those with boxes go first.

    Args:
        count: of pictures.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[tuple[bool, int, str, Detections]] = []

    def add(self, name: str, found: Detections) -> None:
        """Consider a picture; no other has its name."""
        digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
        # The smallest leaves a full heap.
        one = (len(found) > 0, int.from_bytes(digest, "big"), name, found)
        push = heapq.heappush if len(self._kept) < self.count else heapq.heappushpop
        push(self._kept, one)

    def chosen(self) -> list[tuple[str, Detections]]:
        """Return the pictures by name."""
        return sorted(((name, found) for *_, name, found in self._kept), key=lambda one: one[0])
