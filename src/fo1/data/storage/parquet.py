"""Records as Parquet: one column per field of a record, in the types below; what a record leaves out is null.

Pictures inside stand in `picture_bytes`, a list of binaries as long as `pictures`. A row is decoded with all of its
row group, so groups are written small.
"""

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Final

from fo1.data.schema import PictureRef, Record
from fo1.data.storage.files import unreadable
from fo1.errors import InputError, MissingExtraError, short_name

GROUP_ROWS: Final = 512
GROUP_BYTES: Final = 16_000_000
"""Where a row group ends: at so many rows, or bytes of pictures."""
HELD_BYTES: Final = 64_000_000
"""Row groups that a thread keeps for the next rows; one is kept however large."""

PICTURES: Final = "picture_bytes"
_STREAMED = 64  # rows that are unpacked at a time; they may hold pictures


class ParquetRows:
    """Rows of a file; each thread of each process opens it for itself, pickles carry its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: list[int] = []
        self._own = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_ends": self._ends}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _own=threading.local())

    def stream(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield number, from 1, and values of every row.

        Raises:
            InputError: the file cannot be read.
            MissingExtraError: pyarrow is not installed.
        """
        arrow, number = _pyarrow(f"reading {self.path.name}"), 0
        try:
            with arrow.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(_STREAMED, use_threads=False):
                    for values in batch.to_pylist():
                        number += 1
                        yield number, values
        except (OSError, arrow.ArrowException) as error:
            raise unreadable(self.path, error) from error

    def scan(self) -> int:
        """Find all row groups and return how many rows there are.

        Raises:
            InputError: the file cannot be read.
            MissingExtraError: pyarrow is not installed.
        """
        arrow = _pyarrow(f"reading {self.path.name}")
        try:
            found = arrow.parquet.read_metadata(self.path)
            counts = [found.row_group(number).num_rows for number in range(found.num_row_groups)]
        except (OSError, arrow.ArrowException) as error:
            raise unreadable(self.path, error) from error
        self._ends = list(accumulate(counts))
        return self._ends[-1] if counts else 0

    def fetch(self, index: int) -> tuple[int, dict[str, Any]]:
        """Return number, from 1, and values of a row.

        Raises:
            InputError: the file cannot be read.
        """
        arrow = _pyarrow(f"reading {self.path.name}")
        number = bisect_right(self._ends, index)
        first = self._ends[number - 1] if number else 0
        try:
            table = self._group(arrow, number)
            return index + 1, table.slice(index - first, 1).to_pylist()[0]
        except (OSError, arrow.ArrowException, IndexError) as error:
            raise unreadable(self.path, error) from error

    def parse(self, row: Mapping[str, Any]) -> Record:
        """Return the record of a row.

        Raises:
            InputError: it is none.
        """
        held = row.get(PICTURES) or ()
        record = Record.from_dict(
            {
                name: _told(value)
                for name, value in row.items()
                if name != PICTURES and value is not None
            }
        )
        if not held:
            return record
        if not isinstance(held, list) or len(held) != len(record.pictures):
            raise InputError(
                f"{PICTURES} is no list of {len(record.pictures)}; give one per picture"
            )
        if not all(one is None or isinstance(one, bytes) for one in held):
            raise InputError(f"{PICTURES} is no list of bytes; give encoded pictures")
        pictures = zip(record.pictures, held, strict=True)
        filled: list[PictureRef] = [replace(one, data=data) for one, data in pictures]
        return replace(record, pictures=tuple(filled))

    def _group(self, arrow: Any, number: int) -> Any:
        own = self._own.__dict__
        if own.get("process") != os.getpid():  # what a fork inherits belongs to its parent
            own.update(
                process=os.getpid(),
                file=arrow.parquet.ParquetFile(self.path),
                held=OrderedDict(),
            )
        held: OrderedDict[int, Any] = own["held"]
        if number not in held:
            held[number] = own["file"].read_row_group(number, use_threads=False)
            while len(held) > 1 and sum(table.nbytes for table in held.values()) > HELD_BYTES:
                held.popitem(last=False)
        held.move_to_end(number)
        return held[number]


class ParquetWriter:
    """Writes records to an open file.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._arrow = _pyarrow("writing Parquet")
        self._file = file
        self._writer: Any = self._arrow.parquet.ParquetWriter(
            file,
            record_schema(),
            compression="zstd",
            # Either would keep whole pictures a second time.
            use_dictionary=False,
            write_statistics=False,
        )
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def write(self, record: Record) -> None:
        """Write one row."""
        held = [one.data for one in record.pictures]
        bare = replace(record, pictures=tuple(replace(one, data=None) for one in record.pictures))
        row = bare.to_dict()
        if any(data is not None for data in held):
            row[PICTURES] = held
        self._rows.append(row)
        self._bytes += sum(len(data) for data in held if data is not None)
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Finish the table and close the file."""
        try:
            self._flush()
        finally:
            self._writer.close()
            self._file.close()

    def _flush(self) -> None:
        if self._rows:
            try:
                table = self._arrow.Table.from_pylist(self._rows, schema=record_schema())
            except UnicodeEncodeError as error:
                first, last = self._rows[0]["key"], self._rows[-1]["key"]
                raise InputError(
                    f"a text in the records {short_name(first)} to {short_name(last)} is no UTF-8 "
                    "(half of a surrogate pair); mend it, or write .jsonl"
                ) from error
            finally:
                self._rows, self._bytes = [], 0
            self._writer.write_table(table)


def record_schema() -> Any:
    """Return the `pyarrow.Schema` of a table of records.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    arrow = _pyarrow("the schema of records")
    text, whole = arrow.string(), arrow.int64()
    texts = arrow.list_(text)
    exact, numbers = arrow.list_(arrow.float64()), arrow.list_(arrow.float32())

    def rows(**fields: Any) -> Any:
        return arrow.list_(arrow.struct(list(fields.items())))

    columns = {
        "key": text,
        "pictures": rows(file=text, height=whole, width=whole),
        "objects": rows(
            box=exact,
            names=texts,
            picture=whole,
            unsure=texts,
            texts=texts,
            descriptions=texts,
            crowd=arrow.bool_(),
        ),
        "proposals": rows(boxes=arrow.list_(numbers), scores=numbers, source=text),
        "phrases": rows(text=text, objects=arrow.list_(whole)),
        "captions": texts,
        "counts": rows(noun=text, number=whole),
        "absent": texts,
        "looked_for": texts,
        "partial": texts,
        "turns": rows(question=text, answer=text),
        "source": text,
        PICTURES: arrow.list_(arrow.binary()),
    }
    return arrow.schema(list(columns.items()))


def _told(value: Any) -> Any:
    """Return a value without the fields that are null."""
    if isinstance(value, dict):
        return {name: _told(one) for name, one in value.items() if one is not None}
    return [_told(one) for one in value] if isinstance(value, list) else value


def _pyarrow(feature: str) -> ModuleType:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(feature, "pyarrow", "train") from error
    return pyarrow
