"""What files hold, in 64 hexadecimal digits."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_CHUNK = 1 << 20


def hash_files(paths: Iterable[Path], root: Path | None = None) -> str:
    """Return the SHA-256 of the names and contents of files, 64 hex digits.

    Args:
        paths: files; their order does not matter.
        root: folder from which names count; a name alone without it.
    """
    total = hashlib.sha256()
    for path in sorted(set(paths)):
        name = path.relative_to(root).as_posix() if root else path.name
        total.update(f"{name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    return total.hexdigest()


def hash_model(folder: Path) -> str:
    """Return the SHA-256 of all files of a model folder, hidden ones aside."""
    files = (
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )
    return hash_files(files, folder)
