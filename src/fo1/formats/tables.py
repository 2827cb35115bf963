"""Rows of a data set's tables: parquet, JSON or JSON lines; a broken row is told, never dropped.

data/test-00000-of-00001.parquet     as the Hugging Face hub keeps data sets
questions.jsonl, questions.json      one object a line, or one list of objects
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fo1.errors import InputError, MissingExtraError, short_name
from fo1.formats.broken import Broken
from fo1.formats.located import locate, parse_json, read_text

T = TypeVar("T")

PARQUET_ROWS = 64
"""Rows that are read at once; they may hold pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class TableRow:
    """One row.

    Attributes:
        number: its place among all rows, from 0; broken ones count.
        place: where people find it, for example "test.jsonl line 12".
        values: what it holds.
        file: in which it stands; None for a row that is made up.
        line: on which it begins, from 1; None in parquet, which has no lines.
    """

    number: int
    place: str
    values: dict[str, Any]
    file: Path | None = None
    line: int | None = None

    def take(self, name: str, kind: type[T]) -> T:
        """Return a field.

        Raises:
            InputError: it is missing or of another type.
        """
        if name not in self.values:
            raise InputError(f"no {name!r}; expected {kind.__name__}")
        value = self.values[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            shown = short_name(str(value), 40)
            raise InputError(
                f"{name!r} is {shown} ({type(value).__name__}); expected {kind.__name__}"
            )
        return value


@dataclass(slots=True)
class TableRows:
    """All rows of some tables.

    Attributes:
        files: that were read.
        rows: those that are objects with fields.
        broken: the others.
    """

    files: tuple[Path, ...]
    rows: list[TableRow] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def drop(self, row: TableRow, problem: object) -> None:
        """Notes that a row cannot be asked."""
        self.broken.append(Broken(row.place, f"{row.place}: {problem}", row.line, row.file))


def find_tables(data: Path, *patterns: str) -> tuple[Path, ...]:
    """Return the files of the first pattern that any file of a folder fits; a file itself alone.

    Raises:
        InputError: there is none; names the first pattern.
    """
    if data.is_file():
        return (data,)
    for pattern in patterns:
        if found := sorted(path for path in data.glob(pattern) if path.is_file()):
            return tuple(found)
    raise InputError(f"found no {data / patterns[0]}; see docs/evaluation.md for the layout")


def read_tables(files: Sequence[Path], extra: str = "eval") -> TableRows:
    """Return the rows of files of one kind, one after another.

    Args:
        files: the tables.
        extra: of ours that brings pyarrow to whoever reads these tables.

    Raises:
        InputError: a file cannot be read or is no table.
        MissingExtraError: a file is parquet and pyarrow is not installed.
    """
    table = TableRows(tuple(files))
    for path in files:
        parquet = path.suffix == ".parquet"
        for place, line, values in _parquet(path, extra) if parquet else _json(path):
            place, number = f"{path.name} {place}", len(table.rows) + len(table.broken)
            if isinstance(values, dict):
                table.rows.append(TableRow(number, place, values, path, line))
            else:
                kind = "no JSON" if values is _NO_JSON else type(values).__name__
                problem = f"{place}: {kind}; expected an object"
                table.broken.append(Broken(place, problem, line, path))
    return table


_NO_JSON = object()


def _json(path: Path) -> Iterator[tuple[str, int | None, Any]]:
    text = read_text(path)
    if text.lstrip()[:1] == "[":  # many a .json file holds one object a line
        rows = locate(path, text).rows()
        yield from ((f"row {number}", row.line, row.value) for number, row in enumerate(rows))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", number, parse_json(line)
            except ValueError:
                yield f"line {number}", number, _NO_JSON


def _parquet(path: Path, extra: str) -> Iterator[tuple[str, int | None, Any]]:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(f"reading {path.name}", "pyarrow", extra) from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(PARQUET_ROWS):
                for values in batch.to_pylist():
                    yield f"row {number}", None, values
                    number += 1
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is no parquet file ({reason}); download it again") from error
