"""COCO: one file of pictures, categories and boxes.

Categories are numbered from 1 in the order of the names. An annotation has its `score` beside COCO's own fields, so
the list is also one of results, as `pycocotools.coco.COCO.loadRes` takes them.

Source: cocodataset.org/#format-data.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from fo1.export.picture import LabelledPicture, Write
from fo1.formats.beside import written_beside


@contextmanager
def export_coco(folder: Path, names: Sequence[str]) -> Iterator[Write]:
    """Yield what writes coco.json."""
    numbers = {name: number for number, name in enumerate(names, 1)}
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    head = {"info": {"description": "labelled with fo1"}, "licenses": [], "categories": categories}
    with written_beside(folder / "coco.json") as file, TemporaryFile(dir=folder) as rest:
        file.write(f'{json.dumps(head)[:-1]}, "images": ['.encode())
        images, annotations = _List(file), _List(rest)

        def write(picture: LabelledPicture) -> None:
            found = picture.detections
            height, width = found.image_size
            row = {"id": picture.number, "file_name": picture.name}
            images.append(row | {"height": height, "width": width})
            for item in found:
                x1, y1, x2, y2 = (round(float(side), 2) for side in item.box)
                box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
                annotations.append(
                    {
                        "id": annotations.count + 1,
                        "image_id": picture.number,
                        "category_id": numbers[item.label],
                        "bbox": box,
                        "area": round(box[2] * box[3], 4),
                        "segmentation": [],
                        "iscrowd": 0,
                        "score": round(item.score, 4),
                    }
                )

        yield write
        file.write(b'], "annotations": [')
        rest.seek(0)
        shutil.copyfileobj(rest, file)
        file.write(b"]}\n")


class _List:
    """Writes the elements of a JSON list, one a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.count = file, 0

    def append(self, row: dict[str, Any]) -> None:
        self._file.write((",\n" if self.count else "\n").encode() + json.dumps(row).encode())
        self.count += 1
