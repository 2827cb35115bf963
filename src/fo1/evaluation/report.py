"""Figures as Markdown: tables with one row per contestant, the model first and its floors below."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fo1.evaluation.metrics.estimates import Estimate

Cell: TypeAlias = Estimate | float | str | None


@dataclass(frozen=True, slots=True)
class Table:
    """One question and what everyone got.

    Attributes:
        title: what is measured.
        columns: names of the figures.
        note: how they are counted.
        digits: of the numbers, behind the point; one for all columns, or one each.
        rows: (who, one cell per column); an Estimate, a number, a text or None.
    """

    title: str
    columns: tuple[str, ...]
    note: str = ""
    digits: int | tuple[int, ...] = 1
    rows: list[tuple[str, tuple[Cell, ...]]] = field(default_factory=list)

    def add(self, who: str, *cells: Cell) -> None:
        """Appends a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"got {len(cells)} cells for {len(self.columns)} columns of {who!r}")
        self.rows.append((who, cells))

    def markdown(self) -> str:
        """Return the table with its title and note."""
        lines = [f"### {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines += [_line(["", *self.columns]), _line(["---"] * (1 + len(self.columns)))]
        for who, cells in self.rows:
            lines.append(_line([who, *map(_shown, cells, self._digits())]))
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, object]:
        """Return the table as it is written in JSON; an interval is [value, low, high]."""
        return {
            "title": self.title,
            "columns": self.columns,
            "rows": {who: [_plain(cell) for cell in cells] for who, cells in self.rows},
        }

    def _digits(self) -> tuple[int, ...]:
        return (self.digits,) * len(self.columns) if isinstance(self.digits, int) else self.digits


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _shown(cell: Cell, digits: int) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, Estimate):
        return cell.show(digits)
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)


def _plain(cell: Cell) -> object:
    if isinstance(cell, Estimate):
        numbers = [cell.value, cell.low, cell.high]
        return [None if number != number else round(number, 5) for number in numbers]
    return None if cell != cell else cell  # JSON knows no NaN
