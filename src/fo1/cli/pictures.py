"""From what was typed to the pictures meant: files, folders and patterns."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fo1.errors import InputError, short_name
from fo1.imaging import PICTURE_SUFFIXES

_DEEP = "**"
_NO_FILE = re.compile(r"data:|[a-z0-9]+://", re.IGNORECASE)


def find_pictures(words: Iterable[str]) -> tuple[str, ...]:
    """Return the pictures that the words mean, each once, in the order of the words.

    A folder stands for the picture files in it, a pattern for those that it matches; hidden ones
    are left out, the rest is sorted with numbers by their value. A name that exists is no pattern.
    Where links lead to a file in several ways, ** finds it once.

    Raises:
        InputError: there is none in a folder or for a pattern, or a folder cannot be read.
    """
    found: dict[str, str] = {}
    for word in words:
        for picture in _expand(word):
            same = picture if _NO_FILE.match(picture) else os.path.abspath(picture)
            found.setdefault(os.path.normcase(same), picture)
    return tuple(found.values())


def _expand(word: str) -> list[str]:
    if os.path.isdir(word):
        return _in_folder(word)
    if os.path.lexists(word) or _NO_FILE.match(word) or not glob.has_magic(word):
        return [word]
    try:
        pictures = _pictures(_matching(word))
    except ValueError:  # a null character
        pictures = []
    if not pictures:
        raise InputError(
            f"no picture file matches '{short_name(word)}'; check the path, or name the files"
        )
    return pictures


def _matching(pattern: str) -> Iterable[str]:
    """Return the files and folders that a pattern matches."""
    parts = Path(pattern).parts
    if _DEEP not in parts:
        return glob.glob(pattern)
    place = parts.index(_DEEP)
    tops = glob.glob(str(Path(*parts[:place]))) if place else [""]
    rest = str(Path(*parts[place + 1 :])) if parts[place + 1 :] else "*"
    found: dict[str, str] = {}
    for top in tops:
        for folder in _folders(top):
            paths = _matching(os.path.join(glob.escape(folder), rest))
            for path in sorted(paths, key=os.path.islink):
                found.setdefault(os.path.realpath(path), path)
    return found.values()


def _folders(top: str) -> Iterator[str]:
    """Yield a folder and all within that are not hidden, each once, those behind links last."""
    plain, linked, seen = [top], list[str](), set[str]()
    while plain or linked:
        folder = plain.pop() if plain else linked.pop()
        real = os.path.realpath(folder)
        if real not in seen:
            seen.add(real)
            yield folder
            within = glob.glob(os.path.join(glob.escape(folder), "*", ""))
            for inner in sorted(within, reverse=True):
                (linked if os.path.islink(inner.rstrip(os.sep)) else plain).append(inner)


def _in_folder(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"folder {short_name(folder)} cannot be read ({reason}); change its permissions"
        ) from error
    pictures = _pictures(str(Path(folder, name)) for name in names if not name.startswith("."))
    if not pictures:
        deeper = short_name(str(Path(folder, "**")))
        raise InputError(
            f"folder {short_name(folder)} holds no picture files; "
            f"give another, or '{deeper}' to look into its folders as well"
        )
    return pictures


def _pictures(paths: Iterable[str]) -> list[str]:
    """Return the paths that are picture files by their ending, sorted."""
    kept = (path for path in paths if path.lower().endswith(PICTURE_SUFFIXES))
    return sorted(filter(os.path.isfile, kept), key=_by_number)


def _by_number(path: str) -> tuple[list[str | int], str]:
    """Return a key by which a2 comes before a10."""
    parts = re.split("([0-9]+)", path.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path
