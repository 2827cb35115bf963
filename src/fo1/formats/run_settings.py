"""What the files of a run depend on, kept in its folder: other settings are refused, and so is a second run at once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from fo1.errors import InputError, short_name
from fo1.formats.beside import write_beside

SETTINGS = "settings.json"


def make_folder(path: Path) -> None:
    """Make the folder of a run if it is missing.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Compare the settings of a run with those that its folder has; a new folder gets them.

    Raises:
        InputError: it has others, or something else.
    """
    path, own = folder / SETTINGS, json.loads(json.dumps(settings))
    if not path.exists():
        write_beside(path, json.dumps(own, indent=1) + "\n")
    try:
        there = json.loads(path.read_bytes())
    except ValueError:
        there = None
    if not isinstance(there, dict):
        raise InputError(f"{path} is no settings of a run; give --out another folder")
    for name in dict.fromkeys((*there, *own)):
        old, new = there.get(name), own.get(name)
        if old != new:
            raise InputError(
                f"{short_name(str(folder))} holds a run with {name} "
                f"{short_name(str(old), 80)!r}, this one has {short_name(str(new), 80)!r}; "
                "give --out another folder"
            )


def lock(folder: Path) -> IO[bytes]:
    """Return the settings' file, which no other run has locked; the system lets go of it when a process dies.

    Raises:
        InputError: another run has it.
    """
    file = (folder / SETTINGS).open("rb")
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise InputError(
                f"another run is writing to {short_name(str(folder))}; "
                "wait for it, or give --out another folder"
            ) from error
        except OSError:  # a disk that knows no locks
            pass
    return file


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error for a folder that cannot be written to."""
    reason = error.strerror or type(error).__name__
    where = short_name(str(path))
    return InputError(f"cannot write to {where} ({reason}); give --out another folder")
