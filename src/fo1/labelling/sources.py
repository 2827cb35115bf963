"""What a folder or a file says of pictures: path by path, without opening one."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fo1.errors import InputError, short_name
from fo1.formats.coco import is_whole
from fo1.formats.located import read_located
from fo1.imaging import PICTURE_SUFFIXES

FIELDS: Final = ("image", "path", "file", "file_name", "filename")
"""Columns and fields that name a picture; the first that is there counts."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a source.

    Attributes:
        path: absolute.
        number: its id, where the source gives one.
    """

    path: str
    number: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Pictures of a source.

    Attributes:
        base: folder that relative paths start from, absolute.
        entries: one after another; reading may fail.
    """

    base: Path
    entries: Iterator[Entry]


def find_entries(source: Path, base: Path | None, *, leave_out: Path) -> Found:
    """Return the pictures of a folder or a file.

    Args:
        source: see `fo1.labelling.pictures`.
        base: where relative paths of a file start from; its own folder if None.
        leave_out: folder whose pictures do not count.

    Raises:
        InputError: there are none, or the source is something else; while reading as well.
    """
    name = short_name(str(source))
    if source.is_dir():
        if base is not None:
            raise InputError(f"{name} is a folder, whose pictures lie in it; leave --pictures out")
        if os.path.realpath(source) == os.path.realpath(leave_out):
            raise InputError(f"--out {name} is the folder of the pictures; give another")
        walked = _walk(os.path.abspath(source), os.path.realpath(leave_out))
        return Found(Path(os.path.abspath(source)), _some(walked, f"{name} holds no picture files"))
    if not source.exists():
        raise InputError(f"{name} does not exist; give a folder of pictures or a list of them")
    suffix = source.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        raise InputError(f"{name} is a picture; give its folder, or use fo1 detect")
    if suffix not in _READERS:
        raise InputError(
            f"{name} is no list of pictures; give a folder, or a file {', '.join(_READERS)}"
        )
    if base is not None and not base.is_dir():
        raise InputError(f"--pictures {short_name(str(base))} is no folder; give one")
    start = Path(os.path.abspath(source.parent if base is None else base))
    listed = (Entry(_full(path, start, where), number) for where, path, number in _read(source))
    return Found(start, _some(listed, f"{name} names no pictures"))


def _some(entries: Iterator[Entry], none: str) -> Iterator[Entry]:
    """Yield the entries.

    Raises:
        InputError: there is none.
    """
    empty = True
    for one in entries:
        empty = False
        yield one
    if empty:
        raise InputError(f"{none}; give others")


def _walk(top: str, leave_out: str) -> Iterator[Entry]:
    """Yield the picture files below a folder, folder by folder by name; each folder once, however it is linked."""
    seen, waiting = set[str](), [top]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen or real == leave_out:
            continue
        seen.add(real)
        try:
            with os.scandir(folder) as items:
                inside = sorted(
                    ((one.name, one.path, one.is_dir()) for one in items if one.name[0] != "."),
                )
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(
                f"folder {short_name(folder)} cannot be read ({reason}); change its permissions"
            ) from error
        waiting += [path for _, path, folder in reversed(inside) if folder]
        for name, path, is_folder in inside:
            if is_folder or not name.lower().endswith(PICTURE_SUFFIXES):
                continue
            if os.path.isfile(path) or not os.path.exists(path):  # no pipe, on which reading waits
                yield Entry(path)


Row = tuple[str, Any, int | None]
"""Where it stands, for errors; the path, whatever somebody wrote; the id."""


def _read(source: Path) -> Iterator[Row]:
    try:
        yield from _READERS[source.suffix.lower()](source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"cannot read {short_name(str(source))} ({reason}); give a list in UTF-8"
        ) from error


def _full(path: Any, base: Path, where: str) -> str:
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise InputError(f"{where}: {short_name(repr(path), 60)} is no path of a picture")
    if "://" in path or path[:5].lower() == "data:":
        raise InputError(f"{where}: {short_name(path, 60)} is no file; download it first")
    return os.path.normpath(os.path.join(base, path))


def _lines(source: Path) -> Iterator[Row]:
    with source.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{source.name} line {number}", line.strip(), None


def _csv(source: Path) -> Iterator[Row]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        column = _field(rows.fieldnames or (), f"{source.name} has no column")
        for row in rows:
            yield f"{source.name} line {rows.line_num}", row[column], None


def _jsonl(source: Path) -> Iterator[Row]:
    for where, line, _ in _lines(source):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is no JSON; write a path or an object a line") from error
        if isinstance(value, dict):
            value = value[_field(tuple(value), f"{where} has no field")]
        yield where, value, None


def _coco(source: Path) -> Iterator[Row]:
    leave_out = ("segmentation", "keypoints")
    rows = read_located(source, leave_out=leave_out).rows("images")
    values = [row.value if isinstance(row.value, dict) else {} for row in rows]
    numbers = [value.get("id") for value in values]
    usable = all(map(is_whole, numbers)) and len(set(numbers)) == len(numbers)
    for row, value, number in zip(rows, values, numbers, strict=True):
        where = f"{source.name} line {row.line}"
        yield where, value.get("file_name"), number if usable else None


def _field(names: Any, none: str) -> str:
    found = next((field for field in FIELDS if field in names), None)
    if found is None:
        raise InputError(f"{none} that names a picture; call it {' or '.join(FIELDS[:2])}")
    return found


_READERS: Final[dict[str, Callable[[Path], Iterator[Row]]]] = {
    ".txt": _lines,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".json": _coco,
}
