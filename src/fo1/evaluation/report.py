"""Figures as Markdown: tables with one row per contestant, the model first and its floors below."""

import datetime
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fo1.evaluation.metrics import Estimate


@dataclass(frozen=True, slots=True)
class Table:
    """One question and what everyone got.

    Attributes:
        title: what is measured.
        columns: names of the figures.
        note: how they are counted.
        rows: (who, one cell per column); an Estimate, a number, a text or None.
    """

    title: str
    columns: tuple[str, ...]
    note: str = ""
    rows: list[tuple[str, tuple[Estimate | float | str | None, ...]]] = field(default_factory=list)

    def add(self, who: str, *cells: Estimate | float | str | None) -> None:
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
        lines += [_line([who, *map(_cell, cells)]) for who, cells in self.rows]
        return "\n".join(lines) + "\n"

    def to_dict(self) -> dict[str, object]:
        """Return the table as it is written in JSON; an interval is [value, low, high]."""
        return {
            "title": self.title,
            "columns": self.columns,
            "rows": {who: [_plain(cell) for cell in cells] for who, cells in self.rows},
        }


def write(
    tables: Sequence[Table], *, heading: str, facts: Sequence[str], out: Path, name: str
) -> str:
    """Return the report as Markdown after writing it to `out`/`name`.md and .json.

    Args:
        tables: in reading order.
        heading: first line.
        facts: what a reader needs to repeat the measurement.
        out: folder; made if missing.
        name: file name without its ending.
    """
    text = "\n".join([f"## {heading}", "", *(f"- {fact}" for fact in facts), ""])
    text += "\n" + "\n".join(table.markdown() for table in tables)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.md").write_text(text, encoding="utf-8")
    content = {"heading": heading, "facts": facts, "tables": [t.to_dict() for t in tables]}
    (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return text


def circumstances(module: str, arguments: Sequence[str] | None) -> list[str]:
    """Return when, where and with which command a figure was made, one line each."""
    given = sys.argv[1:] if arguments is None else arguments
    return [
        f"command: `python -m {module} {' '.join(given)}`",
        f"{datetime.date.today()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads",
        "in brackets: 95 % bootstrap interval over pictures",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Estimate | float | str | None) -> str:
    if cell is None:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _plain(cell: Estimate | float | str | None) -> object:
    if isinstance(cell, Estimate):
        numbers = [cell.value, cell.low, cell.high]
        return [None if number != number else round(number, 5) for number in numbers]
    return cell
