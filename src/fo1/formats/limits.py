"""What a row may hold at most; anything larger is a mistake that would stall or overflow a run."""

from typing import Any, Final, TypeVar

import numpy as np

from fo1.errors import InputError, short_name
from fo1.geometry import Boxes
from fo1.prompts import NAME_LENGTH as NAME_LENGTH
from fo1.prompts import QUESTION_LENGTH as QUESTION_LENGTH
from fo1.prompts import clean_name

T = TypeVar("T")

SIDES: Final = range(1, 100_001)
"""Width and height of a picture, pixels."""
COUNTS: Final = range(1_000_001)
"""How many of a thing are in a picture."""
FARTHEST: Final = 1e9
"""What every number of a box lies below, so that areas of boxes are finite."""


def check_length(text: T, what: str, most: int = NAME_LENGTH) -> T:
    """Return a text of readable length; what is no text is for others to tell.

    Raises:
        InputError: it is longer.
    """
    if isinstance(text, str) and len(text) > most:
        raise InputError(f"{what} has {len(text):,} characters; expected at most {most:,}")
    return text


def read_name(value: Any, what: str = "the name") -> str:
    """Return a name or an expression as labels in answers are compared with it.

    Raises:
        InputError: it is no text, empty or too long.
    """
    return clean_name(check_length(value, what))


def check_whole(value: object, what: str, allowed: range) -> int:
    """Return a whole number that may be; True and False are none.

    Raises:
        InputError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
        wanted = f"a whole number from {allowed[0]:,} to {allowed[-1]:,}"
        raise InputError(f"{what} is {short_name(repr(value), 40)}; expected {wanted}")
    return value


def check_reach(boxes: Boxes, where: str) -> Boxes:
    """Return boxes (N, 4) whose numbers are those of a picture, however large.

    Raises:
        InputError: one is not.
    """
    if np.abs(boxes).max(initial=0.0) >= FARTHEST:
        raise InputError(f"{where}: a number is {np.abs(boxes).max():g}; expected pixels")
    return boxes
