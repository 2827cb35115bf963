"""Pascal VOC: an XML file per picture.

    voc/a/cup.xml            of a/cup.jpg

Boxes are whole pixels counted from 1, both ends inside, as the development kit has them: xmin is the left border,
rounded, plus 1, and xmax the right border, rounded. Scores have no place in it.

Source: host.robots.ox.ac.uk/pascal/VOC, devkit_doc, annotation format.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from fo1.export.picture import LabelledPicture, Write, label_file
from fo1.formats.beside import folder_written_beside
from fo1.results import Detection, Detections

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@contextmanager
def export_voc(folder: Path, names: Sequence[str]) -> Iterator[Write]:
    """Yield what writes the folder voc; names stand in the files themselves."""
    with folder_written_beside(folder / "voc") as target:

        def write(picture: LabelledPicture) -> None:
            path = label_file(target, picture.name, ".xml")
            path.write_bytes(_page(picture.name, picture.detections))

        yield write


def _page(name: str, found: Detections) -> bytes:
    root = Element("annotation")
    height, width = found.image_size
    pure = PurePosixPath(name)
    _add(root, folder=str(pure.parent), filename=pure.name)
    _add(SubElement(root, "source"), database="labelled with fo1")
    _add(SubElement(root, "size"), width=width, height=height, depth=3)
    _add(root, segmented=0)
    for item in found:
        one = SubElement(root, "object")
        _add(one, name=item.label, pose="Unspecified", truncated=0, difficult=0)
        _add(SubElement(one, "bndbox"), **_pixels(item, width, height))
    indent(root)
    return tostring(root, encoding="utf-8") + b"\n"


def _pixels(item: Detection, width: int, height: int) -> dict[str, int]:
    """Return a box of at least one pixel inside the picture."""
    x1, y1, x2, y2 = (round(float(side)) for side in item.box)
    left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    right, low = max(min(x2, width), left + 1), max(min(y2, height), top + 1)
    return {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": low}


def _add(parent: Element, **texts: Any) -> None:
    for tag, text in texts.items():
        SubElement(parent, tag).text = _NOT_XML.sub("?", str(text))
