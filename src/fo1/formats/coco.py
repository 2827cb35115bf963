"""Annotation files as COCO and LVIS write them: every row checked, bad ones told.

Source: cocodataset.org/#format-data, lvisdataset.org/dataset.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from fo1.errors import InputError, short_name
from fo1.formats.broken import Broken
from fo1.formats.limits import FARTHEST, read_name
from fo1.formats.located import WHOLE, Located, LocatedDocument, read_located

Fields: TypeAlias = Mapping[str, Any]
"""One row of a file."""

_LISTS = ("images", "annotations", "categories")
_ID_FIELDS = {"id", "image_id", "category_id"}
_DIGITS = 18
_LARGEST_AREA = 1e10
"""Where the largest range of size ends."""


@dataclass(frozen=True, slots=True)
class TrueBox:
    """One annotation.

    Attributes:
        box: xyxy, pixels of the picture.
        name: what is in it.
        crowd: whether it holds many.
        area: of what is in it, square pixels, as the file says; of the box if it says nothing.
        number: id of the annotation.
        line: of the file, on which it begins.
    """

    box: tuple[float, float, float, float]
    name: str
    crowd: bool
    area: float
    number: int = 0
    line: int | None = None


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One annotation file.

    Attributes:
        path: where it lies.
        names: by number of the category, in rising order; several numbers may have one name.
        categories: the rows themselves, by number.
        pictures: rows whose id is a whole number and stands there once, in the order of the file.
        boxes: by id of the picture, in the order of the file.
        broken: rows that cannot be used.
        lines: of the file, on which the rows of pictures begin, by id of the picture.
        rows: how many there are of all kinds, broken ones too.
        doubtful: by id of the picture, the names of its broken annotations; all names where one does not say its own.
    """

    path: Path
    names: Mapping[int, str]
    categories: Mapping[int, Fields]
    pictures: tuple[Fields, ...]
    boxes: Mapping[int, tuple[TrueBox, ...]]
    broken: tuple[Broken, ...]
    lines: Mapping[int, int] = field(default_factory=dict[int, int])
    rows: int = 0
    doubtful: Mapping[int, frozenset[str]] = field(default_factory=dict[int, frozenset[str]])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The names, each once, by rising number of the category."""
        return tuple(dict.fromkeys(self.names.values()))

    @property
    def numbers(self) -> Mapping[str, int]:
        """The first category's id, by name."""
        return {name: number for number, name in sorted(self.names.items(), reverse=True)}

    def listed(self, row: Fields, field: str) -> tuple[str, ...]:
        """Return the names of the categories that a picture lists in a field.

        Raises:
            InputError: it lists something else.
        """
        numbers = row.get(field)
        if not isinstance(numbers, list) or not all(map(is_whole, numbers)):
            raise InputError(f"{field} is {str(numbers)[:60]}, need a list of category ids")
        unknown = [number for number in numbers if number not in self.names]
        if unknown:
            raise InputError(f"{field} names category {unknown[0]}, which the file does not list")
        return tuple(dict.fromkeys(self.names[number] for number in numbers))


def read_coco(path: Path, spaces_for: str = "", *, any_ids: bool = False) -> CocoFile:
    """Return an annotation file.

    Args:
        path: the file.
        spaces_for: characters that stand for spaces in its names, for example "_".
        any_ids: also take ids that are texts or whole floats, as tools other than COCO's write them; a text
            that is no number gets one below 0.

    Raises:
        InputError: it is missing or is something else; names what is expected.
    """
    if not path.is_file():
        raise InputError(f"{path} cannot be read; see docs/evaluation.md for the layout")
    table = read_located(path, leave_out=("segmentation", "keypoints"))
    if WHOLE in table.lists:
        raise InputError(f"{path} holds a list; expected a COCO annotation file")
    missing = [name for name in _LISTS if name not in table.lists]
    if missing:
        raise InputError(f"{path}: no list {missing[0]!r}; expected a COCO file with {_LISTS}")
    if any_ids:
        _number_ids(table)
    broken: list[Broken] = []
    categories, names = _categories(table.rows("categories"), spaces_for, broken)
    if not names:
        raise InputError(f"{path}: no category with a name; expected a COCO file of detection")
    images = _with_ids(table.rows("images"), "image", broken)
    boxes: dict[int, list[TrueBox]] = {row.value["id"]: [] for row in images}
    usable: set[int] = set()
    for row in _with_ids(table.rows("annotations"), "annotation", broken):
        try:
            boxes[_known(row.value, "image_id", boxes)].append(_true_box(row, names))
        except ValueError as error:
            broken.append(Broken(f"annotation {row.value['id']}", str(error), row.line))
        else:
            usable.add(id(row))
    return CocoFile(
        path,
        names,
        categories,
        tuple(row.value for row in images),
        {number: tuple(each) for number, each in boxes.items()},
        tuple(broken),
        {row.value["id"]: row.line for row in images},
        sum(len(table.rows(name)) for name in _LISTS),
        _doubtful(
            (row for row in table.rows("annotations") if id(row) not in usable), boxes, names
        ),
    )


def read_object(path: Path) -> Mapping[str, Any]:
    """Return the JSON object of a file.

    Raises:
        InputError: it is missing or is something else.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read; see docs/evaluation.md for the layout") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON; expected a COCO annotation file") from error
    if not isinstance(table, dict):
        raise InputError(f"{path} holds a {type(table).__name__}; expected a COCO annotation file")
    return table


def _number_ids(table: LocatedDocument) -> None:
    """Make numbers of ids that are texts or floats, the same one wherever an id stands."""
    numbers: dict[str, int] = {}

    def number(value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if not isinstance(value, str) or not value.strip():
            return value
        if value.isascii() and value.isdigit() and len(value) < _DIGITS:
            return int(value)
        return numbers.setdefault(value, -1 - len(numbers))

    for name in _LISTS:
        for row in table.rows(name):
            if isinstance(row.value, dict):
                for id_field in _ID_FIELDS & row.value.keys():
                    row.value[id_field] = number(row.value[id_field])


def _categories(
    rows: Iterable[Located], spaces_for: str, broken: list[Broken]
) -> tuple[dict[int, Fields], dict[int, str]]:
    categories: dict[int, Fields] = {}
    names: dict[int, str] = {}
    for row in sorted(_with_ids(rows, "category", broken), key=lambda row: row.value["id"]):
        number, name = row.value["id"], row.value.get("name")
        try:
            if isinstance(name, str):
                name = name.translate({ord(mark): " " for mark in spaces_for})
            name = read_name(name)
        except ValueError as error:
            broken.append(Broken(f"category {number}", str(error), row.line))
            continue
        categories[number], names[number] = row.value, name
    return categories, names


def _with_ids(rows: Iterable[Located], what: str, broken: list[Broken]) -> list[Located]:
    """Return the rows that have an id of their own; the second row with an id is broken."""
    seen: set[int] = set()
    found: list[Located] = []
    for place, row in enumerate(rows, 1):
        number = row.value.get("id") if isinstance(row.value, dict) else None
        key = f"{what} row {place}"
        if not is_whole(number):
            shown = short_name(repr(number), 60)
            broken.append(Broken(key, f"its id is {shown}, need a number", row.line))
        elif number in seen:
            broken.append(Broken(key, f"its id {number} stands there twice", row.line))
        else:
            seen.add(number)
            found.append(row)
    return found


def _true_box(located: Located, names: Mapping[int, str]) -> TrueBox:
    """Return an annotation.

    Raises:
        ValueError: it is none; says what was found.
    """
    row: Fields = located.value
    name = names[_known(row, "category_id", names)]
    box = row.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_pixel, box))):
        raise ValueError(f"bbox is {str(box)[:60]}, need [x, y, width, height] in pixels")
    x, y, width, height = map(float, box)
    if min(width, height) < 0:
        raise ValueError(f"bbox has the sides {width:g} and {height:g}, need 0 or more")
    area, crowd = row.get("area", width * height), row.get("iscrowd", 0)
    if not _is_number(area) or not 0 <= area <= _LARGEST_AREA:  # no range of size would have it
        raise ValueError(f"area is {str(area)[:60]}, need a number from 0 to {_LARGEST_AREA:g}")
    if crowd not in (0, 1):
        raise ValueError(f"iscrowd is {str(crowd)[:60]}, need 0 or 1")
    corners = (x, y, x + width, y + height)
    return TrueBox(corners, name, bool(crowd), float(area), row["id"], located.line)


def _doubtful(
    broken: Iterable[Located], pictures: Collection[int], names: Mapping[int, str]
) -> dict[int, frozenset[str]]:
    """Return the names of broken annotations by picture, as far as they say where and what they are."""
    found: dict[int, frozenset[str]] = {}
    for row in broken:
        values: Fields = row.value if isinstance(row.value, dict) else {}
        picture, category = values.get("image_id"), values.get("category_id")
        if is_whole(picture) and picture in pictures:
            name = names.get(category) if is_whole(category) else None
            doubted = names.values() if name is None else (name,)
            found[picture] = found.get(picture, frozenset()).union(doubted)
    return found


def _known(row: Fields, field: str, known: Mapping[int, Any]) -> int:
    value = row.get(field)
    if not is_whole(value) or value not in known:
        raise ValueError(f"{field} is {str(value)[:60]}, which the file does not list")
    return value


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pixel(value: object) -> bool:
    return _is_number(value) and abs(value) < FARTHEST  # NaN fails as well
