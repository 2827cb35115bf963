"""Examples of detection benchmarks from annotation files of COCO's kind."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fo1.evaluation.detection.truth import DetectionTruth
from fo1.evaluation.example import Example
from fo1.formats.broken import Broken
from fo1.formats.coco import CocoFile, Fields
from fo1.geometry import Size
from fo1.pipeline import Request

Asking: TypeAlias = Callable[[DetectionTruth], tuple[Request, ...]]
"""What is asked of a picture."""


def coco_examples(
    file: CocoFile,
    pictures: Path,
    asking: Asking,
    *,
    part: str = "",
    file_name: Callable[[Fields], str] | None = None,
    partly: Callable[[Fields], tuple[tuple[str, ...], tuple[str, ...]]] | None = None,
    sized: bool = True,
) -> tuple[tuple[Example[DetectionTruth], ...], tuple[Broken, ...]]:
    """Return one example per picture, and all rows that cannot be used.

    Args:
        file: the annotation file.
        pictures: folder of the pictures.
        asking: tells the requests.
        part: name of the data set in a collection.
        file_name: tells where a picture lies in the folder; its "file_name" if None.
        partly: tells the names that are known to be absent and those not all marked, where only
            some names were looked for. It and `file_name` may raise ValueError.
        sized: whether pictures must have the size that the file gives.
    """
    examples: list[Example[DetectionTruth]] = []
    broken = [Broken(f"{part} {bad.key}".strip(), bad.problem) for bad in file.broken]
    for row in file.pictures:
        try:
            name = (file_name or _file_name)(row)
            absent, unsure = partly(row) if partly else (None, ())
            truth = _truth(file, row["id"], part, absent, unsure)
            examples.append(
                Example(
                    key=f"{part}/{row['id']}" if part else str(row["id"]),
                    picture=f"{part}/{name}" if part else name,
                    image=pictures / name,
                    requests=asking(truth),
                    truth=truth,
                    image_id=f"{part}/{row['id']}" if part else row["id"],
                    image_size=_size(row) if sized else None,
                )
            )
        except ValueError as error:
            broken.append(Broken(f"{part} image {row['id']}".strip(), str(error)))
    return tuple(examples), tuple(broken)


def _size(row: Fields) -> Size | None:
    """Return (height, width) of a picture's row, None where it does not say."""
    height, width = row.get("height"), row.get("width")
    if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
        return height, width
    return None


def text_field(row: Fields, field: str) -> str:
    """Return a text of a row.

    Raises:
        ValueError: there is none; says what was found.
    """
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field} is {str(value)[:60]!r}, need a text")
    return value


def _file_name(row: Fields) -> str:
    return text_field(row, "file_name")


def _truth(
    file: CocoFile, number: int, part: str, absent: tuple[str, ...] | None, unsure: tuple[str, ...]
) -> DetectionTruth:
    rows = file.boxes[number]
    return DetectionTruth(
        boxes=np.array([row.box for row in rows], float).reshape(-1, 4),
        labels=tuple(row.name for row in rows),
        crowd=np.array([row.crowd for row in rows], bool),
        areas=np.array([row.area for row in rows], float),
        number=number,
        part=part,
        absent=absent,
        unsure=unsure,
    )
