"""Records as JSON lines: one object a line, UTF-8; empty lines do not count."""

import gzip
import json
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fo1.data.schema import Record
from fo1.data.storage.files import unreadable
from fo1.errors import InputError


class JsonlRows:
    """Lines of a file.

    A line is found by its offset and the file is opened for each, so threads, forks and pickles share nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets = array("Q")
        self._lines = array("Q")

    def stream(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and bytes of every line that is not empty.

        Raises:
            InputError: the file cannot be read.
        """
        try:
            with self._open() as file:
                for number, line in enumerate(file, start=1):
                    if not line.isspace():
                        yield number, line
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(self.path, error) from error

    def scan(self) -> int:
        """Find all lines and return how many there are.

        Raises:
            InputError: the file cannot be read, or is packed.
        """
        if self.path.suffix.lower() == ".gz":
            raise InputError(
                f"{self.path} is packed, so records cannot be read by number; run: gunzip -k {self.path}"
            )
        offsets, lines, offset = array("Q"), array("Q"), 0
        try:
            with self._open() as file:
                for number, line in enumerate(file, start=1):
                    if not line.isspace():
                        offsets.append(offset)
                        lines.append(number)
                    offset += len(line)
        except OSError as error:
            raise unreadable(self.path, error) from error
        self._offsets, self._lines = offsets, lines
        return len(offsets)

    def fetch(self, index: int) -> tuple[int, bytes]:
        """Return number and bytes of a line that `scan` found.

        Raises:
            InputError: the file cannot be read.
        """
        try:
            with self._open() as file:
                file.seek(self._offsets[index])
                return self._lines[index], file.readline()
        except OSError as error:
            raise unreadable(self.path, error) from error

    def parse(self, row: bytes) -> Record:
        """Return the record of a line.

        Raises:
            InputError: it is none.
        """
        return Record.from_dict(read_json(row))

    def _open(self) -> IO[bytes] | gzip.GzipFile:
        if self.path.suffix.lower() == ".gz":
            return gzip.open(self.path, "rb")
        return self.path.open("rb")


class JsonlWriter:
    """Writes records to an open file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, record: Record) -> None:
        """Write one line."""
        self._file.write(as_json(record.to_dict()) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def as_json(values: dict[str, Any]) -> bytes:
    """Return JSON on one line; a lone surrogate, which UTF-8 does not have, stays an escape."""
    try:
        return json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(values).encode()


def read_json(row: bytes) -> Any:
    """Return what JSON says.

    Raises:
        InputError: it is none.
    """
    try:
        return json.loads(row.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON ({error}); expected one object") from error
