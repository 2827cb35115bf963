"""OVDEval: is it the red car or the blue one? Every picture is asked for hard negatives besides.

    annotations/color.json      COCO lists; images with text (what is there) and neg_text (what is not)
    images/color/64d22c6fe4b011b0db94b993.jpg

Eight files of one aspect each; the ninth sub-data set of the paper, object, is COCO itself and joins
in as `coco.json` where it lies there. The files may also lie in the folder itself, as on the page
of the data set, each with its pictures in a folder of its name.

Source: om-ai-lab/OVDEval, Evaluation.md (files), eval_glip.py (what is asked), eval.py (figure).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.detection.bounds import every_name
from fo1.evaluation.detection.coco_engine import average, official_precision
from fo1.evaluation.detection.examples import coco_examples
from fo1.evaluation.detection.nms_ap import suppress, with_truth
from fo1.evaluation.detection.pool import Pool
from fo1.evaluation.detection.tables import count_table, part_table, recall_table
from fo1.evaluation.detection.task import SPREAD, DetectionExample, DetectionTask
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.metrics.ranking import mean_of_known, weighted_precision
from fo1.evaluation.prediction import Prediction
from fo1.evaluation.report import Table
from fo1.evaluation.task import Figure, Predictions
from fo1.formats.broken import Broken
from fo1.formats.coco import CocoFile, Fields, read_coco
from fo1.formats.limits import read_name
from fo1.pipeline import Request
from fo1.prompts import Task

PROPER_NOUNS = ("celebrity", "landmark", "logo")
SUBSETS = (*PROPER_NOUNS, "color", "material", "negation", "position", "relationship")
OBJECT = "coco"
EVERY_NAME = (*PROPER_NOUNS, OBJECT)
"""Sub-data sets whose pictures are asked for all names of their file."""


@dataclass(frozen=True, kw_only=True)
class OvdEval(DetectionTask):
    """Open-vocabulary detection with hard negatives; NMS-AP is the mean over the sub-data sets."""

    name: ClassVar[str] = "ovdeval"
    title: ClassVar[str] = "OVDEval: detection among hard negatives"
    most: ClassVar[int | None] = 300

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the sub-data sets that lie in a folder, or the one of a file.

        Raises:
            InputError: there is none, or a file is something else.
        """
        files = _annotation_files(data)
        examples: list[DetectionExample] = []
        broken: list[Broken] = []
        names: dict[str, tuple[str, ...]] = {}
        for path in files:
            part, file = path.stem, read_coco(path)
            own, bad = coco_examples(
                file,
                _picture_folder(path),
                lambda truth: (Request(task=Task.DETECT, queries=truth.judged(()), threshold=0.0),),
                part=part,
                sized=False,  # nothing says that its files give sizes with care
                partly=lambda row, part=part, file=file: (_asked(file, row, part), ()),
            )
            absent = [name for example in own for name in example.truth.absent or ()]
            names[part] = tuple(dict.fromkeys([*file.vocabulary, *absent]))
            examples += own
            broken += [
                Broken(f"{part} {one.key.removeprefix(f'{part} ')}", one.problem) for one in bad
            ]
        return cls(examples=tuple(examples), broken=tuple(broken), files=files, names=names)

    def figures_of(self, pool: Pool, weights: Floats) -> list[Figure]:
        """Return NMS-AP, and AP without suppression: they differ by what was said of rivals."""
        return [
            Figure("NMS-AP", _ap(with_truth(suppress(pool)), weights)),
            Figure("AP", _ap(with_truth(pool), weights)),
        ]

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return those of detection, and who names everything that was asked on every box."""
        both = list(zip(self.examples, predictions, strict=True))
        return {
            **super().bounds(predictions),
            "true boxes, every name": [[every_name(one, one.truth.boxes) for one, _ in both]],
            "own proposals, every name": [[every_name(one, each.boxes) for one, each in both]],
            "nothing": [[Prediction.empty(one) for one in self.examples]],
        }

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return tables by score, sub-data set and number of proposals."""
        pools = self.pools(predictions)
        tables = self.score_tables(pools, weights)
        each = {part: self.figures_of(pool, weights) for part, pool in pools.items()}
        tables.append(part_table(each, pools, SUBSETS))
        tables.append(recall_table(self.pairs(predictions), weights[: SPREAD + 1]))
        return [*tables, count_table(list(pools.values()))]


def _ap(pool: Pool, weights: Floats) -> Floats:
    """Return (R,) AP: row 0 the engine's, then at most `SPREAD` own resamples, then NaN."""
    values = np.full(len(weights), np.nan)
    values[0] = average(official_precision(pool))
    drawn = np.ascontiguousarray(weights[1 : SPREAD + 1, pool.columns].T).T  # by picture
    if drawn.size and pool.due:
        curves = [weighted_precision(pool.judge(name)[0], drawn).mean(0) for name in pool.due]
        values[1 : 1 + len(drawn)] = mean_of_known(np.stack(curves))
    return values


def _annotation_files(data: Path) -> tuple[Path, ...]:
    if data.suffix == ".json":
        return (data,)
    for folder in (data / "annotations", data):
        paths = [folder / f"{part}.json" for part in (*SUBSETS, OBJECT)]
        found = tuple(path for path in paths if path.is_file())
        if found:
            return found
    raise InputError(
        f"{data} holds no file of OVDEval; expected {data / 'annotations' / 'color.json'} "
        f"and so on for {', '.join(SUBSETS)}"
    )


def _picture_folder(path: Path) -> Path:
    root = path.parent.parent if path.parent.name == "annotations" else path.parent
    places = (root / "images" / path.stem, root / path.stem)
    return next((place for place in places if place.is_dir()), places[0])


def _asked(file: CocoFile, row: Fields, part: str) -> tuple[str, ...]:
    """Return the names that the benchmark asks of a picture.

    Raises:
        ValueError: the row lacks them.
    """
    if part in EVERY_NAME:
        return file.vocabulary
    names: list[str] = []
    for field in ("text", "neg_text"):
        texts = row.get(field)
        if not isinstance(texts, list):
            raise InputError(f"{field} is {str(texts)[:60]!r}, need a list of names")
        names += [read_name(text, field) for text in texts]
    if not names:
        raise InputError("text and neg_text are empty, need a name to look for")
    return tuple(dict.fromkeys(names))
