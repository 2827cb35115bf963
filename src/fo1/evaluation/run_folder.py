"""The folder of a run: rows that survive anything, written by any number of processes.

    OUT/settings.json        what the rows answer; a run with other settings is refused
    OUT/rows.jsonl           all rows, in the order of the data set, once the run is through
    OUT/parts/rows-0.jsonl   rows of process 0 while it runs; gone at the end

A row is on the disk before the next batch begins. A last line that was cut is dropped, and its
example is asked again. Finished files are written beside and then renamed.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from fo1.errors import InputError, short_name
from fo1.evaluation.example import Prediction, Row

Key: TypeAlias = tuple[str, str]
"""(contestant, key of the example)."""

SETTINGS, ROWS, PARTS = "settings.json", "rows.jsonl", "parts"


class RunFolder:
    """Rows of one run.

    Args:
        path: the folder; made if missing.
        settings: what the rows depend on.
        rank: number of this process.

    Raises:
        InputError: the folder holds a run with other settings, or cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], rank: int = 0) -> None:
        self.path = path
        self._own = path / PARTS / f"rows-{rank}.jsonl"
        make_folder(path)
        try:
            self._check_settings(settings)
            self._own.parent.mkdir(exist_ok=True)
            self._drop_cut_line()
            self._file = self._own.open("ab")
        except OSError as error:
            raise _unwritable(path, error) from error

    def done(self) -> dict[Key, Prediction]:
        """Return all predictions that are on the disk, also those of other processes."""
        files = [self.path / ROWS, *sorted((self.path / PARTS).glob("rows-*.jsonl"))]
        found: dict[Key, Prediction] = {}
        for file in files:
            for who, prediction in _read(file):
                found[who, prediction.key] = prediction
        return found

    def append(self, rows: Iterable[tuple[str, Prediction]]) -> None:
        """Write (contestant, prediction) to the disk; they are there when this returns."""
        lines = [_line(who, prediction) for who, prediction in rows]
        self._file.write("".join(lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file of this process."""
        self._file.close()

    def finish(self, order: Sequence[Key], broken: Iterable[Row]) -> dict[Key, Prediction]:
        """Return all predictions after writing rows.jsonl in order, rows of broken data last.

        Called by one process when all others are through.
        """
        found = self.done()
        # Rows of contestants that this run did not ask for are kept as well.
        keys = dict.fromkeys((*order, *found))
        lines = [_line(who, found[who, key]) for who, key in keys if (who, key) in found]
        lines += [json.dumps(row) + "\n" for row in broken]
        write_beside(self.path / ROWS, "".join(lines))
        for part in (self.path / PARTS).glob("rows-*.jsonl"):
            part.unlink()
        if not any((self.path / PARTS).iterdir()):
            (self.path / PARTS).rmdir()
        return found

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        path, own = self.path / SETTINGS, json.loads(json.dumps(settings))
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
                    f"{short_name(str(self.path))} holds a run with {name} "
                    f"{short_name(str(old), 80)!r}, this one has {short_name(str(new), 80)!r}; "
                    "give --out another folder"
                )

    def _drop_cut_line(self) -> None:
        """Cut what a killed process left behind its last whole line."""
        if not self._own.exists():
            return
        content = self._own.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._own, whole)


def make_folder(path: Path) -> None:
    """Make the folder of a run if it is missing.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InputError:
    reason = error.strerror or type(error).__name__
    where = short_name(str(path))
    return InputError(f"cannot write to {where} ({reason}); give --out another folder")


def write_beside(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _line(who: str, prediction: Prediction) -> str:
    return json.dumps({"who": who, **prediction.to_row()}) + "\n"


def _read(path: Path) -> Iterator[tuple[str, Prediction]]:
    """Return the rows of a file; what is no whole row is asked again."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
                if "broken" not in row:
                    yield row["who"], Prediction.from_row(row)
            except (ValueError, KeyError, TypeError):
                continue
