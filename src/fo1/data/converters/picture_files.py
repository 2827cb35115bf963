"""Where a data set's pictures lie, how large they are, and boxes cut to fit them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TypeGuard

from PIL import Image

from fo1.data.schema import Box, PictureRef, check_true_box
from fo1.errors import ImageError, InputError, short_name
from fo1.formats.limits import FARTHEST
from fo1.geometry import Size
from fo1.imaging import load_image
from fo1.pixels import DECODER_ERRORS

_ORIENTATION: Final = 0x0112
_LYING: Final = range(5, 9)
"""EXIF orientations that swap width and height."""


class PictureFolders:
    """Finds pictures in folders that a format knows; the folder that had the last one is tried first.

    Args:
        folders: in which pictures may lie.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = list(dict.fromkeys(folders))

    def find(self, name: str) -> Path:
        """Return the file of a picture: by its whole name, else by its last part.

        Raises:
            ImageError: no folder has it; names the first place that was tried.
        """
        plain = name.strip().replace("\\", "/")
        if not plain.strip("/.") or "://" in plain:
            raise ImageError(f"the picture's name is {short_name(repr(name), 80)}; give a file")
        for wanted in dict.fromkeys((plain, plain.rpartition("/")[2])):
            for folder in self.folders:
                path = os.path.join(folder, wanted)
                if wanted and os.path.isfile(path):
                    if folder != self.folders[0]:
                        self.folders.remove(folder)
                        self.folders.insert(0, folder)
                    return Path(path)
        first = self.folders[0] / plain if self.folders else Path(plain)
        raise ImageError(
            f"found no picture {short_name(str(first))}; copy it there, or name its folder with --pictures"
        )

    def refer(self, name: str, size: Size | None = None) -> PictureRef:
        """Return a picture with its full path and its size.

        Args:
            name: of the file.
            size: (height, width) that the boxes are for; None where nobody said.

        Raises:
            ImageError: it is not there, is no picture, or has another size.
        """
        path = self.find(name)
        true = picture_size(path)
        if size is not None and size != true:
            raise ImageError(
                f"{short_name(path.name)} is {true[1]} x {true[0]} pixels but its row says {size[1]} x "
                f"{size[0]}; take the picture that the boxes were made on"
            )
        return PictureRef(os.path.abspath(path), true)


def picture_size(path: Path) -> Size:
    """Return (height, width) of a picture as `load_image` gives it; reads only its header.

    Raises:
        ImageError: it is no picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _LYING
    except DECODER_ERRORS:
        height, width = load_image(path).size[::-1]  # whose errors say what is wrong
        turned = False
    return (width, height) if turned else (height, width)


def read_box(numbers: object, size: Size | None, *, what: str = "the box") -> Box:
    """Return a box cut at the borders of its picture.

    Args:
        numbers: x1, y1, x2, y2 in pixels, whatever somebody wrote.
        size: (height, width) of the picture; None leaves the box as it is.
        what: the box is called in errors.

    Raises:
        InputError: it is no four finite numbers, has no area, or lies outside.
    """
    if not is_numbers(numbers, 4):
        raise InputError(f"{what} is {short_name(str(numbers), 60)}; expected four finite numbers")
    x1, y1, x2, y2 = check_true_box(numbers, size, what)
    if size is None:
        return x1, y1, x2, y2
    height, width = size
    cut = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
    return check_true_box(cut, size, what)


def is_numbers(values: object, count: int | None = None) -> TypeGuard[Sequence[float]]:
    """Return whether a value is a list of finite numbers, each near enough to be a pixel."""
    return (
        isinstance(values, list | tuple)
        and (count is None or len(values) == count)
        and all(
            isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < FARTHEST
            for one in values
        )
    )


def box_around(points: Sequence[Sequence[float]]) -> Box:
    """Return the smallest box around points (x, y)."""
    across, down = [float(x) for x, _ in points], [float(y) for _, y in points]
    return min(across), min(down), max(across), max(down)
