"""A folder of annotated pictures: a COCO file, and what may be said besides.

    images      exhaustive_, verified_absent_ and unsure_category_ids split the categories in three
    referring   image_id, expression, annotation_id: singles out one box
    counting    image_id, noun, answer
    absent      image_id, names: plausible things that are not there

Rows that cannot be used are told one by one; the rest is used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.detection.federated import Labelled
from fo1.formats.broken import Broken
from fo1.formats.coco import CocoFile, Fields, TrueBox, is_whole, read_coco, read_object
from fo1.formats.limits import COUNTS, SIDES, check_whole, read_name
from fo1.geometry import Size, check_boxes

T = TypeVar("T")
_Row: TypeAlias = tuple[str, Fields]
"""What errors call a row, and the row."""

LAYOUT = "annotations.json (or one .json) with its pictures beside it or in images/"
_EXHAUSTIVE, _ABSENT, _UNSURE = _LISTS = tuple(
    f"{part}_category_ids" for part in ("exhaustive", "verified_absent", "unsure")
)

_MORE = ("referring", "counting", "absent")


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One picture and what is known about it.

    Attributes:
        number: its id in the file.
        file_name: as the file calls it.
        path: the picture; it may be missing.
        image_size: (height, width).
        truth: boxes, boxes to be ignored, absent and unsure names.
        referring: (expression, row of the truth's boxes that it means).
        counting: (noun, how many).
        absent: names of plausible things that are not there; None where nobody looked for any.
    """

    number: int
    file_name: str
    path: Path
    image_size: Size
    truth: Labelled
    referring: tuple[tuple[str, int], ...]
    counting: tuple[tuple[str, int], ...]
    absent: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """Pictures that are all asked for the same names.

    Attributes:
        photos: in the order of the file.
        names: the vocabulary, in the order of the categories' ids.
        broken: rows that cannot be used.
        file: that was read.
    """

    photos: tuple[Photo, ...]
    names: tuple[str, ...]
    broken: tuple[Broken, ...]
    file: Path


def load_photo_set(data: Path) -> PhotoSet:
    """Return the pictures of a folder with a COCO file, or of such a file.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    coco = read_coco(_annotation_file(data))
    table, broken, photos = read_object(coco.path), list(coco.broken), list[Photo]()
    more = {key: _by_picture(table, key, coco, broken) for key in _MORE}
    for row in coco.pictures:
        try:
            _check_picture(row, coco)
        except ValueError as error:
            broken.append(Broken(f"image {row['id']}", str(error)))
        else:
            rows = {key: of_all.get(row["id"], ()) for key, of_all in more.items()}
            photos.append(_photo(row, coco, rows, broken))
    return PhotoSet(tuple(photos), coco.vocabulary, tuple(broken), coco.path)


def _annotation_file(data: Path) -> Path:
    if not data.is_dir():
        return data
    if (data / "annotations.json").is_file():
        return data / "annotations.json"
    files = sorted(data.glob("*.json"))
    if len(files) != 1:
        raise InputError(f"{data} holds {len(files)} .json files; give {LAYOUT}, or the file")
    return files[0]


def _find(file: Path, name: str) -> Path:
    """Return where a picture lies, or where it is expected first."""
    inner = (file.with_suffix(""), file.parent / "images")
    places = [folder / name for folder in (*filter(Path.is_dir, inner), file.parent)]
    return next((place for place in places if place.is_file()), places[0])


def _check_picture(row: Fields, coco: CocoFile) -> None:
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"file_name is {str(name)[:60]!r}, need a text")
    for side in ("width", "height"):
        check_whole(row.get(side), side, SIDES)
    seen: set[int] = set()
    lists: dict[str, str] = {}
    for key in _LISTS:
        part = row.get(key, [])
        if not isinstance(part, list):
            raise ValueError(f"{key} is {str(part)[:60]}, need a list")
        for number in part:
            known = is_whole(number) and number in coco.names and number not in seen
            if not known or lists.setdefault(coco.names[number], key) != key:
                found = str(number)[:60]
                raise ValueError(f"its lists hold {found}, need every category at most once")
            seen.add(number)


def _usable(row: Fields, coco: CocoFile, broken: list[Broken]) -> list[TrueBox]:
    """Return the boxes of a picture that can be found."""
    unlooked = {coco.names[number] for key in (_ABSENT, _UNSURE) for number in row.get(key, ())}
    usable: list[TrueBox] = []
    for one in coco.boxes[row["id"]]:
        try:
            x1, y1, x2, y2 = one.box
            if x2 <= x1 or y2 <= y1:
                raise ValueError("bbox has a side of 0, need more")
            check_boxes([one.box], (row["height"], row["width"]), where="bbox")
            if not one.crowd and one.name in unlooked:
                raise ValueError(f"{one.name!r} is boxed, but listed as absent or unsure")
            usable.append(one)
        except ValueError as error:
            broken.append(Broken(f"annotation {one.number}", str(error)))
    return usable


def _photo(
    row: Fields, coco: CocoFile, more: Mapping[str, Sequence[_Row]], broken: list[Broken]
) -> Photo:
    boxes = _usable(row, coco, broken)
    due = [one for one in boxes if not one.crowd]
    place = {one.number: index for index, one in enumerate(due)}
    absent = _read(more["absent"], _names, broken)
    return Photo(
        number=row["id"],
        file_name=row["file_name"],
        path=_find(coco.path, row["file_name"]),
        image_size=(row["height"], row["width"]),
        truth=_labelled(row, due, [one for one in boxes if one.crowd], coco),
        referring=_read(more["referring"], partial(_expression, place), broken),
        counting=_read(more["counting"], _count, broken),
        absent=tuple(dict.fromkeys(chain(*absent))) if absent else None,
    )


def _labelled(
    row: Fields, due: Sequence[TrueBox], ignore: Sequence[TrueBox], coco: CocoFile
) -> Labelled:
    place = {name: index for index, name in enumerate(coco.vocabulary)}
    present, absent = ({coco.names[n] for n in row.get(key, ())} for key in (_EXHAUSTIVE, _ABSENT))
    if not any(key in row for key in _LISTS):  # plain COCO: everything was looked for
        present = {one.name for one in (*due, *ignore)}
        absent = set(place) - present
    return Labelled(
        boxes=np.array([one.box for one in due], float).reshape(-1, 4),
        names=np.array([place[one.name] for one in due], np.int64),
        ignore=np.array([one.box for one in ignore], float).reshape(-1, 4),
        ignore_names=np.array([place[one.name] for one in ignore], np.int64),
        absent=frozenset(place[name] for name in absent),
        unsure=frozenset(place[name] for name in set(place) - present - absent),
    )


def _by_picture(
    table: Fields, key: str, coco: CocoFile, broken: list[Broken]
) -> dict[int, list[_Row]]:
    """Return the rows of a further list by the picture that they are about."""
    rows = table.get(key, [])
    if not isinstance(rows, list):
        raise InputError(f"{coco.path}: {key!r} is no list; give a list of rows or leave it out")
    found: dict[int, list[_Row]] = {}
    for count, row in enumerate(rows, 1):
        number = row.get("image_id") if isinstance(row, dict) else None
        if is_whole(number) and number in coco.boxes:
            found.setdefault(number, []).append((f"{key} row {count}", row))
        else:
            problem = f"image_id is {str(number)[:60]}, which the file does not list"
            broken.append(Broken(f"{key} row {count}", problem))
    return found


def _read(rows: Sequence[_Row], read: Callable[[Fields], T], broken: list[Broken]) -> tuple[T, ...]:
    """Return what rows say; those that say nothing are noted."""
    said: list[T] = []
    for key, row in rows:
        try:
            said.append(read(row))
        except ValueError as error:
            broken.append(Broken(key, str(error)))
    return tuple(said)


def _expression(place: Mapping[int, int], row: Fields) -> tuple[str, int]:
    target = row.get("annotation_id")
    if not is_whole(target) or target not in place:
        raise ValueError(f"annotation_id is {str(target)[:60]}, which is no box of the picture")
    return read_name(row.get("expression", ""), "expression"), place[target]


def _count(row: Fields) -> tuple[str, int]:
    answer = check_whole(row.get("answer"), "answer", COUNTS)
    return read_name(row.get("noun", ""), "noun"), answer


def _names(row: Fields) -> list[str]:
    names = row.get("names")
    if not isinstance(names, list):
        raise ValueError(f"names is {str(names)[:60]}, need a list of names")
    return [read_name(name) for name in names]
