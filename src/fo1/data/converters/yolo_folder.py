"""What a folder of YOLO labels holds: names of classes, pictures of the training split, a label file for each."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fo1.errors import InputError, short_name
from fo1.formats.limits import read_name
from fo1.formats.located import read_text
from fo1.imaging import PICTURE_SUFFIXES

NAME_FILES: Final = ("classes.txt", "obj.names", "names.txt", "labels.txt", "train/classes.txt")
FOLDERS: Final = ("images/train", "train/images", "train", "images", "obj_train_data", ".")
"""Where pictures lie if no data.yaml says it; the first that holds any counts."""

_OTHER_SPLITS = {"val", "valid", "test"}


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
        known = isinstance(name, str | int | float) and not isinstance(name, bool)
        if not known or not str(name).strip():
            raise InputError(
                f"{path}: name {number} is {short_name(repr(name), 40)}; put a name in quotes"
            )
        found[number] = read_name(str(name), f"{path}: name {number}")
    return found


def _names_of_lines(root: Path) -> dict[int, str]:
    for name in NAME_FILES:
        path = root / name
        if path.is_file():
            lines = read_text(path).rstrip().split("\n")
            if not all(map(str.strip, lines)):
                raise InputError(f"{path} has an empty line; expected one name a line")
            return {number: read_name(line) for number, line in enumerate(lines)}
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
