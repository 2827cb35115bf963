"""What the files of the RefCOCO family hold: a pickle of plain values and a COCO file.

Source: lichengunc/refer, refer.py (keys).
"""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fo1.errors import InputError
from fo1.formats.broken import Broken
from fo1.formats.limits import SIDES, check_reach, check_whole
from fo1.formats.tables import TableRow, TableRows
from fo1.geometry import Boxes, Size, box_area, check_boxes, xywh_to_xyxy


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture.

    Attributes:
        path: its file.
        number: its id in COCO.
        size: (height, width).
        objects: (K, 4) xyxy boxes that are annotated in it; None where they are not known.
    """

    path: Path
    number: int
    size: Size
    objects: Boxes | None


class Instances:
    """Pictures and boxes of an instances.json; a row is read when it is needed.

    Args:
        path: the file.
        folder: of the pictures.

    Raises:
        InputError: the file cannot be read or is something else.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        try:
            content = json.loads(path.read_bytes())
            tables = [content["images"], content["annotations"]]
            images, annotations = ([row for row in t if isinstance(row, dict)] for t in tables)
        except OSError as error:
            raise InputError(f"cannot read {path} ({error.strerror}); unpack it again") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise InputError(
                f"{path} is no COCO file of images and annotations ({reason})"
            ) from error
        self.folder = folder
        self.images = {str(row.get("id")): row for row in images}
        self.annotations = {str(row.get("id")): row for row in annotations}
        self.of_image: dict[str, list[dict[str, Any]]] = {}
        for row in annotations:
            self.of_image.setdefault(str(row.get("image_id")), []).append(row)
        self.pictures: dict[int, Picture] = {}

    def picture(self, number: int) -> Picture:
        """Return a picture with all its boxes that can be read, crowds left out.

        Raises:
            InputError: it is not known or lacks something.
        """
        if number not in self.pictures:
            if str(number) not in self.images:
                raise InputError(f"instances.json has no image {number}")
            row = TableRow(number, f"image {number}", self.images[str(number)])
            size = read_size(row)
            objects = [np.zeros((0, 4), np.float32)]
            for one in self.of_image.get(str(number), ()):
                try:
                    objects += [] if one.get("iscrowd") else [_box_of(one)]
                except InputError:
                    continue  # it is told where an expression means it
            path = self.folder / row.take("file_name", str)
            self.pictures[number] = Picture(path, number, size, np.concatenate(objects))
        return self.pictures[number]

    def boxes(self, annotations: list[int], picture: int) -> Boxes:
        """Return the boxes (M, 4) of annotations of a picture.

        Raises:
            InputError: one is not known or has no area.
        """
        boxes = [np.zeros((0, 4), np.float32)]
        for number in dict.fromkeys(annotations):
            row = self.annotations.get(str(number), {})
            if row.get("image_id") != picture:
                raise InputError(f"instances.json has no annotation {number} of image {picture}")
            boxes.append(_box_of(row))
        return np.concatenate(boxes)


def read_pickle(path: Path) -> TableRows:
    """Return the rows of a pickle of plain values; nothing in it is ever run.

    Raises:
        InputError: it cannot be read, is damaged, wants a class or function, or holds no list.
    """
    try:
        with path.open("rb") as file:
            rows = _PlainUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); unpack it again") from error
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is no pickle of plain lists and dicts ({reason})") from error
    if not isinstance(rows, list):
        raise InputError(f"{path} holds a {type(rows).__name__}; expected a list of refs")
    table = TableRows((path,))
    for number, row in enumerate(rows):
        place = f"{path.name} row {number}"
        if isinstance(row, dict):
            table.rows.append(TableRow(number, place, row))
        else:
            table.broken.append(Broken(place, f"{place}: {type(row).__name__}; expected a dict"))
    return table


def read_size(row: TableRow) -> Size:
    """Return (height, width) of a picture.

    Raises:
        InputError: a side is missing or is none.
    """
    height, width = (check_whole(row.take(s, int), s, SIDES) for s in ("height", "width"))
    return height, width


def with_area(boxes: Boxes, where: str) -> Boxes:
    """Return boxes (N, 4) xyxy that are known to have an area.

    Raises:
        InputError: one has none, or is farther away than any picture.
    """
    if not box_area(check_reach(check_boxes(boxes, None, where=where), where)).all():
        raise InputError(f"{where}: a box has no area; expected width and height above 0")
    return boxes


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants {module_name}.{global_name}")


def _box_of(annotation: dict[str, Any]) -> Boxes:
    where = f"bbox of annotation {annotation.get('id')}"
    return with_area(xywh_to_xyxy([annotation.get("bbox", ())]), where)
