"""What one server takes on: every bound in one value."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

from fo1.errors import InputError, short_name

MiB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a server; whatever exceeds one is refused with a line that names it.

    Args:
        bytes: of one request's body, and of one picture that is fetched.
        pixels: width x height of one request's pictures together, and of those of one batch.
        pictures: of one chat.
        boxes: of one request.
        queries: names, expressions or regions that one request asks about.
        characters: of all texts of one chat.
        seconds: that a request's body may take to come, its answer to be computed, and that to be read.
        waiting: requests in the house, the computed ones included; the next is told to come back.
        waiting_bytes: their bodies together.
        batch: requests that are answered together.
        cache_bytes: what kept scenes may take together.

    Raises:
        InputError: one is below 1.
    """

    bytes: int = 20 * MiB
    pixels: int = 40_000_000
    pictures: int = 8
    boxes: int = 1_000
    queries: int = 100
    characters: int = 20_000
    seconds: int = 60
    waiting: int = 64
    waiting_bytes: int = 256 * MiB
    batch: int = 8
    cache_bytes: int = 256 * MiB

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise InputError(f"limit {field.name} is {value}; give 1 or more")

    @classmethod
    def parse(cls, words: Iterable[str]) -> Self:
        """Return the limits of words such as "seconds=30"; the others have their defaults.

        Raises:
            InputError: a word has another form, or no limit has its name.
        """
        names = [field.name for field in fields(cls)]
        given: dict[str, int] = {}
        for word in words:
            name, _, value = word.partition("=")
            if name not in names:
                raise InputError(
                    f"unknown limit '{short_name(name)}'; give one of: {', '.join(names)}"
                )
            try:
                given[name] = int(value.replace("_", ""))
            except ValueError as error:
                raise InputError(
                    f"limit '{short_name(word)}' is no whole number; give for example {name}=30"
                ) from error
        return cls(**given)
