"""The folder of a run: rows that survive anything, written by any number of processes.

    OUT/settings.json        what the rows answer; a run with other settings is refused
    OUT/rows.jsonl           all rows, in the order of the data set, once the run is through
    OUT/parts/rows-0.jsonl   rows of process 0 while it runs; gone at the end

A row is on the disk before the next batch begins. A last line that was cut is dropped, and its
example is asked again. Finished files are written beside and then renamed. Rows stay on the disk:
what is kept of them in memory is where they lie.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from fo1.evaluation.prediction import Prediction, Row
from fo1.formats.beside import sweep, written_beside
from fo1.formats.run_settings import check_settings, lock, make_folder, unwritable

Key: TypeAlias = tuple[str, str]
"""(contestant, key of the example)."""

ROWS, PARTS = "rows.jsonl", "parts"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row lies.

    Attributes:
        file: one of the folder's.
        offset: of its first byte.
        failed: whether the example could not be asked.
    """

    file: Path
    offset: int
    failed: bool


class RunFolder:
    """Rows of one run.

    Args:
        path: the folder; made if missing.
        settings: what the rows depend on.
        rank: number of this process.

    Attributes:
        path: the folder.
        found: how many rows there were before this run.

    Raises:
        InputError: the folder holds a run with other settings, is used by another one, or cannot
            be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], rank: int = 0) -> None:
        self.path, self.found = path, 0
        self._own = path / PARTS / f"rows-{rank}.jsonl"
        make_folder(path)
        try:
            check_settings(path, settings)
            self._lock = None if rank else lock(path)
            if not rank:
                sweep(path)
            self._own.parent.mkdir(exist_ok=True)
            self._drop_cut_line()
            self._file = self._own.open("ab")
        except OSError as error:
            raise unwritable(path, error) from error

    def places(self, answers: Mapping[str, int]) -> dict[Key, Place]:
        """Return where all whole rows lie, also those of other processes.

        Args:
            answers: how many each example must have; a row with another number is no row.
        """
        files = [self.path / ROWS, *sorted((self.path / PARTS).glob("rows-*.jsonl"))]
        return {key: place for file in files for key, place in _scan(file, answers)}

    def read(self, place: Place) -> Prediction:
        """Return a row."""
        with place.file.open("rb") as file:
            file.seek(place.offset)
            return Prediction.from_row(json.loads(file.readline()))

    def append(self, rows: Iterable[tuple[str, Prediction]]) -> None:
        """Write (contestant, prediction) to the disk; they are there when this returns."""
        lines = [json.dumps({"who": who, **prediction.to_row()}) for who, prediction in rows]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files of this process and let others use the folder."""
        self._file.close()
        if self._lock is not None:
            self._lock.close()

    def finish(
        self, order: Sequence[Key], answers: Mapping[str, int], broken: Iterable[Row]
    ) -> Iterator[tuple[str, Prediction]]:
        """Write rows.jsonl in order, rows of broken data last, and yield the rows of the order.

        Called by one process when all others are through.
        """
        places = self.places(answers)
        with written_beside(self.path / ROWS) as target:
            # Rows of contestants that this run did not ask for are kept as well.
            for line in _lines(places[key] for key in dict.fromkeys((*order, *places))):
                target.write(line)
            for row in broken:
                target.write(json.dumps(row).encode() + b"\n")
        for part in (self.path / PARTS).glob("rows-*.jsonl"):
            part.unlink()
        if not any((self.path / PARTS).iterdir()):
            (self.path / PARTS).rmdir()
        with (self.path / ROWS).open("rb") as file:
            for (who, _), line in zip(order, file, strict=False):
                yield who, Prediction.from_row(json.loads(line))

    def _drop_cut_line(self) -> None:
        """Cut what a killed process left behind its last whole line."""
        if not self._own.exists():
            return
        with self._own.open("rb") as file:  # line by line: there may be gigabytes
            whole = sum(len(line) for line in file if line.endswith(b"\n"))
        if whole < self._own.stat().st_size:
            os.truncate(self._own, whole)


def _scan(path: Path, answers: Mapping[str, int]) -> Iterator[tuple[Key, Place]]:
    """Yield the rows of a file and where they lie; what is no whole row is asked again."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
                if "broken" not in row:
                    prediction = Prediction.from_row(row)
                    failed = prediction.error is not None
                    if len(prediction.said) == answers.get(prediction.key):
                        yield (row["who"], prediction.key), Place(path, offset, failed)
            except (ValueError, KeyError, TypeError, AttributeError):
                pass
            offset += len(line)


def _lines(places: Iterable[Place]) -> Iterator[bytes]:
    """Yield the rows at some places."""
    files: dict[Path, IO[bytes]] = {}
    try:
        for place in places:
            if place.file not in files:
                files[place.file] = place.file.open("rb")
            files[place.file].seek(place.offset)
            yield files[place.file].readline()
    finally:
        for file in files.values():
            file.close()
