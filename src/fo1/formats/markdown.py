"""Texts of people in Markdown."""


def cell(text: str) -> str:
    """Return a text as it stands in a cell of a table: on one line, nothing in it acts as markup of the table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
