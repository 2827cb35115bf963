"""Records as a COCO file, for tools that read nothing else and for measuring on held-out pictures.

    images         with exhaustive_, verified_absent_ and unsure_category_ids where not every name was looked for
    annotations    one per object, under its own name

Those lists are what `fo1 eval folder` reads, so a name that nobody looked for in a picture is neither right nor wrong
there. A box whose name may have others without a box is a crowd for the same reason: it is no mistake to find it, and
none to find more.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fo1.data.schema import PictureRef, Record
from fo1.data.storage import open_picture
from fo1.data.storage.pictures import picture_suffix
from fo1.formats.beside import write_beside, written_beside


def to_coco(records: Iterable[Record]) -> dict[str, Any]:
    """Return what a COCO detection file holds; records without one picture are left out."""
    chosen = [record for record in records if len(record.pictures) == 1]
    names = sorted({name for record in chosen for name in _names(record)})
    numbers = {name: place for place, name in enumerate(names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(chosen, 1):
        complete, absent = _complete(record), set(record.absent)
        images.append(_image(record, number))
        if complete | absent != set(names):
            unsure = set(names) - complete - absent
            images[-1] |= {
                f"{part}_category_ids": sorted(numbers[name] for name in part_names)
                for part, part_names in (
                    ("exhaustive", complete - absent),
                    ("verified_absent", absent),
                    ("unsure", unsure),
                )
            }
        for one in record.objects:
            if not one.names:
                continue
            x1, y1, x2, y2 = one.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": numbers[one.names[0]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": int(one.crowd or one.names[0] not in complete),
                }
            )
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "categories": categories, "annotations": annotations}


def write_coco(records: Iterable[Record], path: Path) -> int:
    """Write records as a COCO file; return how many pictures it has.

    Pictures that lie inside records are written into a folder of the file's name beside it.
    """
    folder = path.with_suffix("")
    chosen = list(records)
    table = to_coco(chosen)
    inside = [record.pictures[0] for record in chosen if len(record.pictures) == 1]
    for row, picture in zip(table["images"], inside, strict=True):
        if picture.data is not None:
            row["file_name"] = _write_picture(picture, folder, row["id"])
    write_beside(path, json.dumps(table) + "\n")
    return len(table["images"])


def _names(record: Record) -> set[str]:
    """Return the names that a picture is asked for: those that were looked for, and what its objects go by."""
    own = {one.names[0] for one in record.objects if one.names}
    return {*record.looked_for, *record.absent, *own}


def _complete(record: Record) -> set[str]:
    """Return the names that were looked for and that no object has behind its own, under which it does not stand."""
    own = {one.names[0] for one in record.objects if one.names}
    further = {name for one in record.objects for name in one.names[1:]}
    return {name for name in record.looked_for if name in own or name not in further}


def _image(record: Record, number: int) -> dict[str, Any]:
    picture = record.pictures[0]
    size = picture.size
    if size is None:
        image = open_picture(record)
        size = (image.height, image.width)
    return {"id": number, "file_name": picture.file, "height": size[0], "width": size[1]}


def _write_picture(picture: PictureRef, folder: Path, number: int) -> str:
    """Write the bytes of a picture and return its name in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number:06}.{picture_suffix(picture)}"
    with written_beside(folder / name) as file:
        file.write(picture.data or b"")
    return name
