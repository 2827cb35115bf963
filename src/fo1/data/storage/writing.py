"""`write_records`: records -> a file, or shards, that are there whole or not at all."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Literal, Protocol

from fo1.data.schema import Record
from fo1.data.storage.files import (
    Beside,
    is_pattern,
    shard_path,
    suffix_of,
    telling,
    written_beside,
)
from fo1.data.storage.jsonl import JsonlWriter
from fo1.data.storage.parquet import ParquetWriter
from fo1.data.storage.pictures import embedding, referring
from fo1.data.storage.webdataset import TarWriter
from fo1.errors import InputError, short_name

SHARD_SIZE: Final = 10_000
"""Records of a shard where only a pattern is given."""


class RecordWriter(Protocol):
    """Writes records to one open file."""

    def write(self, record: Record) -> None:
        """Write one record."""

    def close(self) -> None:
        """Finish and close the file."""


_WRITERS: dict[str, Callable[[IO[bytes]], RecordWriter]] = {
    ".jsonl": JsonlWriter,
    ".parquet": ParquetWriter,
    ".tar": TarWriter,
}


def write_records(
    records: Iterable[Record],
    path: str | os.PathLike[str],
    *,
    pictures: Literal["refer", "embed", "keep"],
    shard_size: int | None = None,
    root: Path | None = None,
) -> int:
    """Write records and return how many there were.

    A single file takes the place of an older one when all is written. Shards appear together when all are written.

    Args:
        records: are taken one after another.
        path: ends in .jsonl, .parquet or .tar; "train-%06d.tar" names shards.
        pictures: "refer" names their files, relative where they lie in the folder of `path`; "embed" puts their
            bytes inside; "keep" leaves inside what is inside and names the others' files.
        shard_size: records of one shard; without it, one file, or `SHARD_SIZE` where `path` is a pattern.
        root: folder that relative paths of the records start from; None for the current one.

    Raises:
        InputError: the path or a record cannot be written, or shards of that name are there already.
        ImageError: a picture to embed cannot be read.
        MissingExtraError: the file is Parquet and pyarrow is not installed.
    """
    target = Path(path)
    make = _WRITERS.get(suffix_of(target))
    if make is None:
        raise InputError(f"cannot write {target.name}; give .jsonl, .parquet or .tar")
    if pictures not in ("refer", "embed", "keep"):
        raise InputError(f"pictures is {pictures!r}; expected 'refer', 'embed' or 'keep'")
    if shard_size is not None and shard_size < 1:
        raise InputError(f"shard_size is {shard_size}; expected 1 or more")
    if shard_size is None and is_pattern(target):
        shard_size = SHARD_SIZE
    _check_place(target, sharded=shard_size is not None)
    with written_beside() as beside:
        shards = _Shards(target, shard_size, make, beside)
        try:
            for record in records:
                if pictures == "embed":
                    shards.write(embedding(record, root))
                else:
                    inside = pictures == "keep"
                    shards.write(referring(record, root, target.parent, keep_inside=inside))
        except BaseException:
            with suppress(Exception):  # what it writes is thrown away; the first error is told
                shards.close()
            raise
        shards.close()
    return shards.written


class _Shards:
    """The file being written, and the next one when it is full."""

    def __init__(
        self,
        target: Path,
        size: int | None,
        make: Callable[[IO[bytes]], RecordWriter],
        beside: Beside,
    ) -> None:
        self.written = 0
        self._target, self._size, self._make, self._beside = target, size, make, beside
        self._writer = self._open(0)

    def write(self, record: Record) -> None:
        with telling(self._target):
            if self._size and self.written and not self.written % self._size:
                self._writer.close()
                self._writer = self._open(self.written // self._size)
            self._writer.write(record)
        self.written += 1

    def close(self) -> None:
        with telling(self._target):
            self._writer.close()

    def _open(self, number: int) -> RecordWriter:
        target = self._target if self._size is None else shard_path(self._target, number)
        return self._make(self._beside.open(target))


def _check_place(target: Path, *, sharded: bool) -> None:
    """Check that a file or shards can be put there.

    Raises:
        InputError: they cannot.
    """
    if not target.parent.is_dir():
        raise InputError(f"folder {short_name(str(target.parent))} is missing; create it")
    first = shard_path(target, 0) if sharded else target
    if first.is_dir():
        raise InputError(f"{short_name(str(first))} is a folder; give a file name")
    if sharded and first.exists():
        # Those of a longer run before would be read as part of this one.
        raise InputError(
            f"{short_name(str(first))} is there already; remove its shards or give another name"
        )
