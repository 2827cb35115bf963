"""Settings, checked one by one: the value itself, or one line that names the setting."""

import re
from collections.abc import Sequence
from typing import Any

from fo1.errors import CheckpointError

PROJECTOR_PATTERN = re.compile(r"identity|linear|mlp([1-9][0-9]?)x_gelu")


def need_count(what: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return the value, a whole number that is neither less than `least` nor more than `most`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise wrong(what, value, f"a whole number {bounds}")
    return value


def need_flag(what: str, value: Any) -> bool:
    """Return the value, true or false."""
    if not isinstance(value, bool):
        raise wrong(what, value, "true or false")
    return value


def need_text(what: str, value: Any) -> str:
    """Return the value, a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise wrong(what, value, "a text")
    return value


def need_choice(what: str, value: Any, known: Sequence[str]) -> str:
    """Return the value, one of the known texts."""
    if value not in tuple(known):
        raise wrong(what, value, f"one of {', '.join(known)}")
    return value


def need_projector(what: str, value: Any) -> str:
    """Return the value, the kind of a projector."""
    if not isinstance(value, str) or not PROJECTOR_PATTERN.fullmatch(value):
        raise CheckpointError(
            f"{what} {show(value)} is unknown; use identity, linear or mlpNx_gelu (N linear layers, 1 to 99)"
        )
    return value


def need_divisor(what: str, value: int, of: int) -> int:
    """Return the value, which has to divide another number."""
    if of % value:
        raise wrong(what, value, f"a divisor of {of}")
    return value


def wrong(what: str, value: Any, need: str) -> CheckpointError:
    """Return the error of a setting: what was found, what is needed."""
    return CheckpointError(f"{what} is {show(value)}, need {need}; correct it")


def show(value: Any) -> str:
    """Return a value as it stands in messages, one short line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
