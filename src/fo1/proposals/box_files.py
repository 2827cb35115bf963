"""What files of boxes hold: boxes of every picture, or of each by its name; `box_formats` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fo1.errors import InputError, short_name
from fo1.geometry import Boxes, Size, as_boxes, check_boxes, scale_boxes
from fo1.results import Proposals


@dataclass(frozen=True, slots=True, eq=False)
class PictureBoxes:
    """The boxes of one picture.

    Attributes:
        boxes: (N, 4) xyxy, in pixels of the picture or in shares of it.
        scores: N, in [0, 1]; None if the file says none.
        labels: N; None if the file says none.
        shares: whether boxes are in shares.
    """

    boxes: Boxes
    scores: tuple[float, ...] | None = None
    labels: tuple[str, ...] | None = None
    shares: bool = False

    def place(self, image_size: Size | None, name: str) -> Proposals:
        """Return the boxes in pixels, checked against the picture if its (height, width) is given.

        Raises:
            BoxError: a box is inverted or wholly outside the picture.
        """
        boxes = self.boxes
        if self.shares and image_size is not None:
            boxes = scale_boxes(boxes, (1, 1), image_size)
        boxes = check_boxes(boxes, image_size, where=name)
        scores = np.ones(len(boxes), np.float32) if self.scores is None else self.scores
        return Proposals(boxes, np.asarray(scores, np.float32), name, self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class BoxFile:
    """What a file or folder of boxes holds.

    Attributes:
        name: what it is called in errors.
        every: the boxes of every picture; None if pictures have their own.
        pictures: boxes by the picture's file name, by that without its ending, or by number.
        listed: whether pictures without boxes are listed, so that one that is not is unknown.
    """

    name: str
    every: PictureBoxes | None = None
    pictures: Mapping[str, PictureBoxes] = field(default_factory=dict[str, PictureBoxes])
    listed: bool = True

    @property
    def scored(self) -> bool:
        """Whether boxes have scores."""
        return any(own.scores is not None for own in self._all())

    @property
    def most(self) -> int:
        """How many boxes the picture has that has most."""
        return max((len(own.boxes) for own in self._all()), default=0)

    def of(self, picture: str) -> PictureBoxes:
        """Return the boxes of a picture by its file name.

        Raises:
            InputError: the file has boxes of several pictures, but not of this one.
        """
        if self.every is not None:
            return self.every
        path = Path(picture.replace("\\", "/"))
        number = str(int(path.stem)) if path.stem.isascii() and path.stem.isdigit() else path.stem
        for key in (picture, path.name, path.stem, number):
            if key in self.pictures:
                return self.pictures[key]
        if picture and not self.listed:
            return PictureBoxes(as_boxes([]))
        shown = short_name(next(iter(self.pictures), "none"), 60)
        called = f"'{short_name(picture, 80)}'" if picture else "a picture without a file name"
        raise InputError(
            f"{self.name} has no boxes for {called} (it has those of '{shown}', ...); "
            "give the picture by its path, or boxes of this picture"
        )

    def _all(self) -> Sequence[PictureBoxes]:
        return (self.every,) if self.every is not None else tuple(self.pictures.values())
