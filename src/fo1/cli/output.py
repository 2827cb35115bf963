"""Rows: what a picture gives, as JSON and as a table."""

import json
import traceback
from collections.abc import Sequence
from typing import Any, TextIO, TypeAlias

from fo1.cli.job import Job
from fo1.errors import FO1Error, short_name
from fo1.prompts import REGION_TASKS

Row: TypeAlias = dict[str, Any]
"""One picture's result or failure, ready for JSON."""


def failure(job: Job, image: str, error: Exception, err: TextIO) -> Row:
    """Return the row of a picture that could not be processed."""
    if job.debug:
        traceback.print_exception(error, file=err)
    return {"image": image, "error": _one_line(error)}


def emit(job: Job, row: Row, out: TextIO, err: TextIO) -> None:
    """Write a row, and what there is to say about it."""
    if job.json:
        out.write(f"{json.dumps(row)}\n")
    elif "error" not in row:
        out.write(show(row))
    out.flush()
    notes = [row["error"]] if "error" in row else [f"note: {p}" for p in row["problems"]]
    name = short_name(row["image"])
    for note in notes:
        err.write(f"fo1: {note if name in note else f'{name}: {note}'}\n")


def show(row: Row) -> str:
    """Return a row for people: a line about the picture, then what was found, then a blank line."""
    found, texts = row["detections"], row["texts"]
    told = _summary(row)
    lines = [f"{short_name(row['image'])}  {row['width']} x {row['height']}  {told}"]
    if row["text"]:
        lines.append(f"  {row['text']}")
    if found:
        cells = [
            (item["label"], f"{item['score']:.2f}", _box(item["box"]), str(item["region"]))
            for item in found
        ]
        lines += table(("label", "score", "box", "region"), cells, right=(1, 3))
    if texts:
        boxes = row["regions"]
        cells = [(str(s["region"]), _box(boxes[s["region"]]), s["text"]) for s in texts]
        lines += table(("region", "box", "text"), cells, right=(0,))
    return "\n".join(lines) + "\n\n"


def _summary(row: Row) -> str:
    if row["count"] is not None:
        return f"count {row['count']}"
    if row["task"] in REGION_TASKS:
        return _number(len(row["texts"]), "text")
    if row["detections"] or row["text"] is None:
        return _number(len(row["detections"]), "detection")
    return _number(len(row["regions"]), "region")


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _box(box: Sequence[float]) -> str:
    return ", ".join(f"{side:.0f}" for side in box)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Return aligned lines; columns in `right` end flush, the others begin flush."""
    shown = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *shown, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *shown)
    ]


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    if isinstance(error, FO1Error):
        return words
    return f"{type(error).__name__}: {words[:200]}; run it again with --debug"
