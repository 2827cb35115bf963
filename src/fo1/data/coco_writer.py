"""Records as a COCO file, for tools that read nothing else and for measuring on held-out pictures."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fo1.data.schema import Record
from fo1.data.storage import open_picture
from fo1.formats.beside import write_beside


def to_coco(records: Iterable[Record]) -> dict[str, Any]:
    """Return what a COCO detection file holds; records without one picture are left out.

    An object stands under its own name. Names that were looked for are categories as well.
    """
    images: list[dict[str, Any]] = []
    boxes: list[tuple[int, str, Any]] = []
    names: set[str] = set()
    for record in records:
        if len(record.pictures) != 1:
            continue
        picture = record.pictures[0]
        size = picture.size
        if size is None:
            image = open_picture(record, 0)
            size = (image.height, image.width)
        number = len(images) + 1
        images.append(
            {"id": number, "file_name": picture.file, "height": size[0], "width": size[1]}
        )
        names |= {*record.looked_for, *record.absent}
        for one in record.objects:
            if one.names:
                boxes.append((number, one.names[0], one))
                names.add(one.names[0])
    numbers = {name: place for place, name in enumerate(sorted(names), 1)}
    return {
        "images": images,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": [
            {
                "id": place,
                "image_id": image,
                "category_id": numbers[name],
                "bbox": [one.box[0], one.box[1], one.box[2] - one.box[0], one.box[3] - one.box[1]],
                "area": (one.box[2] - one.box[0]) * (one.box[3] - one.box[1]),
                "iscrowd": int(one.crowd),
            }
            for place, (image, name, one) in enumerate(boxes, 1)
        ],
    }


def write_coco(records: Iterable[Record], path: Path) -> int:
    """Write records as a COCO file; return how many pictures it has."""
    table = to_coco(records)
    write_beside(path, json.dumps(table) + "\n")
    return len(table["images"])
