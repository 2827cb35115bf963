"""LabelMe: one JSON file per picture, drawn by hand.

    a.json    {"shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[x, y], [x, y]], "group_id": null}],
               "imagePath": "a.jpg", "imageData": null or base64, "imageHeight": 426, "imageWidth": 640}
    a.jpg     beside it, unless it is inside

Shapes with an inside become the box around them: rectangle, polygon, circle, mask, and the older files' untyped
polygons. Shapes of one label and one group_id are parts of one object. Points and lines have no box and count as
bad rows. Every label of the folder was looked for in every picture of it.

Source: wkentaro/labelme, labelme/label_file.py.
"""

import base64
import binascii
import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.conversion import BadRows
from fo1.data.converters.known_names import known_names
from fo1.data.converters.picture_files import PictureFolders, box_around, is_numbers, read_box
from fo1.data.schema import Box, PictureRef, Record, TrueObject, check_record
from fo1.errors import ImageError, InputError, short_name
from fo1.formats.limits import SIDES, check_whole, read_name
from fo1.formats.located import Located, LocatedDocument, read_located
from fo1.geometry import Size
from fo1.imaging import load_image

CORNERS: Final[Mapping[str, tuple[int, int | None]]] = {
    "rectangle": (2, 4),  # newer files list all four corners
    "oriented_rectangle": (4, 4),
    "rotation": (4, 4),
    "polygon": (3, None),
    "circle": (2, 2),  # the centre and a point on the line
    "mask": (2, 2),
}
"""Fewest and most points of each shape that has an inside."""


def convert_labelme(
    source: Path, bad: BadRows, *, pictures: Path | None = None
) -> Iterator[Record]:
    """Return one record per picture; see the module for the layout.

    All files are read twice: once for the labels.

    Args:
        source: folder, at any depth of which the files lie, or one file.
        bad: takes shapes and files that cannot be used; each counts as a row.
        pictures: folder of the pictures, where they do not lie beside their files.

    Raises:
        InputError: there is no such file, or too many rows are bad.
    """
    paths = [source] if source.is_file() else sorted(source.rglob("*.json"))
    vocabulary = _vocabulary(paths)
    root = source.parent if source.is_file() else source
    count = 0
    for path in paths:
        try:
            document = read_located(path)
            shapes = document.rows("shapes")
        except InputError as error:
            bad.seen()
            bad.drop(path, None, error)
            continue
        count += 1
        bad.seen(1 + len(shapes))
        try:
            picture = read_picture(document, pictures)
        except InputError as error:
            bad.drop(path, None, error)
            continue
        doubtful: set[str] = set()
        objects = tuple(_objects(path, shapes, picture.size, bad, vocabulary, doubtful))
        known = known_names(vocabulary, objects, doubtful)
        yield check_record(
            Record(
                key=f"labelme/{path.relative_to(root).with_suffix('').as_posix()}",
                pictures=(picture,),
                objects=objects,
                looked_for=known.looked_for,
                partial=known.partial,
                source=path.name,
            )
        )
    if not count:
        bad.check(final=True)
        raise InputError(f"{source} holds no .json file with 'shapes'; expected files of LabelMe")


def read_picture(document: LocatedDocument, pictures: Path | None = None) -> PictureRef:
    """Return the picture of a file: the one beside it if it is there, else the one inside.

    Raises:
        InputError: there is neither, or it has another size than the file says.
    """
    values, path = document.values, document.path
    size = _size(values)
    name = values.get("imagePath")
    name = name if isinstance(name, str) and name.strip() else f"{path.stem}.jpg"
    data = values.get("imageData")
    try:
        return PictureFolders([pictures or path.parent]).refer(name, size)
    except ImageError:
        if not isinstance(data, str) or not data:
            raise
    try:
        encoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"imageData is no base64 ({error}); save the file again") from error
    width, height = load_image(io.BytesIO(encoded).getvalue()).size
    if size is not None and size != (height, width):
        raise ImageError(
            f"imageData is {width} x {height} pixels but the file says {size[1]} x {size[0]}"
        )
    file = os.path.basename(name.replace("\\", "/")) or name
    return PictureRef(file, (height, width), encoded)


def read_shape(shape: Any, size: Size | None) -> tuple[str, Box]:
    """Return label and box of a shape.

    Raises:
        InputError: it has no inside, no label, or lies outside.
    """
    if not isinstance(shape, dict):
        raise InputError(f"the shape is a {type(shape).__name__}; expected an object")
    label = shape.get("label")
    if not isinstance(label, str) or not label.strip():
        raise InputError(f"the label is {short_name(repr(label), 40)}; expected a name")
    name, kind = read_name(label, "the label"), shape.get("shape_type") or "polygon"
    if not isinstance(kind, str) or kind not in CORNERS:
        known = ", ".join(CORNERS)
        raise InputError(f"a {short_name(str(kind), 30)} has no box; expected one of: {known}")
    points = shape.get("points")
    least, most = CORNERS[kind]
    if (
        not isinstance(points, list)
        or not all(is_numbers(one, 2) for one in points)
        or not least <= len(points) <= (most or len(points))
    ):
        raise InputError(
            f"the points of the {kind} are {short_name(str(points), 60)}; "
            f"expected at least {least} finite [x, y]"
        )
    box = box_around(points)
    if kind == "circle":
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        box = (x - radius, y - radius, x + radius, y + radius)
    return name, read_box(box, size, what=f"the {kind}")


def _objects(
    path: Path,
    shapes: list[Located],
    size: Size | None,
    bad: BadRows,
    vocabulary: tuple[str, ...],
    doubtful: set[str],
) -> Iterator[TrueObject]:
    """Yield the objects of a file; `doubtful` takes the labels of shapes that cannot be used."""
    groups: dict[Any, list[tuple[str, Box]]] = {}
    broken: set[Any] = set()  # groups that lack a part, so that nobody knows their box
    for number, row in enumerate(shapes):
        values: Any = row.value if isinstance(row.value, dict) else {}
        group = values.get("group_id")
        alone = not isinstance(group, int | str) or group == ""
        label = _label(row)
        key = number if alone else (label, group)
        try:
            groups.setdefault(key, []).append(read_shape(row.value, size))
        except InputError as error:
            bad.drop(path, row.line, error)
            doubtful.update(vocabulary if label is None else (label,))
            broken.add(key)
    for parts in (own for key, own in groups.items() if key not in broken):
        corners = [corner for _, box in parts for corner in (box[:2], box[2:])]
        yield TrueObject(box_around(corners), (parts[0][0],))


def _vocabulary(paths: list[Path]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for path in paths:
        try:
            rows = read_located(path).rows("shapes")
        except InputError:
            continue  # told when it is read again
        for row in rows:
            if (label := _label(row)) is not None:
                found[label] = None
    return tuple(sorted(found))


def _label(row: Located) -> str | None:
    """Return the label of a shape; None if it has none that can be used."""
    try:
        return read_name(row.value.get("label") if isinstance(row.value, dict) else None)
    except ValueError:
        return None


def _size(values: Mapping[str, Any]) -> Size | None:
    sides = [values.get("imageHeight"), values.get("imageWidth")]
    if any(side is None for side in sides):
        return None
    height, width = (check_whole(side, "a side of the picture", SIDES) for side in sides)
    return height, width
