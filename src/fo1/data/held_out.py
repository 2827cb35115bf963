"""Records to learn from and records to measure on: a fixed share, and no picture on both sides.

    hold_out({"mine": records}, 0.1, seed=0) -> {"mine": ChosenRecords}, [Record, ...]

The same records give the same parts wherever their files lie. Records are read one after another and not kept.
"""

import hashlib
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, overload

from fo1.data.schema import PictureRef, Record
from fo1.errors import InputError

FEWEST: Final = 4
"""Records from which on at least one is held out."""


class ChosenRecords(Sequence[Record]):
    """Some of a sequence's records, read when they are asked for.

    Args:
        records: all.
        numbers: of those that are chosen, in the order that they have here.
    """

    def __init__(self, records: Sequence[Record], numbers: Iterable[int]) -> None:
        self.records = records
        self.numbers = array("Q", numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self.records[number] for number in self.numbers[index]]
        return self.records[self.numbers[index]]


def hold_out(
    sources: Mapping[str, Sequence[Record]], share: float, seed: int
) -> tuple[dict[str, ChosenRecords], list[Record]]:
    """Return records to learn from by source, and those that are held out.

    Chance ranks pictures by their names, so that sources of the same pictures hold out the same ones.

    A record can be held out if it has one picture, objects, and names that were looked for. A picture that is held out
    is left out of all sources, whether it is the same file or a file of the same bytes, or lies inside a record.

    Args:
        sources: by name.
        share: of each source's records that can be held out; at least one of `FEWEST` or more, unless it is 0.
        seed: of the choice.

    Raises:
        InputError: a source has no record left to learn from.
    """
    held: list[Record] = []
    for records in sources.values():
        ranked = sorted(
            (_rank(one, seed), number) for number, one in enumerate(records) if _measurable(one)
        )
        count = round(share * len(ranked))
        if share and len(ranked) >= FEWEST:
            count = max(count, 1)
        held += [records[number] for _, number in ranked[:count]]
    pictures = _Pictures()
    for one in held:
        pictures.add(one.pictures[0])
    kept = {
        name: ChosenRecords(
            records,
            (
                number
                for number, one in enumerate(records)
                if not any(picture in pictures for picture in one.pictures)
            ),
        )
        for name, records in sources.items()
    }
    empty = [name for name, chosen in kept.items() if not chosen]
    if empty:
        raise InputError(
            f"{empty[0]} has no record left to learn from; give more, or --set held_out=0"
        )
    return kept, held


def _measurable(record: Record) -> bool:
    return len(record.pictures) == 1 and bool(record.looked_for) and bool(record.objects)


def _rank(record: Record, seed: int) -> bytes:
    picture = record.pictures[0]
    name = os.path.basename(picture.file).encode(errors="surrogateescape")
    what = name if picture.data is None else picture.data
    return hashlib.sha256(f"{seed}/".encode() + what).digest()


@dataclass(slots=True)
class _Pictures:
    """Pictures by file and by content; only files as long as one of them are read."""

    files: set[str] = field(default_factory=set[str])
    lengths: set[int] = field(default_factory=set[int])
    digests: set[bytes] = field(default_factory=set[bytes])

    def add(self, picture: PictureRef) -> None:
        if picture.data is None:
            self.files.add(picture.file)
        self.lengths.add(_length(picture))
        self.digests.add(_digest(picture))

    def __contains__(self, picture: PictureRef) -> bool:
        if picture.data is None and picture.file in self.files:
            return True
        return _length(picture) in self.lengths and _digest(picture) in self.digests


def _length(picture: PictureRef) -> int:
    """Return the bytes that a picture has; -1 for a file that is not there, which is told when it is opened."""
    if picture.data is not None:
        return len(picture.data)
    try:
        return os.path.getsize(picture.file)
    except (OSError, ValueError):
        return -1


def _digest(picture: PictureRef) -> bytes:
    if picture.data is not None:
        return hashlib.sha256(picture.data).digest()
    try:
        with open(picture.file, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (OSError, ValueError):
        return picture.file.encode(errors="surrogateescape")
