"""Records as WebDataset shards: a tar whose neighbouring members of one name before the first dot are one record."""

import re
import tarfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from fo1.data.schema import PictureRef, Record
from fo1.data.storage.files import unreadable
from fo1.data.storage.jsonl import as_json, read_json
from fo1.data.storage.pictures import picture_suffix
from fo1.data.storage.tar_members import Member, read_members
from fo1.errors import InputError, short_name
from fo1.imaging import PICTURE_SUFFIXES

_MEMBER = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
_PICTURE = re.compile(r"(?:(\d{1,6})\.)?(\w+)")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(slots=True)
class Group:
    """Members of one record: by ending, small, their place in the file; what they hold once read."""

    key: str
    start: int
    end: int = 0
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    doubled: str = ""
    held: dict[str, bytes] = field(default_factory=dict)


class TarRows:
    """Groups of a shard; the file is opened for each, so threads, forks and pickles share nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bounds = array("Q")

    def stream(self) -> Iterator[tuple[int, Group]]:
        """Yield number, from 1, and members of every group.

        Raises:
            InputError: the file cannot be read.
        """
        with _reading(self.path) as (file, members):
            for number, group in enumerate(_groups(members), start=1):
                yield number, _filled(group, file)

    def scan(self) -> int:
        """Find all groups and return how many there are.

        Raises:
            InputError: the file cannot be read.
        """
        bounds = array("Q")
        with _reading(self.path) as (_, members):
            for group in _groups(members):
                bounds.extend((group.start, group.end))
        self._bounds = bounds
        return len(bounds) // 2

    def fetch(self, index: int) -> tuple[int, Group]:
        """Return number, from 1, and members of a group that `scan` found.

        Raises:
            InputError: the file cannot be read.
        """
        start, end = self._bounds[2 * index : 2 * index + 2]
        with _reading(self.path, start) as (file, members):
            group = next(_groups(members, end), None)
            if group is None:
                raise tarfile.ReadError("it was changed while it is read")
            return index + 1, _filled(group, file)

    def parse(self, row: Group) -> Record:
        """Return the record of a group.

        Raises:
            InputError: it is none.
        """
        if row.doubled:
            raise InputError(f"{short_name(row.doubled)} is there twice; expected one")
        if "json" not in row.held:
            raise InputError(f"group {short_name(row.key)} has no .json; expected {row.key}.json")
        values = read_json(row.held["json"])
        pictures = _pictures(row)
        if isinstance(values, dict):
            values = {"key": row.key} | values
            if pictures and not values.get("pictures"):
                # Shards of others name their pictures by their members alone.
                values["pictures"] = [
                    {"file": f"{row.key}.{suffix}"} for _, (suffix, _) in sorted(pictures.items())
                ]
                pictures = dict(enumerate(one for _, one in sorted(pictures.items())))
        record = Record.from_dict(values)
        if not pictures:
            return record
        if max(pictures) >= len(record.pictures):
            raise InputError(
                f"group {short_name(row.key)} holds picture {max(pictures)}, but its record has "
                f"{len(record.pictures)}"
            )
        filled: list[PictureRef] = [
            replace(one, data=pictures[number][1]) if number in pictures else one
            for number, one in enumerate(record.pictures)
        ]
        return replace(record, pictures=tuple(filled))


class TarWriter:
    """Writes records to an open file; the same records give the same bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written = 0

    def write(self, record: Record) -> None:
        """Write one group, its json first.

        Raises:
            ImageError: what a record holds as its picture is none.
        """
        key = f"{self._written:09d}_{_NOT_IN_KEYS.sub('_', record.key)[:60]}"
        bare = replace(record, pictures=tuple(replace(one, data=None) for one in record.pictures))
        members = [("json", as_json(bare.to_dict()))]
        members += [
            (f"{number}.{picture_suffix(one)}", one.data)
            for number, one in enumerate(record.pictures)
            if one.data is not None
        ]
        for suffix, data in members:
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size = len(data)
            # tarfile's own addfile keeps a list of all members.
            self._file.write(member.tobuf(tarfile.USTAR_FORMAT))
            self._file.write(data)
            self._file.write(bytes(-len(data) % tarfile.BLOCKSIZE))
        self._written += 1

    def close(self) -> None:
        """Finish the archive and close the file."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.close()


def _groups(members: Iterator[Member], end: int | None = None) -> Iterator[Group]:
    """Yield groups of neighbouring members until one begins at `end`."""
    group: Group | None = None
    for member in members:
        if end is not None and member.start >= end:
            break
        found = _MEMBER.fullmatch(member.name)
        if found is None or member.name.startswith(
            "__"
        ):  # no part of a record, as webdataset has it
            continue
        if group is None or group.key != found[1]:
            if group is not None:
                yield group
            group = Group(found[1], member.start)
        suffix = found[2].lower()
        if suffix in group.places:
            group.doubled = member.name
        group.places[suffix] = member.data, member.size
        group.end = member.end
    if group is not None:
        yield group


def _filled(group: Group, file: IO[bytes]) -> Group:
    for suffix, (offset, size) in group.places.items():
        if suffix == "json" or _picture_number(suffix) is not None:
            file.seek(offset)
            group.held[suffix] = file.read(size)
    return group


def _pictures(group: Group) -> dict[int, tuple[str, bytes]]:
    """Return ending and bytes of the pictures by number."""
    found: dict[int, tuple[str, bytes]] = {}
    for suffix, data in group.held.items():
        number = _picture_number(suffix)
        if number is None:
            continue
        if number in found:
            raise InputError(
                f"group {short_name(group.key)} holds .{found[number][0]} and .{suffix}; "
                "number its pictures: .0.jpg, .1.png"
            )
        found[number] = suffix, data
    return found


def _picture_number(suffix: str) -> int | None:
    """Return 3 of "3.jpg", 0 of "jpg" and None of what is no picture."""
    found = _PICTURE.fullmatch(suffix)
    if found is None or f".{found[2]}" not in PICTURE_SUFFIXES:
        return None
    return int(found[1] or 0)


@contextmanager
def _reading(path: Path, start: int = 0) -> Iterator[tuple[IO[bytes], Iterator[Member]]]:
    try:
        with path.open("rb") as file:
            file.seek(start)
            yield file, read_members(file)
    except (OSError, tarfile.TarError) as error:
        raise unreadable(path, error) from error
