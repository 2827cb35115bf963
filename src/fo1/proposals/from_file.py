"""Boxes that somebody else found or drew, read from a file; `fo1.proposals.box_formats` knows the formats."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from fo1.errors import InputError, short_name
from fo1.geometry import Size
from fo1.proposals.box_files import BoxFile
from fo1.proposals.box_formats import read_box_bytes, read_box_folder
from fo1.results import Proposals

STDIN = "-"
"""The file name that stands for standard input."""


class FileProposer:
    """Proposes the boxes of a file, unchanged and in its order.

    The file is read when the proposer is made, so a bad one is found before any work.

    Args:
        path: JSON boxes, COCO annotations or results, LabelMe, YOLO labels, or a folder of LabelMe
            or YOLO files (`fo1.proposals.box_formats`); "-" for JSON on standard input.

    Raises:
        InputError: the file cannot be read, is of no known form, or a row cannot be used.
        BoxError: a row of plain boxes is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "standard input" if str(path) == STDIN else short_name(str(path))
        self.file: BoxFile = _read(path, self.name)

    @property
    def scored(self) -> bool:
        """Whether the file says how sure its source was, so that its boxes are no truth."""
        return self.file.scored

    @property
    def most(self) -> int:
        """How many boxes the picture has that has most."""
        return self.file.most

    def propose(self, image: Image.Image) -> Proposals:
        """Return the boxes of a picture, known by its file where the file of boxes has several.

        Raises:
            InputError: the file has boxes of several pictures, but not of this one.
            BoxError: a box is inverted or wholly outside the picture.
        """
        return self.of(str(image.info.get("filename", "")), (image.height, image.width))

    def of(self, picture: str, image_size: Size | None) -> Proposals:
        """Return the boxes of a picture by its file name.

        Args:
            picture: looked at where the file of boxes has several pictures.
            image_size: (height, width); None leaves boxes in pixels unchecked against it.

        Raises:
            InputError: the file has boxes of several pictures, but not of this one.
            BoxError: a box is inverted or wholly outside the picture.
        """
        return self.file.of(picture).place(image_size, self.name)


def _read(path: str | Path, name: str) -> BoxFile:
    if str(path) == STDIN:
        return read_box_bytes(sys.stdin.buffer.read(), name)
    try:
        place = Path(path)
        if place.is_dir():
            return read_box_folder(place, name)
        return read_box_bytes(place.read_bytes(), name, place)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        if isinstance(error, InputError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise InputError(f"cannot read boxes from {name} ({reason}); check the path") from error
