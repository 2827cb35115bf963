"""Data sets of the formats that people have -> records; one function and one file for each format.

Source of each format: its converter's module.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from fo1.data.converters.conversion import BadRow, BadRows, Conversion, Converter, convert
from fo1.data.converters.detection import detect_format
from fo1.data.schema import Record
from fo1.errors import InputError

__all__ = (
    "CONVERTERS",
    "BadRow",
    "BadRows",
    "Conversion",
    "Converter",
    "convert",
    "detect_format",
    "get_converter",
)


@dataclass(frozen=True, slots=True)
class _Late:
    """A converter that is imported when it is called, since each brings its own packages."""

    module: str

    def __call__(
        self, source: Path, bad: BadRows, *, pictures: Path | None = None
    ) -> Iterator[Record]:
        module = import_module(f"{__name__}.{self.module}")
        function = cast(Converter, getattr(module, f"convert_{self.module}"))
        return function(source, bad, pictures=pictures)


CONVERTERS: Final[Mapping[str, Converter]] = MappingProxyType(
    {
        "coco": _Late("coco"),
        "lvis": _Late("lvis"),
        "yolo": _Late("yolo"),
        "labelme": _Late("labelme"),
        "coco-text": _Late("coco_text"),
        "refcoco": _Late("refcoco"),
        "visual-genome": _Late("visual_genome"),
        "flickr30k-entities": _Late("flickr30k"),
        "grit": _Late("grit"),
        "region-conversations": _Late("region_conversations"),
        "conversations": _Late("conversations"),
        "counts": _Late("counts"),
    }
)
"""By the name of the format."""


def get_converter(name: str) -> Converter:
    """Return the converter of a format.

    Raises:
        InputError: there is none of this name; lists those that there are.
    """
    if name not in CONVERTERS:
        raise InputError(f"no converter {name[:40]!r}; choose one of: {', '.join(CONVERTERS)}")
    return CONVERTERS[name]
