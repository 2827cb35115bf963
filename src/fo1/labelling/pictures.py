"""The pictures of a labelling run: found once, written down in order, read back in shards.

A source is one of

    a folder            its picture files at any depth; hidden files and folders are left out
    a .txt file         a path a line
    a .csv file         with a header; the column image, path, file, file_name or filename
    a .jsonl file       a path a line, as a text or as an object with one of those fields
    a .json file        a COCO file; its pictures keep their ids

Relative paths start from the folder of the file, or from another one that is given. A picture that is named twice is
taken once. All of it is written down in OUT/pictures.jsonl, {"image": name, "id": number} a line; memory holds some
bytes a picture.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

import numpy as np

from fo1.errors import InputError, short_name
from fo1.labelling.sources import Entry, find_entries

PICTURES: Final = "pictures.jsonl"
MOST_IN_SHARD: Final = 64
"""Pictures whose rows take their place together; what a kill costs at most, for each process."""
SHARDS: Final = 64
"""Shards that a small run has at least, so that many processes have work."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Pictures that one process labels; their rows are there together or not at all.

    Attributes:
        number: counted from 0.
        offset: of its first line in the list of pictures, bytes.
        count: of its pictures.
    """

    number: int
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One line of the list.

    Attributes:
        name: of its file, relative to the root, with "/" between folders.
        number: its id.
    """

    name: str
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class PictureList:
    """All pictures of a run.

    Attributes:
        file: the list.
        root: folder that their names start from.
        count: of the pictures.
        repeated: how many more times some of them were named.
        digest: SHA-256 of the list.
        in_shard: pictures of each shard but the last.
        offsets: of the shards, bytes.
    """

    file: Path
    root: Path
    count: int
    repeated: int
    digest: str
    in_shard: int
    offsets: "array[int]"

    @property
    def num_shards(self) -> int:
        """How many shards there are."""
        return len(self.offsets)

    def shard(self, number: int) -> Shard:
        """Return a shard by its number."""
        count = min(self.in_shard, self.count - number * self.in_shard)
        return Shard(number, self.offsets[number], count)

    def __iter__(self) -> Iterator[Picture]:
        with self.file.open("rb") as file:
            yield from map(_picture, file)


def read_shard(file: Path, shard: Shard) -> list[Picture]:
    """Return the pictures of a shard."""
    with file.open("rb") as lines:
        lines.seek(shard.offset)
        return [_picture(line) for line in islice(lines, shard.count)]


def list_pictures(
    source: Path, out: Path, file: IO[bytes], *, base: Path | None = None, batch_size: int = 1
) -> PictureList:
    """Find the pictures of a source and write their list.

    Args:
        source: see the module.
        out: folder of the run, where the list will lie; no picture in it belongs to the source.
        file: takes the list.
        base: where relative paths start from, instead of the folder of the file.
        batch_size: pictures that are asked together; a shard holds whole batches.

    Raises:
        InputError: there is no picture, or the source cannot be read.
    """
    found = find_entries(source, base, leave_out=out)
    with TemporaryFile() as every:
        count, root = _write_all(found.entries, found.base, every)
        paths = _repeated(lambda: (os.path.normcase(one.path) for one in _read_all(every)))
        size = -(-min(MOST_IN_SHARD, -(-count // SHARDS)) // batch_size) * batch_size
        digest, offsets, kept = _write_list(file, _read_all(every), root, paths, size)
    return PictureList(out / PICTURES, root, kept, count - kept, digest, size, offsets)


def shared_label_files(pictures: PictureList) -> tuple[str, str] | None:
    """Return two pictures whose names differ in their endings alone, or in capital letters; None if there are none."""

    def stems() -> Iterator[str]:
        return (os.path.splitext(one.name)[0].casefold() for one in pictures)

    first: dict[str, str] = {}
    twice = _repeated(stems)
    for stem, one in zip(stems(), pictures, strict=True) if twice else ():
        if _hash(stem) in twice and first.setdefault(stem, one.name) != one.name:
            return first[stem], one.name
    return None


def _write_all(entries: Iterable[Entry], base: Path, file: IO[bytes]) -> tuple[int, Path]:
    """Write all entries, and return how many there are and the folder that all lie in: the base if they do."""
    inside, common, count = os.path.join(base, ""), "", 0
    for one in entries:
        count += 1
        file.write(json.dumps([one.path, one.number]).encode() + b"\n")
        if not one.path.startswith(inside):
            folder = os.path.dirname(one.path)
            try:
                common = os.path.commonpath([common or str(base), folder])
            except ValueError as error:  # Windows
                raise InputError(
                    f"{short_name(one.path)} and {short_name(str(base))} lie on different drives; "
                    "label the pictures of each drive apart"
                ) from error
    return count, Path(common or base)


def _read_all(file: IO[bytes]) -> Iterator[Entry]:
    file.seek(0)
    return (Entry(*json.loads(line)) for line in file)


def _write_list(
    file: IO[bytes], entries: Iterable[Entry], root: Path, twice: frozenset[int], size: int
) -> tuple[str, "array[int]", int]:
    """Write each picture once; return the SHA-256 of all lines, where shards begin, and the number of lines."""
    digest, offsets, seen = hashlib.sha256(), array("Q"), set[str]()
    offset = count = 0
    for one in entries:
        same = os.path.normcase(one.path)
        if _hash(same) in twice:
            if same in seen:
                continue
            seen.add(same)
        name = os.path.relpath(one.path, root).replace(os.sep, "/")
        number = count + 1 if one.number is None else one.number
        line = json.dumps({"image": name, "id": number}).encode() + b"\n"
        if count % size == 0:
            offsets.append(offset)
        file.write(line)
        digest.update(line)
        offset, count = offset + len(line), count + 1
    return digest.hexdigest(), offsets, count


def _picture(line: bytes) -> Picture:
    row = json.loads(line)
    return Picture(row["image"], row["id"])


def _repeated(texts: Callable[[], Iterator[str]]) -> frozenset[int]:
    """Return the hashes of texts that come more than once; by chance there may be others among them."""
    hashes = np.fromiter(map(_hash, texts()), np.uint64)
    values, counts = np.unique(hashes, return_counts=True)
    return frozenset(values[counts > 1].tolist())


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
