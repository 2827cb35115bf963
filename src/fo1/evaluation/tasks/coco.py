"""COCO detection: all 80 names asked at once of every picture of val2017.

    annotations/instances_val2017.json
    val2017/000000000139.jpg ...

Source: cocodataset.org; protocol: om-ai-lab/VLM-FO1, evaluation/eval_coco.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from fo1.evaluation.detection.examples import coco_examples
from fo1.evaluation.detection.task import DetectionTask
from fo1.formats.coco import read_coco
from fo1.pipeline import Request
from fo1.prompts import Task

ANNOTATIONS = Path("annotations/instances_val2017.json")
PICTURES = Path("val2017")


@dataclass(frozen=True, kw_only=True)
class CocoDetection(DetectionTask):
    """COCO val2017, 5,000 pictures."""

    name: ClassVar[str] = "coco"
    title: ClassVar[str] = "COCO val2017 detection"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark from its folder, or from the annotation file in it.

        Raises:
            InputError: the annotation file is missing or is something else.
        """
        path = data if data.suffix == ".json" else data / ANNOTATIONS
        folder = path.parent.parent if path.parent.name == "annotations" else path.parent
        file = read_coco(path)
        names = file.vocabulary
        question = Request(task=Task.DETECT, queries=names, threshold=0.0)
        examples, broken = coco_examples(file, folder / PICTURES, lambda truth: (question,))
        return cls(
            examples=examples,
            broken=broken,
            files=(path,),
            names={"": names},
            numbers=file.numbers,
        )
