"""JSON documents whose rows know the line on which they begin, so that a bad one can be found and mended.

{"images": [{"id": 1}, ...],          rows("images"): Located(line, None, {"id": 1}), ...
 "anns": {"45346": {...}, ...},       rows("anns"): Located(line, "45346", {...}), ...
 "version": "2.0"}                    values["version"]

[{"id": 1}, ...]                      rows(): Located(line, None, {"id": 1}), ...
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fo1.errors import InputError, short_name

WHOLE: Final = ""
"""Name of the list where the document is one."""

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = json.JSONDecoder()
_DIGITS = 300  # more make a number that Python will not read, and no picture has


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """One element of a list or object.

    Attributes:
        line: on which it begins, from 1.
        key: its name in the object; None in a list.
        value: what it holds.
    """

    line: int
    key: str | None
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class LocatedDocument:
    """One JSON document.

    Attributes:
        path: its file.
        lists: rows of the lists at its top, by name; of the document itself, where it is a list, by `WHOLE`.
        objects: rows of the objects at its top, by name.
        values: everything else at its top.
    """

    path: Path
    lists: Mapping[str, list[Located]]
    objects: Mapping[str, list[Located]]
    values: Mapping[str, Any]

    def rows(self, name: str = WHOLE) -> list[Located]:
        """Return the rows of a list or object at the top of the document.

        Raises:
            InputError: it has none of this name.
        """
        found = self.lists.get(name, self.objects.get(name))
        if found is None:
            has = ", ".join(sorted([*self.lists, *self.objects, *self.values], key=str)[:12])
            what = f"list {name!r}" if name else "list at its top"
            raise InputError(
                f"{self.path} has no {what}; it has: {short_name(has or 'nothing', 200)}"
            )
        return found


def read_located(path: Path, leave_out: Collection[str] = ()) -> LocatedDocument:
    """Return a JSON document.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
        leave_out: fields of rows that nobody needs and that take much memory.

    Raises:
        InputError: it cannot be read, is no JSON (names line and column), or is no list or object.
    """
    return locate(path, read_text(path), leave_out)


def locate(path: Path, text: str, leave_out: Collection[str] = ()) -> LocatedDocument:
    """Return the JSON document of a text that was read from a file; see `read_located`.

    Raises:
        InputError: it is no JSON (names line and column), or is no list or object.
    """
    return _Reader(path, text, frozenset(leave_out)).document()


def read_text(path: Path) -> str:
    """Return the text of a file as it stands, without its byte order mark.

    Raises:
        InputError: it cannot be read or is not UTF-8; names the line.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or "no such name"
        raise InputError(f"cannot read {short_name(str(path))} ({reason})") from error
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 ({error.reason}); save it as UTF-8") from error


def parse_json(text: str) -> Any:
    """Return what a JSON text holds; numbers too long for Python become infinite.

    Raises:
        ValueError: it is no JSON, or is nested too deep.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # more digits than Python converts
        return json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


class _Reader:
    """Walks through a document element by element; `at` and `line` are where it stands."""

    def __init__(self, path: Path, text: str, leave_out: frozenset[str]) -> None:
        self.path, self.text, self.leave_out = path, text, leave_out
        self.at, self.line = 0, 1

    def document(self) -> LocatedDocument:
        lists: dict[str, list[Located]] = {}
        objects: dict[str, list[Located]] = {}
        values: dict[str, Any] = {}
        start = self.peek()
        if start == "[":
            lists[WHOLE] = self.elements()
        elif start == "{":
            self.step()
            for name in self.members():
                for known in (lists, objects, values):
                    known.pop(name, None)  # of two members with one name the last counts
                inner = self.peek()
                if inner == "[":
                    lists[name] = self.elements()
                elif inner == "{":
                    self.step()
                    objects[name] = [
                        Located(line, key, self.value())
                        for key in self.members()
                        for line in [self.line]
                    ]
                else:
                    values[name] = self.value()
        else:
            found = repr(start) if start else "nothing"
            raise InputError(f"{self.place()}: found {found}; expected a JSON list or object")
        if self.peek():
            raise InputError(f"{self.place()}: more text behind the end; expected one document")
        return LocatedDocument(self.path, lists, objects, values)

    def elements(self) -> list[Located]:
        self.step()
        found: list[Located] = []
        if self.peek() == "]":
            self.step()
            return found
        while True:
            self.peek()
            line = self.line
            found.append(Located(line, None, self.value()))
            if self.separator("]"):
                return found

    def members(self) -> Iterator[str]:
        """Yield the names of an object's members; the caller reads each value."""
        if self.peek() == "}":
            self.step()
            return
        while True:
            if self.peek() != '"':
                raise self.damaged("expected a name in quotes")
            name = self.value()
            if self.peek() != ":":
                raise self.damaged("expected ':' behind a name")
            self.step()
            self.peek()
            yield name
            if self.separator("}"):
                return

    def separator(self, end: str) -> bool:
        mark = self.peek()
        if mark not in (",", end):
            raise self.damaged(f"expected ',' or {end!r}")
        self.step()
        return mark == end

    def value(self) -> Any:
        try:
            value, end = _PLAIN.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            raise self.damaged(error.msg, error.pos) from error
        except RecursionError as error:
            raise self.damaged("nested too deep") from error
        except ValueError:  # more digits than Python converts
            value, end = _PATIENT.raw_decode(self.text, self.at)
        self.line += self.text.count("\n", self.at, end)
        self.at = end
        if self.leave_out and isinstance(value, dict):
            for name in self.leave_out:
                value.pop(name, None)
        return value

    def peek(self) -> str:
        """Pass over spaces and return the next character; "" at the end."""
        end = _SPACE.match(self.text, self.at).end()  # pyright: ignore[reportOptionalMemberAccess]
        self.line += self.text.count("\n", self.at, end)
        self.at = end
        return self.text[end : end + 1]

    def step(self) -> None:
        self.at += 1

    def place(self, at: int | None = None) -> str:
        at = self.at if at is None else at
        line = self.text.count("\n", 0, at) + 1
        return f"{self.path}:{line}:{at - self.text.rfind(chr(10), 0, at)}"

    def damaged(self, reason: str, at: int | None = None) -> InputError:
        end = (self.at if at is None else at) >= len(self.text)
        cure = "it ends too early; copy or download it again" if end else "mend it there"
        return InputError(f"{self.place(at)} is not JSON ({reason}); {cure}")


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)


_PATIENT = json.JSONDecoder(parse_int=_whole)
