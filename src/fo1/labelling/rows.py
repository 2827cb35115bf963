"""Rows of a labelling run on the disk: a file per shard, whole or not there.

OUT/parts/0000/00000007.jsonl holds shard 7, a row per picture, in the order of the list:

    {"image": name, "width": W, "height": H, "detections": [...]}    or
    {"image": name, "error": one line with the cure}
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError, short_name
from fo1.formats.beside import written_beside
from fo1.geometry import as_boxes
from fo1.labelling.pictures import Picture, PictureList, Shard, read_shard
from fo1.results import Detections

Row: TypeAlias = dict[str, Any]

PARTS: Final = "parts"
_IN_FOLDER = 1000
_FAILED = b', "error": '  # in JSON a quote inside a text stands behind a backslash


@dataclass(frozen=True, slots=True)
class Tally:
    """How far a shard has come.

    Attributes:
        done: pictures that have a row.
        failed: those of them that could not be labelled.
    """

    done: int = 0
    failed: int = 0


def part_of(out: Path, shard: Shard) -> Path:
    """Return the file of a shard's rows."""
    folder = f"{shard.number // _IN_FOLDER:04}"
    return out / PARTS / folder / f"{shard.number:08}.jsonl"


def write_rows(out: Path, shard: Shard, rows: Sequence[Row]) -> None:
    """Write the rows of a shard; they are all on the disk when this returns, or none."""
    path = part_of(out, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as file:
        for row in rows:
            file.write(json.dumps(row).encode() + b"\n")


def tally(out: Path, shard: Shard) -> Tally:
    """Return how many rows of a shard there are."""
    try:
        data = part_of(out, shard).read_bytes()
    except FileNotFoundError:
        return Tally()
    if data.count(b"\n") != shard.count or not data.endswith(b"\n"):
        return Tally()  # somebody changed it
    return Tally(shard.count, data.count(_FAILED))


def read_rows(out: Path, shard: Shard, pictures: Sequence[Picture]) -> list[Row]:
    """Return the rows of a shard.

    Raises:
        InputError: they are not those of its pictures.
    """
    path = part_of(out, shard)
    try:
        with path.open("rb") as file:
            rows = [json.loads(line) for line in file]
        named = [row["image"] for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if named != [one.name for one in pictures]:
        raise _damaged(path)
    return rows


def all_rows(out: Path, pictures: PictureList) -> Iterator[tuple[Picture, Row]]:
    """Yield every picture with its row, in order; one shard is in memory.

    Raises:
        InputError: rows are missing or of other pictures.
    """
    for number in range(pictures.num_shards):
        shard = pictures.shard(number)
        inside = read_shard(pictures.file, shard)
        yield from zip(inside, read_rows(out, shard, inside), strict=True)


def as_row(picture: Picture, found: Detections) -> Row:
    """Return the row of a picture; boxes with two decimals, scores with four."""
    height, width = found.image_size
    return {
        "image": picture.name,
        "width": width,
        "height": height,
        "detections": found.to_dicts(),
    }


def as_detections(row: Row) -> Detections:
    """Return what a row without an error tells."""
    found = row["detections"]
    return Detections(
        boxes=as_boxes([one["box"] for one in found]),
        labels=tuple(one["label"] for one in found),
        scores=np.array([one["score"] for one in found], np.float32),
        regions=np.array([one["region"] for one in found], np.int64),
        image_size=(row["height"], row["width"]),
        proposal_scores=_known(found, "proposal_score"),
        model_scores=_known(found, "model_score"),
    )


def _known(found: Sequence[Row], name: str) -> npt.NDArray[np.float32] | None:
    """Return one score of all detections; None where it is not told."""
    told = [one[name] for one in found if name in one]
    return np.array(told, np.float32) if len(told) == len(found) else None


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{short_name(str(path))} is damaged; delete it, and the command makes it again"
    )
