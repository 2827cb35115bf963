"""LVIS v1 detection: of each picture, the names that were looked for in it.

    lvis_v1_val.json                  or annotations/lvis_v1_val.json
    val2017/000000397133.jpg ...      and train2017/..., as LVIS divides COCO's pictures anew

LVIS is federated: only some of its 1,203 names were looked for in each picture, and only these can
be judged there. Source: lvisdataset.org, lvis-dataset/lvis-api (lvis/eval.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from fo1.errors import InputError
from fo1.evaluation.detection.coco_engine import LVIS_DETECTIONS
from fo1.evaluation.detection.examples import coco_examples, text_field
from fo1.evaluation.detection.task import DetectionTask
from fo1.evaluation.detection.truth import DetectionTruth
from fo1.formats.coco import read_coco
from fo1.pipeline import Request
from fo1.prompts import Task

ANNOTATIONS = (Path("lvis_v1_val.json"), Path("annotations/lvis_v1_val.json"))
ABSENT, UNSURE = "neg_category_ids", "not_exhaustive_category_ids"
FREQUENCIES = {"r": "APr", "c": "APc", "f": "APf"}


@dataclass(frozen=True, kw_only=True)
class LvisDetection(DetectionTask):
    """LVIS v1 val, 19,809 pictures."""

    name: ClassVar[str] = "lvis"
    title: ClassVar[str] = "LVIS v1 val detection"
    most: ClassVar[int | None] = LVIS_DETECTIONS
    federated: ClassVar[bool] = True
    per_picture: ClassVar[int | None] = LVIS_DETECTIONS

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark from its folder, or from the annotation file in it.

        Raises:
            InputError: the annotation file is missing or is something else.
        """
        path = data
        if data.suffix != ".json":
            path = next((data / one for one in ANNOTATIONS if (data / one).exists()), None)
            if path is None:
                raise InputError(f"{data} holds neither {ANNOTATIONS[0]} nor {ANNOTATIONS[1]}")
        folder = path.parent.parent if path.parent.name == "annotations" else path.parent
        file = read_coco(path, spaces_for="_")
        examples, broken = coco_examples(
            file,
            folder,
            _asking,
            file_name=lambda row: "/".join(text_field(row, "coco_url").split("/")[-2:]),
            partly=lambda row: (file.listed(row, ABSENT), file.listed(row, UNSURE)),
        )
        groups = {
            figure: frozenset(
                name
                for number, name in file.names.items()
                if file.categories[number].get("frequency") == letter
            )
            for letter, figure in FREQUENCIES.items()
        }
        return cls(
            examples=examples,
            broken=broken,
            files=(path,),
            names={"": file.vocabulary},
            groups=groups,
            numbers=file.numbers,
        )


def _asking(truth: DetectionTruth) -> tuple[Request, ...]:
    names = truth.judged(())
    return (Request(task=Task.DETECT, queries=names, threshold=0.0),) if names else ()
