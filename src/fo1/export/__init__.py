"""Detections of many pictures as the files that labelling and training tools read, one picture after another.

    with export("coco", folder, names) as write:
        write(LabelledPicture("a/cup.jpg", "/photos/a/cup.jpg", 1, detections))

    coco       coco.json            all pictures; every box has its score as well
    yolo       yolo/labels/*.txt    a file per picture, data.yaml, train.txt
    labelme    labelme/*.json       a file per picture
    voc        voc/*.xml            a file per picture
    jsonl      labels.jsonl         a line per picture, as `fo1 detect --json` writes detections
    parquet    labels.parquet       a row per picture

Files take their places when all pictures are written, or never. Memory does not grow with the number of pictures.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fo1.errors import InputError
from fo1.export.coco import export_coco
from fo1.export.labelme import export_labelme
from fo1.export.picture import LabelledPicture, Write
from fo1.export.tables import export_jsonl, export_parquet
from fo1.export.voc import export_voc
from fo1.export.yolo import export_yolo

__all__ = ("EXPORTS", "FILE_PER_PICTURE", "LabelledPicture", "Write", "export")

EXPORTS: Final[Mapping[str, Callable[[Path, Sequence[str]], AbstractContextManager[Write]]]] = (
    MappingProxyType(
        {
            "coco": export_coco,
            "yolo": export_yolo,
            "labelme": export_labelme,
            "voc": export_voc,
            "jsonl": export_jsonl,
            "parquet": export_parquet,
        }
    )
)
"""By the name of the format."""

FILE_PER_PICTURE: Final = ("yolo", "labelme", "voc")
"""Formats with a file per picture, named after it without its ending."""


def export(name: str, folder: Path, names: Sequence[str]) -> AbstractContextManager[Write]:
    """Return a context whose value writes one picture after another.

    Args:
        name: of the format.
        folder: exists; see the module for the files in it.
        names: all labels that may come, in the order that numbers them.

    Raises:
        InputError: there is no such format; lists those that there are.
        MissingExtraError: it needs a package that is not installed; on entering.
    """
    if name not in EXPORTS:
        raise InputError(f"no format {name[:40]!r}; choose from {', '.join(EXPORTS)}")
    return EXPORTS[name](folder, names)
