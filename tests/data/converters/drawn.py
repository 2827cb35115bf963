"""Drawn pictures and drawn records, for the tests of converters."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fo1.data.converters import BadRows, get_converter
from fo1.data.schema import Record
from fo1.data.storage.pictures import open_picture
from fo1.results import Detections
from fo1.visualize import draw


def paint(path: Path, width: int = 64, height: int = 48) -> Path:
    """Write a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (40, 90, 60)).save(path)
    return path


def read(
    name: str, source: Path, *, most: float = 1.0, pictures: Path | None = None
) -> tuple[dict[str, Record], BadRows]:
    """Return the records of a data set by key, and its bad rows."""
    bad = BadRows(most)
    records = list(get_converter(name)(source, bad, pictures=pictures))
    assert len({one.key for one in records}) == len(records)
    for one in records:
        Record.from_dict(one.to_dict())  # which checks every field
    return {one.key: one for one in records}, bad


def places(bad: BadRows) -> list[tuple[str, int | None]]:
    """Return file name and line of all bad rows."""
    return [(Path(row.file).name, row.line) for row in bad.bad]


def is_drawn(record: Record, number: int = 0) -> bool:
    """Return whether drawing a record changes its picture where an object's border is."""
    one = record.objects[number]
    image = open_picture(record, one.picture)
    boxes, zero = np.array([one.box], np.float32), np.zeros(1, np.int64)
    size = (image.height, image.width)
    found = Detections(boxes, ("cat",), np.ones(1, np.float32), zero, size)
    before, after = np.asarray(image, int), np.asarray(draw(image, found, show_scores=False), int)
    changed: Any = np.abs(after - before).sum(-1) > 60
    x1, y1, x2, y2 = (round(side) for side in one.box)
    top, left = changed[y1, x1 + 2 : x2 - 2], changed[y1 + 2 : y2 - 2, x1]
    return bool(left.mean() > 0.5 or top.mean() > 0.5)
