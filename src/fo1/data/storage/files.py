"""Files of records: which ones a path means, and writing them whole or not at all."""

import glob
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from fo1.errors import InputError, short_name

SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".parquet", ".tar")
_NUMBER = re.compile(r"%0(\d+)d")


def find_files(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the files of records that a file, a pattern or a folder means, absolute and in order.

    Raises:
        InputError: there is none, one is of an unknown kind, or a folder holds several kinds.
    """
    text = os.path.abspath(path)
    name = short_name(os.fspath(path))
    if os.path.isdir(text):
        found = sorted(one for one in Path(text).iterdir() if _is_records(one))
        kinds = sorted({suffix_of(one) for one in found})
        if len(kinds) > 1:
            raise InputError(
                f"{name} holds records as {' and '.join(kinds)}; name the files: {name}/*{kinds[0]}"
            )
    elif not os.path.exists(text) and glob.has_magic(text):
        found = sorted(Path(one) for one in glob.glob(text) if os.path.isfile(one))
    else:
        found = [Path(text)]
    if not found:
        raise InputError(f"found no records in {name}; expected {', '.join(SUFFIXES)} files")
    for one in found:
        suffix_of(one)
        if not one.is_file():
            raise InputError(f"{short_name(str(one))} is no file; check the path")
    return tuple(found)


def suffix_of(path: Path) -> str:
    """Return the one of `SUFFIXES` that a file has.

    Raises:
        InputError: it has none.
    """
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(
        f"{short_name(str(path))} has an unknown ending; expected one of {', '.join(SUFFIXES)}"
    )


def shard_path(path: Path, number: int) -> Path:
    """Return the path of a shard: "a-%04d.tar" gives "a-0007.tar", "a.tar" gives "a-000007.tar"."""
    if not is_pattern(path):
        suffix = suffix_of(path)
        return path.with_name(
            f"{path.name[: -len(suffix)]}-{number:06d}{path.name[-len(suffix) :]}"
        )
    return path.with_name(_NUMBER.sub(lambda m: f"{number:0{m[1]}d}", path.name, count=1))


def is_pattern(path: Path) -> bool:
    """Return whether a path names all shards, as "a-%06d.tar" does."""
    return _NUMBER.search(path.name) is not None


def unreadable(path: Path, error: object) -> InputError:
    """Return the error for a file that cannot be read."""
    reason = (
        getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    )
    return InputError(
        f"cannot read {short_name(str(path))}: {short_name(reason)}; check the path, or write it again"
    )


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Turn what the system says about writing a file into one line.

    Raises:
        InputError: it said something.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write {short_name(str(path))}: {error.strerror or error}; check folder and disk"
        ) from error


@contextmanager
def written_beside() -> Iterator["Beside"]:
    """Yield what opens files that take their places together when all is written, or never."""
    beside = Beside()
    try:
        yield beside
        beside.finish()
    finally:
        beside.abandon()


class Beside:
    """Files that are being written under other names; see `written_beside`."""

    def __init__(self) -> None:
        self._parts: dict[Path, Path] = {}
        self._last: IO[bytes] | None = None

    def open(self, target: Path) -> IO[bytes]:
        """Return a file to write; the caller closes it before the next one.

        Raises:
            InputError: it cannot be made.
        """
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        with telling(target):
            file = part.open("xb")
        self._parts[target] = part
        self._last = file
        return file

    def finish(self) -> None:
        """Put the files, closed by now, on the disk and in their places.

        Raises:
            InputError: the disk does not take them.
        """
        for target, part in self._parts.items():
            with telling(target), part.open("r+b") as file:
                os.fsync(file.fileno())
        for target, part in self._parts.items():
            with telling(target):
                part.replace(target)

    def abandon(self) -> None:
        """Remove what is in no place yet."""
        if self._last is not None:
            with suppress(OSError):  # a full disk, which was told
                self._last.close()
        for part in self._parts.values():
            part.unlink(missing_ok=True)


def _is_records(path: Path) -> bool:
    named = path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")
    return named and path.is_file()
