"""Rows of annotation files whose boxes are given: regions, or one line on what is wrong with them."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from fo1.errors import InputError, short_name
from fo1.formats.broken import Broken
from fo1.formats.limits import FARTHEST, SIDES, check_length

Item = TypeVar("Item")
Row = TypeVar("Row")
Box: TypeAlias = tuple[float, float, float, float]

_SIDES = f"{SIDES[0]} to {SIDES[-1]:,} pixels"


@dataclass(frozen=True, slots=True)
class Region(Generic[Item]):
    """One region and what is to be said about it.

    Attributes:
        key: names the region; unique in its file.
        picture: where the picture should be.
        name: of the picture.
        box: xyxy pixels.
        truth: what an answer is judged by.
        image_id: number of the picture.
    """

    key: str
    picture: Path
    name: str
    box: Box
    truth: Item
    image_id: int | str | None = None


def gather(
    rows: Iterable[tuple[str, Row]], parse: Callable[[Row], Region[Item] | None]
) -> tuple[list[Region[Item]], list[Broken]]:
    """Return the regions of a file's rows, and the rows that are none.

    Args:
        rows: (what errors call the row, the row).
        parse: makes the region, or None for a row that the protocol leaves out; raises an InputError.
    """
    regions: dict[str, Region[Item]] = {}
    broken: list[Broken] = []
    for key, row in rows:
        try:
            region = parse(row)
            if region is not None and region.key in regions:
                raise InputError(f"the id {region.key!r} was there before; ids must be unique")
        except InputError as error:
            broken.append(Broken(key, str(error)))
            continue
        if region is not None:
            regions[region.key] = region
    return list(regions.values()), broken


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); unpack the data set") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); download it again") from error


def take(row: object, key: str, *kinds: type) -> Any:
    """Return one entry of a row.

    Raises:
        InputError: the row is no object, or the entry is missing or of another type.
    """
    expected = " or ".join(kind.__name__ for kind in kinds)
    if not isinstance(row, dict):
        raise InputError(f"found {type(row).__name__}; expected an object with {key!r}")
    if key not in row:
        raise InputError(f"no {key!r}; expected {expected}")
    if type(row[key]) not in kinds:  # a bool is no int here
        shown = f"{short_name(str(row[key]), 40)} ({type(row[key]).__name__})"
        raise InputError(f"{key!r} is {shown}; expected {expected}")
    return row[key]


def words(row: object, key: str) -> str:
    """Return a text of a row, spaces collapsed.

    Raises:
        InputError: it is missing, no text, too long, or nothing but spaces.
    """
    text = check_length(take(row, key, str), repr(key))
    if not text.strip():
        raise InputError(f"{key!r} is empty; expected a text")
    return " ".join(text.split())


def xywh(box: object, image: object = None) -> Box:
    """Return a box of a row as xyxy.

    Args:
        box: [x, y, width, height] in pixels.
        image: row of the picture; its width and height are looked at if it has any.

    Raises:
        InputError: not four finite numbers, no area, or wholly outside the picture, which may
            itself be none.
    """
    numbers = list(box) if isinstance(box, list | tuple) else []
    good = all(
        isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < FARTHEST
        for n in numbers
    )
    if len(numbers) != 4 or not good or min(numbers[2:]) <= 0:
        shown = short_name(repr(box))
        raise InputError(
            f"the box is {shown}, expected [x, y, width, height] in pixels with an area"
        )
    x, y, width, height = map(float, numbers)
    limits = [math.inf, math.inf]
    if isinstance(image, dict):
        for place, side in enumerate(("width", "height")):
            given = image.get(side)
            if isinstance(given, int | float):
                if not SIDES[0] <= given <= SIDES[-1]:
                    raise InputError(f"{side} is {short_name(str(given), 40)}; expected {_SIDES}")
                limits[place] = float(given)
    if x + width <= 0 or y + height <= 0 or x >= limits[0] or y >= limits[1]:
        raise InputError(
            f"the box {numbers} lies outside the picture of {limits[0]:g} x {limits[1]:g} pixels"
        )
    return x, y, x + width, y + height


def find_picture(root: Path, name: str, folders: Sequence[str]) -> Path:
    """Return where a picture lies: in one of the folders or beside them; the first one if nowhere."""
    places = [root / folder / name for folder in (*folders, ".")]
    return next((place for place in places if place.is_file()), places[0])
