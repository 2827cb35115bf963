"""YOLO: a text file per picture, one line per box: number of the class, centre and size as shares of the picture's.

    yolo/data.yaml           names by number, counted from 0
    yolo/labels/a/cup.txt    of a/cup.jpg; empty where nothing was found
    yolo/images              link to the folder of the pictures, if the system allows links
    yolo/train.txt           the pictures that have labels, behind that link

Scores have no place in it.

Source: docs.ultralytics.com/datasets/detect.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fo1.export.picture import LabelledPicture, Write, label_file
from fo1.formats.beside import folder_written_beside
from fo1.geometry import clip_boxes

_DIGITS = 6


@contextmanager
def export_yolo(folder: Path, names: Sequence[str]) -> Iterator[Write]:
    """Yield what writes the folder yolo."""
    numbers = {name: number for number, name in enumerate(names)}
    with folder_written_beside(folder / "yolo") as target:
        # A JSON text is one of YAML.
        listed = "".join(f"  {number}: {json.dumps(name)}\n" for name, number in numbers.items())
        head = "# labelled with fo1\ntrain: train.txt\nval: train.txt\n"
        (target / "data.yaml").write_text(f"{head}names:\n{listed}", encoding="utf-8")
        (target / "labels").mkdir()
        with (target / "train.txt").open("wb") as train:

            def write(picture: LabelledPicture) -> None:
                _link(target, picture)
                train.write(f"./images/{picture.name}\n".encode(errors="surrogateescape"))
                height, width = picture.detections.image_size
                boxes = clip_boxes(picture.detections.boxes, (height, width)).tolist()
                lines: list[str] = []
                for label, (x1, y1, x2, y2) in zip(picture.detections.labels, boxes, strict=True):
                    centre, size = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
                    pairs = zip((*centre, *size), (width, height) * 2, strict=True)
                    shares = " ".join(f"{part / whole:.{_DIGITS}f}" for part, whole in pairs)
                    lines.append(f"{numbers[label]} {shares}\n")
                path = label_file(target / "labels", picture.name, ".txt")
                path.write_text("".join(lines), encoding="ascii", newline="\n")

            yield write


def _link(target: Path, picture: LabelledPicture) -> None:
    """Link the folder of the pictures, once."""
    link = target / "images"
    if not link.is_symlink():
        root = Path(picture.path).parents[picture.name.count("/")]
        with suppress(OSError):  # a system or a disk without links
            link.symlink_to(root, target_is_directory=True)
