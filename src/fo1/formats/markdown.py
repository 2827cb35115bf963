"""Texts of people and tables in Markdown."""

from collections.abc import Sequence


def cell(text: str) -> str:
    """Return a text as it stands in a cell of a table: on one line, nothing in it acts as markup of the table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; None is a dash, and other cells stand as they are.

    Args:
        header: of the columns.
        rows: with a cell for each of them.
    """
    lines = [header, ["---"] * len(header), *rows]
    shown = [["-" if one is None else str(one) for one in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in shown)
