"""From somebody's data set to records: what a converter is, and what becomes of rows that cannot be used.

conversion = convert("coco", Path("my_data"))
write_records(conversion, Path("records.jsonl"), pictures="refer")
conversion.bad.bad     -> [BadRow(file="my_data/annotations.json", line=512, problem="...")]
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from fo1.data.schema import Record
from fo1.errors import InputError, short_name

ALWAYS_ALLOWED: Final = 10
"""Bad rows that never stop a conversion before its end, so that one early row does not."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that gave no record, or none of its objects.

    Attributes:
        file: in which it stands.
        line: on which it begins, from 1; None where the file has no lines.
        problem: one line: what was found and what was expected.
    """

    file: str
    line: int | None
    problem: str

    def __str__(self) -> str:
        """Return "file:line: problem"."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.problem}"


@dataclass(slots=True)
class BadRows:
    """The rows of a data set that cannot be used, each with its place, and how many are too many.

    Attributes:
        most: share of all rows that may be bad.
        rows: rows that were looked at, bad ones too.
        bad: those that cannot be used.
    """

    most: float = 0.05
    rows: int = 0
    bad: list[BadRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the share.

        Raises:
            InputError: it is none.
        """
        if not 0 <= self.most <= 1:
            raise InputError(f"max_bad is {self.most}; give a share of rows from 0 to 1")

    def seen(self, n: int = 1) -> None:
        """Count rows that are looked at, whether they turn out good or bad."""
        self.rows += n

    def drop(self, file: str | Path, line: int | None, problem: object) -> None:
        """Note that a row, which was counted by `seen`, cannot be used.

        Raises:
            InputError: it is one too many; see `check`.
        """
        told = short_name(" ".join(str(problem).split()), 600)
        self.bad.append(BadRow(str(file), line, told))
        self.check()

    def check(self, final: bool = False) -> None:
        """Stop a conversion that loses too much.

        Args:
            final: all rows were seen, so the share counts however few they are.

        Raises:
            InputError: more rows are bad than may be, or at the end every row is; names the first.
        """
        count, rows = len(self.bad), max(self.rows, len(self.bad))
        if not count:
            return
        first = short_name(str(self.bad[0]), 600)
        if final and count == rows:
            raise InputError(f"none of {rows:,} rows can be used, the first is {first}; mend them")
        most = self.most * rows
        if count > (most if final else max(ALWAYS_ALLOWED, most)):
            raise InputError(
                f"{count:,} of {rows:,} rows cannot be used, the first is {first}; "
                "mend them, or allow more with --max-bad 0.5"
            )


class Converter(Protocol):
    """Makes records of one format."""

    def __call__(
        self, source: Path, bad: BadRows, *, pictures: Path | None = None
    ) -> Iterator[Record]:
        """Return the records of a data set, each checked.

        Args:
            source: folder or file.
            bad: takes rows that cannot be used; every row is counted there.
            pictures: folder of the pictures, where they do not lie as the format says.

        Raises:
            InputError: it is no data set of this format, or too many rows are bad.
        """
        ...


@dataclass(frozen=True, slots=True)
class Conversion:
    """The records of a data set, made one after another while somebody reads them.

    Attributes:
        name: of the format.
        source: folder or file.
        pictures: folder of the pictures, where they do not lie as the format says.
        bad: what the latest reading had to leave out.
    """

    name: str
    source: Path
    pictures: Path | None = None
    bad: BadRows = field(default_factory=BadRows)

    def __iter__(self) -> Iterator[Record]:
        """Return the records; counting begins anew.

        Raises:
            InputError: it is no data set of this format, holds nothing, or too many rows are bad.
        """
        from fo1.data.converters import get_converter  # the registry imports the converters

        converter = get_converter(self.name)
        self.bad.rows = 0
        self.bad.bad.clear()
        count = 0
        for record in converter(self.source, self.bad, pictures=self.pictures):
            count += 1
            yield record
        self.bad.check(final=True)
        if not count:
            raise InputError(
                f"{short_name(str(self.source))} holds no picture and no text to learn from; "
                f"expected {self.name} data"
            )


def convert(
    name: str, source: Path, *, pictures: Path | None = None, max_bad: float = 0.05
) -> Conversion:
    """Return the records of a data set; iterate to read them, then look at `.bad`.

    Args:
        name: of the format, a key of `CONVERTERS`.
        source: folder or file.
        pictures: folder of the pictures, where they do not lie as the format says.
        max_bad: share of rows that may be bad.

    Raises:
        InputError: the format is not known, or the share is none.
    """
    from fo1.data.converters import get_converter  # the registry imports the converters

    get_converter(name)
    return Conversion(name, source, pictures, BadRows(max_bad))
