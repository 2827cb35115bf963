"""YOLO labels: a text file beside each picture, or in labels/ where the picture is in images/.

    data.yaml                path, train, val, test; names as a list or by number
    images/train/a.jpg       or train/images/a.jpg
    labels/train/a.txt       or train/labels/a.txt: one object a line, all numbers as shares of width and height
                             "0 0.5 0.5 0.2 0.1"           class, centre x, centre y, width, height
                             "0 0.1 0.1 0.3 0.1 0.2 0.4"   class and the corners of a polygon

Without data.yaml the names stand one a line in classes.txt, obj.names or names.txt. Only the training split is read; a
picture without a label file, or with an empty one, holds nothing. Every name was looked for in every picture. A line
of five numbers is a box, one of seven or more in pairs is a polygon; keypoints and tracks are not read.

Source: docs.ultralytics.com/datasets/detect and /segment.
"""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fo1.data.converters.conversion import BadRows
from fo1.data.converters.known_names import known_names
from fo1.data.converters.picture_files import box_around, picture_size, read_box
from fo1.data.converters.yolo_folder import label_file, read_folder
from fo1.data.schema import Box, PictureRef, Record, TrueObject, check_record
from fo1.errors import InputError, short_name
from fo1.formats.located import read_text
from fo1.geometry import Size

_ROUNDING: Final = 0.01
"""How far numbers may lie outside [0, 1]: tools round, and draw a little over the border."""


def convert_yolo(source: Path, bad: BadRows, *, pictures: Path | None = None) -> Iterator[Record]:
    """Return one record per picture; see the module for the layouts.

    Args:
        source: folder or data.yaml.
        bad: takes lines that cannot be used; a picture counts as one as well.
        pictures: folder of the pictures, where they do not lie as the format says.

    Raises:
        InputError: names or pictures are not found, or too many lines are bad.
    """
    folder = read_folder(source, pictures)
    vocabulary = tuple(dict.fromkeys(folder.names.values()))
    for path in folder.pictures:
        bad.seen()
        try:
            size = picture_size(path)
        except InputError as error:
            bad.drop(path, None, error)
            continue
        labels = label_file(path)
        doubtful: set[str] = set()
        objects = tuple(_objects(labels, folder.names, size, bad, doubtful)) if labels else ()
        known = known_names(vocabulary, objects, doubtful)
        yield check_record(
            Record(
                key=f"yolo/{Path(os.path.relpath(path, folder.root)).as_posix()}",
                pictures=(PictureRef(os.path.abspath(path), size),),
                objects=objects,
                looked_for=known.looked_for,
                partial=known.partial,
                source=labels.name if labels else path.name,
            )
        )


def read_line(line: str, names: dict[int, str], size: Size) -> TrueObject:
    """Return the object of a line.

    Raises:
        InputError: it is none; says what was found.
    """
    words = line.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise InputError(
            f"{short_name(line.strip(), 60)!r} holds no numbers; expected {_FORM}"
        ) from error
    if len(numbers) != 5 and (len(numbers) < 7 or len(numbers) % 2 == 0):
        raise InputError(f"{len(numbers)} numbers; expected {_FORM}")
    if not all(map(math.isfinite, numbers)) or not numbers[0].is_integer():
        raise InputError(f"{short_name(line.strip(), 60)!r}; expected {_FORM}, all finite")
    if int(numbers[0]) not in names:
        raise InputError(
            f"class {short_name(words[0], 20)} has no name; there are {len(names)} names"
        )
    return TrueObject(_box(numbers[1:], size), (names[int(numbers[0])],))


_FORM = "'class x y width height' or 'class x1 y1 x2 y2 x3 y3 ...' as shares of the picture"


def _box(shares: list[float], size: Size) -> Box:
    strange = [share for share in shares if not -_ROUNDING <= share <= 1 + _ROUNDING]
    if strange:
        raise InputError(
            f"{strange[0]:g} is no share of a picture; expected numbers from 0 to 1, not pixels"
        )
    height, width = size
    if len(shares) == 4:
        x, y, across, down = shares
        corners = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
    else:
        corners = box_around(list(zip(shares[::2], shares[1::2], strict=True)))
    box = [corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height]
    return read_box(box, size)


def _objects(
    path: Path, names: dict[int, str], size: Size, bad: BadRows, doubtful: set[str]
) -> Iterator[TrueObject]:
    """Yield the objects of a label file; `doubtful` takes the names of lines that cannot be used."""
    try:
        text = read_text(path)
    except InputError as error:
        bad.drop(path, None, error)
        doubtful.update(names.values())
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        bad.seen()
        try:
            yield read_line(line, names, size)
        except InputError as error:
            bad.drop(path, number, error)
            doubtful.update(_named(line, names))


def _named(line: str, names: dict[int, str]) -> Iterable[str]:
    """Return the name of a line whose box cannot be used; all names where its class is no number of one."""
    word = line.split()[0]
    number = int(word) if word.isascii() and word.isdigit() and len(word) < 10 else -1
    return (names[number],) if number in names else names.values()
