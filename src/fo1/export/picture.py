"""One picture as it is exported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from fo1.results import Detections


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPicture:
    """A picture and what was found in it.

    Attributes:
        name: of its file, relative to the folder of all pictures, with "/" between folders.
        path: of its file.
        number: its id, of which each picture has another.
        detections: their labels are among the names of the export.
    """

    name: str
    path: str
    number: int
    detections: Detections


Write: TypeAlias = Callable[[LabelledPicture], None]
"""Takes the next picture."""


def label_file(folder: Path, name: str, ending: str) -> Path:
    """Return the file of a picture's labels in a folder that mirrors the pictures' own; its folder is made."""
    path = folder / PurePosixPath(name).with_suffix(ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
