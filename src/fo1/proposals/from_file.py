"""Boxes that somebody else found, read from JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from fo1.errors import BoxError, InputError, short_name
from fo1.geometry import Boxes, as_boxes, check_boxes
from fo1.results import Proposals

STDIN = "-"
"""The file name that stands for standard input."""

_CURE = "give a JSON list of boxes: [[x1, y1, x2, y2], ...]"


class FileProposer:
    """Proposes the boxes of one JSON file, unchanged and in its order, each with score 1.

    The file is read when the proposer is made, so a bad one is found before any work.

    Args:
        path: a file with a list of [x1, y1, x2, y2] in pixels of the original picture, or "-" for
            standard input.

    Raises:
        InputError: the file cannot be read or is not JSON.
        BoxError: the JSON is not a list of boxes.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = "standard input" if str(path) == STDIN else short_name(str(path))
        self.boxes = parse_boxes(_read(path, self.name), self.name)

    def propose(self, image: Image.Image) -> Proposals:
        """Return the boxes of the file.

        Raises:
            BoxError: a box is inverted or wholly outside the picture.
        """
        boxes = check_boxes(self.boxes, (image.height, image.width), where=self.name)
        return Proposals(boxes, np.ones(len(boxes), np.float32), self.name)


def parse_boxes(data: bytes, name: str) -> Boxes:
    """Return (N, 4) float32 boxes from the bytes of a JSON list; an empty list gives none.

    Args:
        data: the bytes.
        name: what the data is called in errors.

    Raises:
        InputError: the data is not JSON.
        BoxError: the JSON is not a list of rows of four finite numbers; names the row.
    """
    if not data.strip():
        raise InputError(f"{name} is empty; {_CURE}")
    try:
        # Integers are read as floats because one of a thousand digits has no place in an array.
        rows = json.loads(data, parse_int=float)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name} is not JSON ({reason}); {_CURE}") from error
    if not isinstance(rows, list):
        raise BoxError(f"{name} holds {_kind(rows)}, not a list; {_CURE}")
    for index, row in enumerate(cast("list[object]", rows)):
        if isinstance(row, float):
            raise BoxError(f"{name} row {index} is a number, not a box; {_CURE}")
        if not isinstance(row, list):
            raise BoxError(f"{name} row {index} is {_kind(row)}, not a box; {_CURE}")
        values = cast("list[object]", row)
        if len(values) != 4:
            raise BoxError(f"{name} row {index} has {len(values)} entries, a box has 4; {_CURE}")
        for value in values:
            if not isinstance(value, float):
                raise BoxError(f"{name} row {index} holds {_kind(value)}, not a number; {_CURE}")
    return as_boxes(rows, where=name)


def _read(path: str | Path, name: str) -> bytes:
    if str(path) == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise InputError(f"cannot read boxes from {name} ({reason}); check the path") from error


def _kind(value: object) -> str:
    """Return what a JSON value is called, with its article."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return "null" if value is None else names.get(type(value), "a number")
