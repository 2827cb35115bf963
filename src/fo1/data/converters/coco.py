"""COCO detection, as it is published and as labelling tools export it.

    my_data.json                                    the file itself, pictures beside it or in images/
    folder/annotations.json                         pictures beside it or in images/
    folder/annotations/instances_train2017.json     pictures in train2017/
    folder/train/_annotations.coco.json             pictures beside it (Roboflow)

Of a folder with several splits the training split is taken, and no other: validation and test are for measuring.
To learn from another one, name its file. Every name was looked for in every picture, so a picture without boxes
teaches what is not there. A crowd keeps its box and is marked. The supercategory is no name of an object: "vehicle"
is not what a car is called.

Source: cocodataset.org/#format-data.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.conversion import BadRows
from fo1.data.converters.known_names import known_names
from fo1.data.converters.picture_files import PictureFolders, read_box
from fo1.data.schema import PictureRef, Record, TrueObject, check_record
from fo1.errors import InputError
from fo1.formats.coco import CocoFile, Fields, read_coco
from fo1.formats.limits import SIDES, check_whole
from fo1.geometry import Size

LAYOUTS: Final = (
    "annotations.json",
    "_annotations.coco.json",
    "train/_annotations.coco.json",
    "annotations/instances_train*.json",
    "annotations/instances_default.json",
    "annotations/train.json",
    "annotations/*train*.json",
    "train/annotations.json",
    "train.json",
    "instances_train*.json",
    "instances*.json",
    "result.json",
    "labels.json",
    "annotations/*.json",
    "*.json",
)
"""Where annotation files lie in a folder; the first one that exists counts."""

NOT_FOR_TRAINING: Final = frozenset(
    ("val", "valid", "validation", "test", "captions", "keypoints", "panoptic", "stuff")
)
"""Words in the names of files that hold no training boxes."""


def convert_coco(source: Path, bad: BadRows, *, pictures: Path | None = None) -> Iterator[Record]:
    """Return one record per picture; see the module for the layouts.

    Args:
        source: folder or annotation file.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures, where they do not lie as the format says.

    Raises:
        InputError: there is no annotation file, it is something else, or too many rows are bad.
    """
    path = find_annotations(source)
    file = read_coco(path, any_ids=True)
    count_broken(file, bad)
    folders = PictureFolders(picture_folders(path, pictures))
    keys: set[str] = set()
    for row in file.pictures:
        number, line = row["id"], file.lines[row["id"]]
        try:
            picture = refer_picture(row, folders)
            key = f"coco/{number if number >= 0 else row['file_name']}"
            if key in keys:
                raise InputError(f"the picture {key[5:]!r} was there before")
        except InputError as error:
            bad.drop(path, line, error)
            continue
        keys.add(key)
        objects, doubtful = true_objects(file, number, picture, bad, {})
        known = known_names(file.vocabulary, objects, doubtful)
        yield check_record(
            Record(
                key=key,
                pictures=(picture,),
                objects=objects,
                looked_for=known.looked_for,
                partial=known.partial,
                source=f"{path.name}:{line}",
            )
        )


def find_annotations(source: Path) -> Path:
    """Return the annotation file of a folder's training split, or the file itself.

    Raises:
        InputError: there is none, or several that are alike.
    """
    if source.is_file():
        return source
    for pattern in LAYOUTS:
        found = sorted(
            path
            for path in source.glob(pattern)
            if path.is_file() and ("*" not in pattern or _may_train(path))
        )
        if len(found) > 1 and "train" not in pattern:
            names = ", ".join(path.name for path in found[:4])
            raise InputError(f"{source} holds several annotation files ({names}); name one of them")
        if found:
            return found[-1]  # of instances_train2014 and 2017 the later
    raise InputError(
        f"{source} holds no COCO file for training; expected {LAYOUTS[0]}, {LAYOUTS[3]} or {LAYOUTS[2]}"
    )


def picture_folders(path: Path, pictures: Path | None) -> list[Path]:
    """Return the folders in which the pictures of an annotation file may lie.

    Args:
        path: the annotation file.
        pictures: the folder that somebody named; the only one then, with its subfolder of the split.
    """
    split = path.stem.removeprefix("instances_").removesuffix(".coco")
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    if pictures is not None:
        return [pictures, pictures / split]
    named = [root / split, root / "images" / split, root / "images", root / "data", root]
    return [*(folder for folder in named if folder.is_dir()), path.parent]


def refer_picture(row: Fields, folders: PictureFolders, *, field: str = "file_name") -> PictureRef:
    """Return the picture of a row of `images`.

    Raises:
        InputError: the row names none, it is not there, or it has another size than the row says.
    """
    name = row.get(field)
    if not isinstance(name, str):
        raise InputError(f"{field} is {str(name)[:60]}; expected a file's name")
    return folders.refer(name, row_size(row))


def row_size(row: Fields) -> Size | None:
    """Return (height, width) that a row of `images` tells; None where it tells none.

    Raises:
        InputError: a side is told that is none.
    """
    height, width = row.get("height"), row.get("width")
    if height is None or width is None:
        return None
    return _side(height, "height"), _side(width, "width")


def count_broken(file: CocoFile, bad: BadRows) -> None:
    """Count all rows of a file, and those that its reader could not use.

    Raises:
        InputError: too many rows are bad.
    """
    bad.seen(file.rows)
    for one in file.broken:
        bad.drop(file.path, one.line, f"{one.key}: {one.problem}")


def true_objects(
    file: CocoFile,
    number: int,
    picture: PictureRef,
    bad: BadRows,
    names: dict[str, tuple[str, ...]],
) -> tuple[tuple[TrueObject, ...], frozenset[str]]:
    """Return the boxes of a picture, and the names of those that cannot be used; boxes of nothing are bad rows.

    Args:
        file: the annotations.
        number: id of the picture.
        picture: with its size.
        bad: takes the bad rows.
        names: all names of a category by the one that the file goes by; others have that alone.

    Raises:
        InputError: too many rows are bad.
    """
    found: list[TrueObject] = []
    doubtful = set(file.doubtful.get(number, ()))
    for one in file.boxes[number]:
        try:
            box = read_box(one.box, picture.size, what=f"bbox of annotation {one.number}")
        except InputError as error:
            bad.drop(file.path, one.line, error)
            doubtful.add(one.name)
            continue
        found.append(TrueObject(box, names.get(one.name, (one.name,)), crowd=one.crowd))
    return tuple(found), frozenset(doubtful)


def _side(value: Any, what: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return check_whole(value, what, SIDES)


def _may_train(path: Path) -> bool:
    return not NOT_FOR_TRAINING.intersection(re.split(r"[^a-z]+", path.stem.lower()))
