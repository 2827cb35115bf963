"""LabelMe: a JSON file per picture, which names the picture and holds a rectangle per box.

    labelme/a/cup.json       of a/cup.jpg

The score stands in the shape's `description`, where LabelMe shows it.

Source: wkentaro/labelme, labelme/label_file.py.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fo1.export.picture import LabelledPicture, Write, label_file
from fo1.formats.beside import folder_written_beside


@contextmanager
def export_labelme(folder: Path, names: Sequence[str]) -> Iterator[Write]:
    """Yield what writes the folder labelme; names stand in the files themselves."""
    final = folder / "labelme"
    with folder_written_beside(final) as target:

        def write(picture: LabelledPicture) -> None:
            path = label_file(target, picture.name, ".json")
            height, width = picture.detections.image_size
            table = {
                "version": "5.0.0",
                "flags": {},
                "shapes": [
                    {
                        "label": row["label"],
                        "points": [row["box"][:2], row["box"][2:]],
                        "group_id": None,
                        "description": f"score {row['score']:.4f}",
                        "shape_type": "rectangle",
                        "flags": {},
                    }
                    for row in picture.detections.to_dicts()
                ],
                "imagePath": _from(final / path.relative_to(target), picture.path),
                "imageData": None,
                "imageHeight": height,
                "imageWidth": width,
            }
            path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8", newline="\n")

        yield write


def _from(path: Path, picture: str) -> str:
    """Return where a picture lies, seen from its labels."""
    try:
        return os.path.relpath(picture, path.parent).replace(os.sep, "/")
    except ValueError:  # on another drive
        return picture
