"""Hallucination: what a detector finds of things that are not there.

Every picture is asked, all at once and in alphabetical order, for the names that are in it and for
those that are known not to be (see `absent_names`). Every detection of an absent name is a false
positive. FP/GT sets them against the true boxes of the same pictures; lower is better, 0 is best.
Silence would be best too, so beside it stands the share of present names that got no answer.

Source: FP/GT as in the VLX-Seek 1.5 report (false positives for absent targets / true boxes, which
it gives in percent, on data sets of its own choice).
"""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, Self, TypeAlias

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.detection.absent_names import AbsentNames
from fo1.evaluation.detection.bounds import every_name
from fo1.evaluation.detection.examples import coco_examples, text_field
from fo1.evaluation.detection.truth import DetectionTruth
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Floats, ratio
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.report import Table
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.formats.coco import CocoFile, Fields, read_coco
from fo1.geometry import Boxes
from fo1.pipeline import Request
from fo1.prompts import Task

FILES = (
    "annotations/instances_val2017.json",
    "annotations/lvis_v1_val.json",
    "lvis_v1_val.json",
    "annotations.json",
)
SEEDS = 3
SHOWN = 20
"""Names in the table of those that were hallucinated most."""

Asked: TypeAlias = Example[DetectionTruth]


class Counts(NamedTuple):
    """What became of the names that one picture was asked for.

    Attributes:
        false: detections of absent names.
        boxes: true boxes, crowds left out.
        refused: absent names that were answered with nothing.
        absent: absent names.
        missed: present names that were answered with nothing.
        present: present names.
    """

    false: int
    boxes: int
    refused: int
    absent: int
    missed: int
    present: int


def count(truth: DetectionTruth, prediction: Prediction) -> Counts:
    """Return the counts of a picture; if it could not be asked, each name was answered wrongly."""
    absent, present = set(truth.absent or ()), _present(truth)
    said = Counter(label for one in prediction.said for label in one.labels)
    if prediction.error is not None:
        said = Counter(absent)
    return Counts(
        false=sum(said[name] for name in absent),
        boxes=int((~truth.crowd).sum()),
        refused=sum(not said[name] for name in absent),
        absent=len(absent),
        missed=sum(not said[name] for name in present),
        present=len(present),
    )


@dataclass(frozen=True, kw_only=True)
class Hallucination(EvalTask[DetectionTruth]):
    """False positives on names that are not in the picture.

    Args:
        rule: how it is known what is absent.
    """

    rule: str

    name: ClassVar[str] = "hallucination"
    title: ClassVar[str] = "Hallucination: detections of absent names (FP/GT: lower is better)"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the pictures of a folder with a COCO or LVIS file, or of such a file.

        Raises:
            InputError: there is no such file, or it is something else.
        """
        path = _annotation_file(data)
        file = read_coco(path, spaces_for="_" if "lvis" in path.name.lower() else "")
        known = AbsentNames.of(file)
        examples, broken = coco_examples(
            file,
            _picture_folder(file),
            lambda truth: (Request(task=Task.DETECT, queries=truth.judged(())),),
            file_name=_picture_name,
            partly=lambda row: (known.names(row), ()),
        )
        broken = (*broken, *known.broken)
        return cls(examples=examples, broken=broken, files=(path,), rule=known.rule)

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return FP/GT, and the shares of names that were answered rightly or not at all."""
        sums = np.zeros((len(Counts._fields), weights.shape[1]))
        for picture, example, prediction in self.pairs(predictions):
            sums[:, picture] += count(example.truth, prediction)
        false, boxes, refused, absent, missed, present = sums
        right, silent = ratio(refused, absent, weights), ratio(missed, present, weights)
        return [
            Figure("FP/GT", ratio(false, boxes, weights), ""),
            Figure("refused", right),
            Figure("missed", silent),
            Figure("balanced accuracy", (right + 1 - silent) / 2),
        ]

    def perfect(self, example: Asked) -> Prediction:
        """Return the true boxes under their names."""
        rows = np.flatnonzero(~example.truth.crowd).tolist()
        pairs = [(example.truth.labels[row], row) for row in rows]
        return Prediction.made(example, example.truth.boxes, Said.found(pairs))

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return who says nothing, who says everything, and who sees but does not know the names."""
        both = list(zip(self.examples, predictions, strict=True))
        return {
            "nothing": [[Prediction.empty(one) for one in self.examples]],
            "every name on every true box": [[every_name(one, one.truth.boxes) for one, _ in both]],
            "every name on every region": [[every_name(one, each.boxes) for one, each in both]],
            "own detections, names permuted": [
                [_renamed(*pair, seed) for pair in both] for seed in range(SEEDS)
            ],
            "true boxes, true names": [[self.perfect(one) for one in self.examples]],
        }

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return the absent names that were found most often."""
        table = Table(
            "Absent names found most often",
            ("false positives", "pictures", "of pictures asked"),
            f"Absent is {self.rule}.",
        )
        false, pictures, asked = Counter[str](), Counter[str](), Counter[str]()
        for _, example, prediction in self.pairs(predictions):
            absent = set(example.truth.absent or ())
            said = [label for one in prediction.said for label in one.labels if label in absent]
            asked.update(absent)
            false.update(said)
            pictures.update(set(said))
        for name in sorted(false, key=lambda one: (-false[one], one))[:SHOWN]:
            table.add(name, *(str(counter[name]) for counter in (false, pictures, asked)))
        return [table]

    def true_boxes(self, example: Asked) -> Boxes:
        """Return the true boxes, each once; crowds are none."""
        return example.truth.distinct

    def error(self, example: Asked, prediction: Prediction) -> float:
        """Return the false positives and the present names that were missed."""
        counts = count(example.truth, prediction)
        return float(counts.false + counts.missed)

    def truth_to_draw(self, example: Asked) -> tuple[Boxes, tuple[str, ...]]:
        """Return the true boxes with their names."""
        return example.truth.boxes.astype(np.float32), example.truth.labels


def _present(truth: DetectionTruth) -> set[str]:
    return {label for label, crowd in zip(truth.labels, truth.crowd, strict=True) if not crowd}


def _renamed(example: Asked, prediction: Prediction, seed: int) -> Prediction:
    """Return a prediction in which every name that was asked stands for another one."""
    names = example.requests[0].queries
    order = np.random.default_rng([seed, zlib.crc32(example.key.encode())]).permutation(len(names))
    other = {name: names[place] for name, place in zip(names, order, strict=True)}
    said = [
        replace(one, labels=tuple(other.get(label, label) for label in one.labels))
        for one in prediction.said
    ]
    return replace(prediction, said=tuple(said))


def _annotation_file(data: Path) -> Path:
    if data.suffix == ".json":
        return data
    known = [data / name for name in FILES if (data / name).is_file()]
    found = known[:1] or sorted(data.glob("*.json"))
    if len(found) != 1:
        raise InputError(
            f"{data} holds {len(found)} .json files; expected one, or {', '.join(FILES)}"
        )
    return found[0]


def _picture_name(row: Fields) -> str:
    """Return where a picture lies; LVIS says it in its address alone."""
    if "file_name" in row or "coco_url" not in row:
        return text_field(row, "file_name")
    return "/".join(text_field(row, "coco_url").split("/")[-2:])


def _picture_folder(file: CocoFile) -> Path:
    """Return the folder that has one of the first pictures, else where COCO would have them."""
    path = file.path
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    places = (root / path.stem.removeprefix("instances_"), root, root / "images")
    names = [str(row.get("file_name", row.get("coco_url"))) for row in file.pictures[:50]]
    tails = ["/".join(name.split("/")[-2:]) if "://" in name else name for name in names]
    return next(
        (place for place in places if any((place / tail).is_file() for tail in tails)), places[0]
    )
