"""Files that are there whole or not at all: written under another name, then renamed."""

import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

_LEFT: Final = re.compile(r".+\.\d+\.(?:new|old)")


def write_beside(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    with written_beside(path) as file:
        file.write(text.encode(errors="backslashreplace"))


@contextmanager
def written_beside(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of another when all is written."""
    beside = _beside(path, "new")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def folder_written_beside(path: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of another when all is written into it."""
    beside, old = _beside(path, "new"), _beside(path, "old")
    try:
        beside.mkdir()
        yield beside
        if path.is_dir():
            path.replace(old)
        beside.replace(path)
    finally:
        for left in (beside, old):
            shutil.rmtree(left, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left beside in a folder."""
    for left in filter(is_left, folder.iterdir()):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def is_left(path: Path) -> bool:
    """Return whether a name is one under which something is written beside."""
    return _LEFT.fullmatch(path.name) is not None


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.{ending}")
