"""What a check of a checkpoint found: one line per part."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fo1.errors import FO1Error

SHOWN = 3
"""How many names of a long list are told."""

LONGEST = 1500


class Status(StrEnum):
    """How a part was found."""

    OK = "ok"
    FAIL = "FAIL"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found.

    Attributes:
        name: the part that was looked at.
        status: a note does not make a checkpoint bad.
        detail: one line; for a failure what was found, what was expected and the cure.
    """

    name: str
    status: Status
    detail: str

    @classmethod
    def of(cls, name: str, status: Status, detail: str) -> "Finding":
        """Return a finding on one line, without characters that a terminal would obey."""
        line = " ".join(detail.split())
        clean = "".join(sign if sign.isprintable() else "?" for sign in line)
        return cls(name, status, clean if len(clean) <= LONGEST else f"{clean[:LONGEST]}...")


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in a folder.

    Attributes:
        findings: in the order of the looks.
        files: bytes of each file.
        options: those of config.json that make it an FO1 model.
        header_digest: SHA-256 of the sorted lines `name:shape:dtype`; None without weights.
        statistics: figures of the trial run; empty if it did not take place.
    """

    findings: tuple[Finding, ...]
    files: Mapping[str, int]
    options: Mapping[str, Any]
    header_digest: str | None
    statistics: Mapping[str, float | str]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(finding.status is not Status.FAIL for finding in self.findings)


def look(name: str, find: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return what a look found; whatever goes wrong in it is a failed finding, never an error."""
    found: list[Finding] = []
    try:
        found.extend(find())
    except Exception as error:  # a damaged file can break any library in any way
        reason = str(error) if isinstance(error, FO1Error) else f"{type(error).__name__}: {error}"
        found.append(Finding.of(name, Status.FAIL, reason))
    return found


def some(names: Sequence[str]) -> str:
    """Return the first few names and how many there are.

    Example:
        >>> some(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
