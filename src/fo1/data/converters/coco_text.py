"""COCO-Text: where words stand in COCO's pictures, and what they say.

    cocotext.v2.json    {"imgs": {"390310": {"id": 390310, "set": "train", "width": 640, "height": 480,
                                             "file_name": "COCO_train2014_000000390310.jpg"}, ...},
                         "anns": {"45346": {"id": 45346, "image_id": 390310, "bbox": [x, y, width, height],
                                            "utf8_string": "New", "legibility": "legible",
                                            "language": "english", "class": "machine printed"}, ...},
                         "imgToAnns": {...}}
    train2014/COCO_train2014_000000390310.jpg

Every box is an object "text"; a legible one with letters has its reading. An illegible one has none, and nothing is
asked about what it says. Pictures of the set "train" alone are read. Text was looked for in all of them.

Source: bgshih.github.io/cocotext, andreasveit/coco-text.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.coco import refer_picture
from fo1.data.converters.conversion import BadRows
from fo1.data.converters.known_names import known_names
from fo1.data.converters.picture_files import PictureFolders, is_numbers, read_box
from fo1.data.schema import Record, TrueObject, check_record
from fo1.errors import InputError, short_name
from fo1.formats.limits import NAME_LENGTH, check_length
from fo1.formats.located import Located, read_located
from fo1.geometry import Size
from fo1.tags import neutralise

LAYOUTS: Final = ("cocotext.v2.json", "COCO_Text.json", "annotations/cocotext.v2.json")
FOLDERS: Final = ("train2014", "images/train2014", "images", "train_images", ".")
NAME: Final = "text"
SPLIT: Final = "train"


def convert_coco_text(
    source: Path, bad: BadRows, *, pictures: Path | None = None
) -> Iterator[Record]:
    """Return one record per picture of the training set; see the module for the layout.

    Args:
        source: folder or annotation file.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures or of train2014/.

    Raises:
        InputError: there is no annotation file, it is something else, or too many rows are bad.
    """
    path = find_annotations(source)
    document = read_located(path, leave_out=("mask", "polygon"))
    images, annotations = document.rows("imgs"), document.rows("anns")
    bad.seen(len(images) + len(annotations))
    of_image, pictured = _by_image(annotations), {_id(row) for row in images}
    for number, rows in of_image.items():
        if number not in pictured:
            for row in rows:
                bad.drop(path, row.line, f"image_id of {_named(row)} is not among the pictures")
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    top = [pictures] if pictures else [root]
    folders = PictureFolders([folder / one for folder in top for one in FOLDERS])
    for row in images:
        if not isinstance(row.value, dict):
            bad.drop(path, row.line, f"picture {row.key} is no object")
            continue
        if row.value.get("set", SPLIT) != SPLIT:
            continue
        try:
            picture = refer_picture(row.value, folders)
        except InputError as error:
            bad.drop(path, row.line, error)
            continue
        number = _id(row)
        rows = of_image.get(number, [])
        objects = tuple(_objects(path, rows, picture.size, bad))
        known = known_names((NAME,), objects, (NAME,) if len(objects) < len(rows) else ())
        yield check_record(
            Record(
                key=f"coco-text/{number}",
                pictures=(picture,),
                objects=objects,
                looked_for=known.looked_for,
                partial=known.partial,
                source=f"{path.name}:{row.line}",
            )
        )


def find_annotations(source: Path) -> Path:
    """Return the annotation file of a folder, or the file itself.

    Raises:
        InputError: there is none.
    """
    if source.is_file():
        return source
    for name in LAYOUTS:
        if (source / name).is_file():
            return source / name
    raise InputError(f"{source} holds no {LAYOUTS[0]}; download COCO-Text there")


def read_annotation(row: Mapping[str, Any], size: Size | None) -> TrueObject:
    """Return the object of a row of `anns`.

    Raises:
        InputError: it has no box in the picture, or its reading is no text.
    """
    numbers = row.get("bbox")
    if not is_numbers(numbers, 4):
        raise InputError(f"bbox is {short_name(str(numbers), 60)}; expected [x, y, width, height]")
    x, y, width, height = map(float, numbers)
    box = read_box([x, y, x + width, y + height], size, what="bbox")
    reading = row.get("utf8_string", "")
    if row.get("legibility", "legible") != "legible" or reading is None:
        return TrueObject(box, (NAME,))
    if not isinstance(reading, str):
        raise InputError(f"utf8_string is {short_name(str(reading), 40)}; expected a text")
    check_length(reading, "utf8_string", NAME_LENGTH)
    reading = neutralise(" ".join(reading.split()))
    return TrueObject(box, (NAME,), texts=(reading,) if reading else ())


def _objects(
    path: Path, rows: list[Located], size: Size | None, bad: BadRows
) -> Iterator[TrueObject]:
    for row in rows:
        try:
            yield read_annotation(row.value, size)
        except InputError as error:
            bad.drop(path, row.line, f"{_named(row)}: {error}")


def _by_image(rows: list[Located]) -> dict[str, list[Located]]:
    found: dict[str, list[Located]] = {}
    for row in rows:
        values = row.value if isinstance(row.value, dict) else {}
        found.setdefault(str(values.get("image_id")), []).append(row)
    return found


def _id(row: Located) -> str:
    number = row.value.get("id", row.key) if isinstance(row.value, dict) else row.key
    return str(number)


def _named(row: Located) -> str:
    return f"annotation {short_name(str(row.key), 40)}"
