"""Settings, checked one by one: the value itself, or one line that names the setting."""

import re
from collections.abc import Sequence
from typing import Any

from fo1.errors import CheckpointError

PROJECTOR_PATTERN = re.compile(r"identity|linear|mlp([1-9][0-9]*)x_gelu")


def need_count(what: str, value: Any) -> int:
    """Return the value, a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong(what, value, "a whole number of 1 or more")
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
            f"{what} {show(value)} is unknown; use identity, linear or mlpNx_gelu (N linear layers)"
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


class Options:
    """One table of a config.json; every read is checked, and an error names the key.

    Args:
        raw: the table.
        where: what it is called in messages.
    """

    def __init__(self, raw: dict[str, Any], where: str = "config.json"):
        self.raw = raw
        self.where = where

    def value(self, key: str, default: Any = None) -> Any:
        """Return what stands under a key; without default it has to be there."""
        found = self.raw.get(key, default)
        if found is None:
            raise CheckpointError(
                f"{self.where} does not set {key}; download the checkpoint again, or add it"
            )
        return found

    def count(self, key: str, default: int | None = None) -> int:
        """Return a whole number of 1 or more."""
        return need_count(f"{self.where}: {key}", self.value(key, default))

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Return true or false."""
        return need_flag(f"{self.where}: {key}", self.value(key, default))

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        return need_text(f"{self.where}: {key}", self.value(key))

    def choice(self, key: str, known: tuple[str, ...], default: str | None = None) -> str:
        """Return one of the known texts."""
        return need_choice(f"{self.where}: {key}", self.value(key, default), known)

    def projector(self, key: str) -> str:
        """Return the kind of a projector."""
        return need_projector(f"{self.where}: {key}: projector", self.value(key, "linear"))

    def table(self, key: str) -> "Options":
        """Return the options of a table inside this one."""
        found = self.value(key)
        if not isinstance(found, dict):
            raise wrong(f"{self.where}: {key}", found, "a table of options")
        return Options(found, f"{self.where}: {key}")

    def numbers(self, key: str, default: Any = None, least: int = 1) -> list[int]:
        """Return a list of whole numbers, none less than `least`."""
        found = self.value(key, default)
        items: list[Any] = list(found) if isinstance(found, list | tuple) else []
        if not items or any(type(item) is not int or item < least for item in items):
            raise wrong(f"{self.where}: {key}", found, f"a list of whole numbers from {least}")
        return items
