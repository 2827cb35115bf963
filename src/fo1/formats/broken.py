"""What is wrong with one row of somebody's data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Broken:
    """A row of a data set that cannot be used: it is counted and told.

    Attributes:
        key: names the row, for example "line 12".
        problem: one line: what was found and what was expected.
    """

    key: str
    problem: str
