"""What is wrong with one row of somebody's data."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Broken:
    """A row of a data set that cannot be used: it is counted and told.

    Attributes:
        key: names the row, for example "line 12".
        problem: one line: what was found and what was expected.
        line: on which the row begins, from 1; None where that is not known.
        file: in which it stands; None where only one file was read.
    """

    key: str
    problem: str
    line: int | None = None
    file: Path | None = None
