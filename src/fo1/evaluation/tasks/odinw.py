"""ODinW13: thirteen small data sets, from drones over aquaria to thermal cameras.

The folder is that of GLIP's zip files, each unpacked beside the others; the split of each data set
is the one that GLIP's configs test on. Where they test on a `mini_val` and it is missing, `valid` is
taken, as other toolkits do.

Source: microsoft/GLIP, configs/odinw_13 and configs/odinw_35 (folders, files, TEST splits);
open-mmlab/mmdetection, configs/mm_grounding_dino/odinw (the same thirteen, all on `valid`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from fo1.errors import InputError
from fo1.evaluation.detection.examples import coco_examples
from fo1.evaluation.detection.task import DetectionExample, DetectionTask
from fo1.evaluation.detection.truth import DetectionTruth
from fo1.formats.broken import Broken
from fo1.formats.coco import read_coco
from fo1.pipeline import Request
from fo1.prompts import Task

_FILE = "annotations_without_background.json"
DATA_SETS: Mapping[str, tuple[str, ...]] = {
    "AerialMaritimeDrone": (f"large/valid/{_FILE}",),
    "Aquarium": (f"Aquarium Combined.v2-raw-1024.coco/valid/{_FILE}",),
    "CottontailRabbits": (f"valid/{_FILE}",),
    "EgoHands": (f"generic/mini_val/{_FILE}", f"generic/valid/{_FILE}"),
    "NorthAmericaMushrooms": (f"North American Mushrooms.v1-416x416.coco/valid/{_FILE}",),
    "Packages": (f"Raw/valid/{_FILE}",),
    "PascalVOC": (f"valid/{_FILE}",),
    "pistols": (f"export/val_{_FILE}",),
    "pothole": (f"valid/{_FILE}",),
    "Raccoon": (f"Raccoon.v2-raw.coco/valid/{_FILE}",),
    "ShellfishOpenImages": (f"raw/valid/{_FILE}",),
    "thermalDogsAndPeople": (f"valid/{_FILE}",),
    "VehiclesOpenImages": (f"416x416/mini_val/{_FILE}", f"416x416/valid/{_FILE}"),
}
"""By data set and folder name, its annotation file; the first that is there. Pictures lie beside."""


@dataclass(frozen=True, kw_only=True)
class OdinW13(DetectionTask):
    """ODinW13, all names of a data set asked at once: mean AP of its thirteen data sets."""

    name: ClassVar[str] = "odinw13"
    title: ClassVar[str] = "ODinW13 detection"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark from the folder that holds the thirteen, or from the one above.

        Raises:
            InputError: an annotation file is missing or is something else.
        """
        root = data / "odinw" if (data / "odinw").is_dir() else data
        examples: list[DetectionExample] = []
        broken: list[Broken] = []
        names: dict[str, tuple[str, ...]] = {}
        files: list[Path] = []
        for part, places in DATA_SETS.items():
            paths = [root / part / place for place in places]
            path = next((one for one in paths if one.is_file()), None)
            if path is None:
                raise InputError(f"{paths[0]} is missing; all thirteen data sets are needed")
            file = read_coco(path)
            names[part] = file.vocabulary
            own, bad = coco_examples(
                file,
                path.parent,
                lambda truth, part=part: cls.asking(truth, names[part]),
                part=part,
            )
            examples += own
            broken += bad
            files.append(path)
        return cls(examples=tuple(examples), broken=tuple(broken), files=tuple(files), names=names)

    @classmethod
    def asking(cls, truth: DetectionTruth, names: tuple[str, ...]) -> tuple[Request, ...]:
        """Return what is asked of a picture.

        Args:
            truth: of the picture.
            names: of its data set.
        """
        return (Request(task=Task.DETECT, queries=names, threshold=0.0),)


@dataclass(frozen=True, kw_only=True)
class OdinW13Present(OdinW13):
    """The easier protocol: only names that are in the picture, one at a time.

    The model need not know what is absent, so figures stand apart from those of `odinw13`.
    """

    name: ClassVar[str] = "odinw13-present"
    title: ClassVar[str] = "ODinW13 detection, only names that are present, one at a time"

    def asked(self, example: DetectionExample) -> tuple[str, ...]:
        """Return the names that are in the picture: the questions tell them, to floors as well."""
        return tuple(name for request in example.requests for name in request.queries)

    @classmethod
    def asking(cls, truth: DetectionTruth, names: tuple[str, ...]) -> tuple[Request, ...]:
        """Return one request per name in the picture; none where it is empty."""
        present = [name for name in names if name in set(truth.labels)]
        return tuple(Request(task=Task.DETECT, queries=(one,), threshold=0.0) for one in present)
