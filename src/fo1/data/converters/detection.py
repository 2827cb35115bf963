"""Which format a data set has, told by the names of its files and by the fields in them; nothing is read whole."""

import mmap
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from fo1.data.converters.coco import LAYOUTS as COCO_LAYOUTS
from fo1.data.converters.coco_text import LAYOUTS as COCO_TEXT_LAYOUTS
from fo1.data.converters.yolo_folder import NAME_FILES, find_table
from fo1.errors import InputError, short_name

RECORDS: Final = "records"
"""The answer for data that needs no converter."""

EXPECTED: Final = (
    "records (.jsonl, .parquet, .tar), coco or lvis (a .json of images, annotations and categories), "
    "yolo (data.yaml), labelme (a .json of shapes per picture), coco-text (cocotext.v2.json), "
    "refcoco (refs(...).p), visual-genome (image_data.json), flickr30k-entities (Annotations/, Sentences/), "
    "grit (rows with noun_chunks), conversations or region-conversations (rows with conversations), "
    "counts (rows with number or count)"
)

_PEEK = 1 << 18
_FIELD = re.compile(rb'"(\w{1,40})"\s*:')
_TABLES = ("*.json", "*.jsonl", "*.jsonl.gz", "*.parquet", "*.tar", "*.p")
_MOST_FILES = 20
_COLUMNS = (
    *("key", "turns", "looked_for", "noun_chunks", "ref_exps", "conversations", "messages"),
    *("number", "count", "label", "question", "text", "caption", "bbox", "sent", "points"),
    *("description", "annotation"),
)
_BOX_FIELDS = {
    "annotation",
    "annotations",
    "segmentation",
    "bbox",
    "boxes",
    "box_x1y1x2y2",
    "region",
}


def detect_format(source: Path) -> str:
    """Return the name of the converter that reads a data set, or `RECORDS` where it holds records already.

    Args:
        source: folder or file.

    Raises:
        InputError: it is not there, or is none that is known; says what was looked for.
    """
    if source.is_file():
        found = format_of_file(source)
    elif source.is_dir():
        found = _format_of_folder(source)
    else:
        raise InputError(f"{short_name(str(source))} does not exist; give a folder or file of data")
    if found is None:
        raise InputError(f"{short_name(str(source))} is of no known format; expected {EXPECTED}")
    return found


def format_of_file(path: Path) -> str | None:
    """Return the format of a file; None if it is not known.

    Raises:
        InputError: it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return "yolo"
    if suffix in (".p", ".pkl", ".pickle"):
        return "refcoco"
    try:
        if suffix == ".tar":
            return _of_fields(_fields_of_tar(path)) or RECORDS
        if suffix == ".parquet":
            end = _ends(path)
            return _of_fields({name for name in _COLUMNS if name.encode() in end})
        if path.name.lower().endswith(".jsonl.gz"):
            return RECORDS  # the only files that are read packed
        fields = {name.decode() for name in _FIELD.findall(_ends(path))}
        return _of_document(path, fields) or _of_fields(fields)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"cannot read {short_name(str(path))} ({error}); copy it again") from error


def _format_of_folder(folder: Path) -> str | None:
    for name, holds in _MARKS.items():
        if holds(folder):
            return name
    candidates = _files(folder, (*COCO_LAYOUTS[:-2], *_TABLES, *(f"*/{one}" for one in _TABLES)))
    for path in candidates[:_MOST_FILES]:
        if found := format_of_file(path):
            return found
    has_names = any((folder / name).is_file() for name in NAME_FILES)
    return "yolo" if has_names and _files(folder, ("*.txt", "labels/**/*.txt", "*/*.txt")) else None


def _files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _has(*patterns: str) -> Callable[[Path], bool]:
    return lambda folder: all(any(folder.glob(pattern)) for pattern in patterns)


def _has_table(folder: Path) -> bool:
    table = find_table(folder)
    return table is not None and b"names" in _ends(table)


_MARKS: Final[dict[str, Callable[[Path], bool]]] = {
    "yolo": _has_table,
    "visual-genome": lambda folder: (
        _has("image_data.json")(folder)
        and bool(_files(folder, ("objects.json", "region_descriptions.json")))
    ),
    "flickr30k-entities": _has("Annotations/*.xml", "Sentences/*.txt"),
    "coco": _has("annotations/instances_train*.json"),  # whose folder others of its pictures share
    "coco-text": lambda folder: bool(_files(folder, COCO_TEXT_LAYOUTS)),
    "lvis": lambda folder: bool(_files(folder, ("lvis_v*.json", "annotations/lvis_v*.json"))),
    "refcoco": lambda folder: bool(_files(folder, ("refs(*).*", "*/refs(*).*"))),
}
"""What only one format's folders hold."""


def _of_document(path: Path, fields: set[str]) -> str | None:
    """Return the format of a document that is one object; its members may stand far apart."""
    if path.suffix.lower() != ".json":
        return None
    if {"imgs", "anns"} <= fields or ("imgToAnns" in fields and _contains(path, b'"imgs"')):
        return "coco-text"
    if "shapes" in fields and fields & {"imagePath", "imageData", "imageHeight", "shape_type"}:
        return "labelme"
    parts = (b'"images"', b'"annotations"', b'"categories"')
    if fields & {"images", "annotations", "categories"} and all(_contains(path, p) for p in parts):
        return "lvis" if _contains(path, b'"neg_category_ids"') else "coco"
    return None


def _of_fields(fields: set[str]) -> str | None:
    """Return the format of rows by the fields that they have."""
    if fields & {"noun_chunks", "ref_exps"}:
        return "grit"
    if fields & {"conversations", "messages"}:
        return "region-conversations" if fields & _BOX_FIELDS else "conversations"
    if {"description", "annotation"} <= fields:
        return "region-conversations"
    if "key" in fields and fields & {"pictures", "turns", "captions", "looked_for"}:
        return RECORDS
    if "sent" in fields and "bbox" in fields:
        return "refcoco"
    if fields & {"number", "count"} and fields & {"question", "text", "label", "caption"}:
        return "counts"
    return None


def _ends(path: Path) -> bytes:
    """Return how a file begins and ends."""
    with path.open("rb") as file:
        start = file.read(_PEEK)
        length = file.seek(0, 2)
        file.seek(max(length - _PEEK, len(start)))
        return start + file.read(_PEEK)


def _contains(path: Path, part: bytes) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(part) >= 0


def _fields_of_tar(path: Path) -> set[str]:
    with tarfile.open(path) as archive:
        for _ in range(_MOST_FILES):
            member = archive.next()
            if member is None:
                break
            file = archive.extractfile(member) if member.name.endswith(".json") else None
            if file is not None:
                return {name.decode() for name in _FIELD.findall(file.read(_PEEK))}
    return set()
