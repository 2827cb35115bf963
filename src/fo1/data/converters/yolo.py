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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.conversion import BadRows
from fo1.data.converters.picture_files import box_around, picture_size, read_box
from fo1.data.schema import Box, PictureRef, Record, TrueObject, check_record
from fo1.errors import InputError, short_name
from fo1.formats.limits import read_name
from fo1.formats.located import read_text
from fo1.geometry import Size
from fo1.imaging import PICTURE_SUFFIXES

NAME_FILES: Final = ("classes.txt", "obj.names", "names.txt", "labels.txt", "train/classes.txt")
FOLDERS: Final = ("images/train", "train/images", "train", "images", "obj_train_data", ".")
"""Where pictures lie if no data.yaml says it; the first that holds any counts."""

_OTHER_SPLITS = {"val", "valid", "test"}
_ROUNDING: Final = 0.01
"""How far numbers may lie outside [0, 1]: tools round, and draw a little over the border."""


@dataclass(frozen=True, slots=True)
class YoloFolder:
    """What a folder says of itself.

    Attributes:
        names: by number of the class.
        pictures: of the training split.
        root: that names of records start from.
    """

    names: dict[int, str]
    pictures: tuple[Path, ...]
    root: Path


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
        objects = tuple(_objects(labels, folder.names, size, bad)) if labels else ()
        yield check_record(
            Record(
                key=f"yolo/{Path(os.path.relpath(path, folder.root)).as_posix()}",
                pictures=(PictureRef(os.path.abspath(path), size),),
                objects=objects,
                looked_for=vocabulary,
                source=labels.name if labels else path.name,
            )
        )


def read_folder(source: Path, pictures: Path | None = None) -> YoloFolder:
    """Return names and training pictures of a data set.

    Raises:
        InputError: there are none.
    """
    table = find_table(source)
    root = source.parent if source.is_file() else source
    if table is None:
        return YoloFolder(
            _names_of_lines(root), _found(_pictures_below(root, pictures), root), root
        )
    content = _yaml(table)
    names = _names(content.get("names"), table)
    given = content.get("path")
    roots = [table.parent]
    if isinstance(given, str) and given.strip():
        roots.insert(0, table.parent / given)  # an absolute path replaces the folder
    if pictures is not None:
        return YoloFolder(names, _found(_listed([pictures], table), pictures), pictures)
    train = content.get("train")
    splits = [
        one for one in (train if isinstance(train, list) else [train]) if isinstance(one, str)
    ]
    if not splits:
        raise InputError(
            f"{table} names no 'train'; expected a folder, a list of them or a .txt file"
        )
    places = [_place(split, roots, table) for split in splits]
    return YoloFolder(names, _found(_listed(places, table), table), table.parent)


def find_table(source: Path) -> Path | None:
    """Return the data.yaml of a data set; None where it has none."""
    if source.is_file():
        return source if source.suffix in (".yaml", ".yml") else None
    names = ("data.yaml", "data.yml", "dataset.yaml", f"{source.name}.yaml")
    found = [source / name for name in names if (source / name).is_file()]
    return next(iter([*found, *sorted(source.glob("*.yaml"))]), None)


def label_file(picture: Path) -> Path | None:
    """Return the label file of a picture: in labels/ where it is in images/, else beside it; None if there is none."""
    parts = list(picture.parts)
    places = [picture.with_suffix(".txt")]
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        parts[last] = "labels"
        places.insert(0, Path(*parts).with_suffix(".txt"))
    return next((place for place in places if os.path.isfile(place)), None)


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


def _objects(path: Path, names: dict[int, str], size: Size, bad: BadRows) -> Iterator[TrueObject]:
    try:
        text = read_text(path)
    except InputError as error:
        bad.drop(path, None, error)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        bad.seen()
        try:
            yield read_line(line, names, size)
        except InputError as error:
            bad.drop(path, number, error)


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or error
        raise InputError(
            f"{path}{line}: no YAML ({' '.join(str(reason).split())[:100]})"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}; expected names, train and val")
    return content


def _names(names: Any, path: Path) -> dict[int, str]:
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise InputError(f"{path}: names is {short_name(str(names), 40)}; expected a list of names")
    found: dict[int, str] = {}
    for number, name in names.items():
        if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 10:
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int):
            raise InputError(f"{path}: names has the number {short_name(str(number), 40)!r}")
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise InputError(
                f"{path}: name {number} is {short_name(str(name), 40)}; put it in quotes"
            )
        found[number] = read_name(str(name), f"{path}: name {number}")
    return found


def _names_of_lines(root: Path) -> dict[int, str]:
    for name in NAME_FILES:
        path = root / name
        if path.is_file():
            lines = read_text(path).rstrip().split("\n")
            return {
                number: read_name(line, f"{path}:{number + 1}: the name")
                for number, line in enumerate(lines)
            }
    raise InputError(
        f"{root} holds neither data.yaml nor {NAME_FILES[0]}; one has to name the classes"
    )


def _place(split: str, roots: list[Path], table: Path) -> Path:
    """Return where a split lies; exports write "../train/images" for what is in fact beside their data.yaml."""
    plain = split.strip().replace("\\", "/")
    places = [root / plain for root in roots]
    places += [root / plain.removeprefix("../") for root in roots]
    for place in places:
        if place.exists():
            return place
    raise InputError(
        f"{table} names the training split {short_name(str(places[0]))}, which is not there"
    )


def _listed(places: Iterable[Path], table: Path) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from _pictures_in(place)
            continue
        for line in read_text(place).split("\n"):
            if line.strip():
                name = line.strip().replace("\\", "/")
                near = place.parent / name
                yield near if near.is_file() else table.parent / name


def _pictures_below(root: Path, pictures: Path | None) -> list[Path]:
    for folder in [pictures] if pictures else [root / one for one in FOLDERS]:
        found = _pictures_in(folder) if folder.is_dir() else []
        inside = [path for path in found if not _OTHER_SPLITS & {*path.relative_to(folder).parts}]
        if inside:
            return inside
    return []


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )


def _found(paths: Iterable[Path], place: Path) -> tuple[Path, ...]:
    found = tuple(dict.fromkeys(paths))
    if not found:
        raise InputError(
            f"found no pictures of the training split for {place}; see 'train' and 'path'"
        )
    return found
