"""Files that are there whole or not at all: written under another name, then renamed."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_beside(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    with written_beside(path) as file:
        file.write(text.encode(errors="backslashreplace"))


@contextmanager
def written_beside(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of another when all is written."""
    beside = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.new")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
