"""One table of a published config.json; every read is checked, and an error names the key."""

from typing import Any

from fo1.errors import CheckpointError
from fo1.models.checks import need_choice, need_count, need_flag, need_projector, need_text, wrong


class Options:
    """One table of a config.json.

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
                f"{self.where} does not set {key}; download config.json again, or add it"
            )
        return found

    def count(self, key: str, default: int | None = None, most: int | None = None) -> int:
        """Return a whole number of 1 or more, at most `most`."""
        return need_count(f"{self.where}: {key}", self.value(key, default), most=most)

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
