"""Stored records one after another, or by number."""

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Protocol, overload

from fo1.data.converters.conversion import BadRows
from fo1.data.schema import Record
from fo1.data.storage.files import find_files, suffix_of, unreadable
from fo1.data.storage.jsonl import JsonlRows
from fo1.data.storage.parquet import ParquetRows
from fo1.data.storage.pictures import located
from fo1.data.storage.webdataset import TarRows
from fo1.errors import InputError, short_name

_EDGE = 2**20  # bytes at either end of a file that its fingerprint is of


class StoredRows(Protocol):
    """Rows of one file, of any kind: `parse` makes the record of what `stream` and `fetch` give."""

    path: Path

    def stream(self) -> Iterator[tuple[int, Any]]:
        """Yield number, from 1, and contents of every row."""
        ...

    def scan(self) -> int:
        """Get ready for `fetch` and return how many rows there are."""
        ...

    def fetch(self, index: int) -> tuple[int, Any]:
        """Return number, from 1, and contents of a row."""
        ...

    def parse(self, row: Any) -> Record:
        """Return the record of a row."""
        ...


_ROWS: Final[dict[str, Callable[[Path], StoredRows]]] = {
    ".jsonl": JsonlRows,
    ".jsonl.gz": JsonlRows,
    ".parquet": ParquetRows,
    ".tar": TarRows,
}


def stream_records(path: str | os.PathLike[str], bad: BadRows | None = None) -> Iterator[Record]:
    """Yield records one after another, in constant memory.

    Args:
        path: a file, a pattern such as "train-*.tar", or a folder of files of one kind.
        bad: takes rows that are no records; the caller checks it at the end. Without it, the first one raises.

    Raises:
        InputError: there is no such file, one cannot be read, or rows are bad; names file and line (of Parquet and
            tar: the number of the row, from 1).
        MissingExtraError: a file is Parquet and pyarrow is not installed.
    """
    for file in find_files(path):
        yield from _records(_ROWS[suffix_of(file)](file), bad)


class RecordFile(Sequence[Record]):
    """Records of a file, or of all files of a pattern or folder, by number.

    Rows are found once and parsed when they are read, so a bad one raises then. Threads, forks and pickles
    may use one: nothing open is shared.

    Args:
        path: as for `stream_records`; .jsonl.gz cannot be read by number.

    Attributes:
        files: their absolute paths, in order.

    Raises:
        InputError: there is no such file, or one cannot be read.
        MissingExtraError: a file is Parquet and pyarrow is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.files = find_files(path)
        self._rows = tuple(_ROWS[suffix_of(file)](file) for file in self.files)
        self._counts = tuple(rows.scan() for rows in self._rows)
        self._ends = tuple(accumulate(self._counts))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Record, ...]: ...

    def __getitem__(self, index: int | slice) -> Record | tuple[Record, ...]:
        """Return one record, or several.

        Raises:
            InputError: a row is no record, or its file cannot be read; names file and line.
        """
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        try:
            index = range(len(self))[index]
        except IndexError:
            raise IndexError(f"record {index} of {len(self)}") from None
        number = bisect_right(self._ends, index)
        rows = self._rows[number]
        line, row = rows.fetch(index - (self._ends[number - 1] if number else 0))
        try:
            return located(rows.parse(row), rows.path.parent)
        except InputError as error:
            raise _at(rows.path, line, error) from error

    def __iter__(self) -> Iterator[Record]:
        for rows in self._rows:
            yield from _records(rows)

    def __repr__(self) -> str:
        return f"RecordFile({short_name(str(self.files[0]))!r}, {len(self.files)} files, {len(self)} records)"

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change with the data: of each file its name, size, count, and first and last megabyte.

        They stay when the folder moves. A change of the same length in the middle of a large file is not seen.

        Raises:
            InputError: a file cannot be read.
        """
        found = hashlib.sha256()
        for path, count in zip(self.files, self._counts, strict=True):
            try:
                size = path.stat().st_size
                found.update(f"{size} {count} ".encode() + os.fsencode(path.name) + b"\0")
                with path.open("rb") as file:
                    found.update(file.read(_EDGE))
                    file.seek(max(size - _EDGE, 0))
                    found.update(file.read(_EDGE))
            except OSError as error:
                raise unreadable(path, error) from error
        return found.hexdigest()


def _records(rows: StoredRows, bad: BadRows | None = None) -> Iterator[Record]:
    for number, row in rows.stream():
        if bad is not None:
            bad.seen()
        try:
            record = rows.parse(row)
        except InputError as error:
            if bad is None:
                raise _at(rows.path, number, error) from error
            bad.drop(rows.path, number, error)
            continue
        yield located(record, rows.path.parent)


def _at(path: Path, number: int, error: InputError) -> InputError:
    return InputError(f"{short_name(str(path))}:{number}: {error}")
