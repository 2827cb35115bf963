"""HumanRef: an expression means some of the people in a picture, or nobody.

    data/annotations.jsonl   one expression a line, xyxy boxes in pixels
    data/images/<image_name>

Sources: IDEA-Research/RexSeek, README.md and rexseek/metric/recall_precision_densityf1.py (metric),
rexseek/evaluation/evaluate_rexseek.py and rexseek/tools/visualize_humanref.py (fields).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.boxes import overlaps
from fo1.evaluation.metrics.estimates import Floats, accuracy, estimate
from fo1.evaluation.metrics.ranking import COCO_IOUS
from fo1.evaluation.metrics.referring import (
    best_pairs,
    boxes_of,
    count_in_order,
    density_f1,
    largest,
    named_regions,
    naming,
)
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.report import Table
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.formats.limits import check_length, check_reach
from fo1.formats.refer_rows import with_area
from fo1.formats.tables import TableRow, find_tables, read_tables
from fo1.geometry import Boxes, as_boxes, check_boxes
from fo1.pipeline import Request
from fo1.prompts import Task

REJECTION = "rejection"
"""The domain of expressions that mean nobody."""

FIGURES = ("P", "R", "DF1", "P@50", "R@50", "DF1@50")
"""Of one expression: means over IoU 0.5 to 0.95, and the same at IoU 0.5."""

COUNTS: Mapping[str, range] = {
    "1 person": range(1, 2),
    "2-5 persons": range(2, 6),
    "6-10 persons": range(6, 11),
    "more than 10": range(11, 10**6),
}


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Who is meant.

    Attributes:
        text: the expression.
        answers: (M, 4) xyxy boxes of those who are meant; nobody in the domain "rejection".
        candidates: (K, 4) xyxy boxes of all people in the picture.
        domain: kind of expression, for example "attribute".
    """

    text: str
    answers: Boxes
    candidates: Boxes
    domain: str


class HumanRef(EvalTask[People]):
    """The HumanRef benchmark."""

    name: ClassVar[str] = "humanref"
    title: ClassVar[str] = "HumanRef"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark as it lies in a folder, or its annotations.jsonl."""
        table = read_tables(find_tables(data, "annotations.jsonl"))
        examples: dict[str, Example[People]] = {}
        for row in table.rows:
            try:
                example = _example(row, table.files[0].parent / "images")
                if example.key in examples:
                    raise InputError(f"a second row has the id {example.key}; expected one")
                examples[example.key] = example
            except InputError as error:
                table.drop(row, error)
        found = tuple(examples.values())
        return cls(examples=found, broken=tuple(table.broken), files=table.files)

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return DensityF1, precision and recall of expressions that mean somebody, and rejection.

        "rejection" is the share of the other expressions that are answered with no box.
        """
        meant, silent = self._judge(predictions)
        of = {
            name: Figure(name, accuracy(values, self._pictures(rejection=False), weights))
            for name, values in zip(FIGURES, meant.T, strict=True)
        }
        rejected = accuracy(silent, self._pictures(rejection=True), weights)
        main = [of.pop("DF1"), of.pop("P"), of.pop("R"), Figure("rejection", rejected)]
        return [*main, *of.values()]

    def perfect(self, example: Example[People]) -> Prediction:
        """Return a prediction whose regions are the people who are meant."""
        people = example.truth
        said = Said.found([(people.text, region) for region in range(len(people.answers))])
        return Prediction.made(example, people.answers, said)

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return the largest region, all regions, all people, and the regions that are meant."""
        pairs = list(zip(self.examples, predictions, strict=True))
        return {
            "largest region": [[naming(e, p, [largest(p)]) for e, p in pairs]],
            "all regions": [[naming(e, p, [range(len(p.boxes))]) for e, p in pairs]],
            "all people of the annotation": [[_everybody(e) for e in self.examples]],
            "best proposals (ceiling)": [[naming(e, p, [_meant(e, p)]) for e, p in pairs]],
        }

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return what one region drawn at random gets."""
        rows = [
            _chance(example.truth.answers, prediction.boxes.astype(np.float32))
            for _, example, prediction in self.pairs(predictions)
            if example.truth.domain != REJECTION
        ]
        table = np.array(rows).reshape(-1, len(FIGURES))
        pictures = self._pictures(rejection=False)
        return {
            "chance (any region)": [
                Figure(name, accuracy(values, pictures, weights))
                for name, values in zip(FIGURES, table.T, strict=True)
            ]
        }

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return precision, recall and DensityF1 by domain, and by how many people are meant."""
        meant, _ = self._judge(predictions)
        asked = [e.truth for e in self.examples if e.truth.domain != REJECTION]
        pictures = self._pictures(rejection=False)
        counts = np.array([len(one.answers) for one in asked])
        domains = np.array([one.domain for one in asked])
        groups = {name: domains == name for name in sorted(set(domains.tolist()))}
        groups |= {n: (counts >= c.start) & (counts < c.stop) for n, c in COUNTS.items()}
        table = Table(
            "By domain, and by how many people are meant",
            ("P %", "R %", "DF1 %", "expressions"),
            "Means over IoU 0.5 to 0.95; expressions that mean nobody are left out.",
        )
        for name, chosen in groups.items():
            shares = [accuracy(meant[chosen, n], pictures[chosen], weights) for n in range(3)]
            table.add(name, *(estimate(100 * one) for one in shares), str(chosen.sum()))
        return [table]

    def true_boxes(self, example: Example[People]) -> Boxes:
        """Return all people of the picture, which is what RexSeek is given."""
        return example.truth.candidates

    def error(self, example: Example[People], prediction: Prediction) -> float:
        """Return 1 - DensityF1; of expressions that mean nobody, whether a box is named."""
        if example.truth.domain == REJECTION:
            return 1 - _silent(prediction)
        named = boxes_of(prediction, named_regions(prediction, 0))
        return 1 - float(_figures(example.truth.answers, named)[2])

    def truth_to_draw(self, example: Example[People]) -> tuple[Boxes, tuple[str, ...]]:
        """Return the people who are meant."""
        return example.truth.answers, (example.truth.text,) * len(example.truth.answers)

    def _judge(self, predictions: Predictions) -> tuple[Floats, list[float]]:
        """Return the `FIGURES` of all expressions that mean somebody, and which others are rejected."""
        rows: list[Floats] = []
        silent: list[float] = []
        for _, example, prediction in self.pairs(predictions):
            if example.truth.domain == REJECTION:
                silent.append(_silent(prediction))
            else:
                named = boxes_of(prediction, named_regions(prediction, 0))
                rows.append(_figures(example.truth.answers, named))
        return np.array(rows).reshape(-1, len(FIGURES)), silent

    def _pictures(self, *, rejection: bool) -> np.ndarray:
        """Return the picture of every expression that means nobody, or of every other."""
        kinds = [example.truth.domain == REJECTION for example in self.examples]
        return self.picture_index[np.array(kinds) == rejection]


def _example(row: TableRow, folder: Path) -> Example[People]:
    number, name = row.values.get("id"), row.take("image_name", str)
    if not isinstance(number, int | str) or isinstance(number, bool) or number == "":
        raise InputError(f"'id' is {str(number)[:40]!r}; expected a number or a name")
    if not name:
        raise InputError("'image_name' is empty; expected the name of a file in images")
    text, domain = check_length(row.take("referring", str), "'referring'"), row.take("domain", str)
    given = [] if domain == REJECTION else row.take("answer_boxes", list)
    answers = with_area(as_boxes(given, where="answer_boxes"), "answer_boxes")
    if domain != REJECTION and not len(answers):
        raise InputError(f"'answer_boxes' is empty in the domain {domain[:40]!r}; expected a box")
    given = check_boxes(row.take("candidate_boxes", list), None, where="candidate_boxes")
    candidates = check_reach(given, "candidate_boxes")
    return Example(
        key=str(number),
        picture=name,
        image=folder / name,
        requests=(Request(task=Task.DETECT, queries=(text,)),),
        truth=People(text, answers, candidates, domain),
        image_id=number,
    )


def _figures(answers: Boxes, named: Boxes) -> Floats:
    """Return the `FIGURES` of one expression that means somebody."""
    overlap = overlaps(answers, named)
    found = [count_in_order(overlap, least) for least in COCO_IOUS]
    each = np.array([density_f1(count, len(answers), len(named)) for count in found])
    return np.concatenate([each.mean(0), each[0]])


def _chance(answers: Boxes, regions: Boxes) -> Floats:
    """Return the expected `FIGURES` of naming one region drawn at random."""
    if not len(regions):
        return np.zeros(len(FIGURES))
    best = overlaps(answers, regions).max(0)
    hit = (best[:, None] >= COCO_IOUS).mean(0)  # by threshold; then F1 is 2 / (1 + M)
    each = np.stack([hit, hit / len(answers), 2 * hit / (1 + len(answers))])
    return np.concatenate([each.mean(1), each[:, 0]])


def _silent(prediction: Prediction) -> float:
    """Return whether no box is named; silence of what could not be asked is no answer."""
    return float(prediction.error is None and not named_regions(prediction, 0))


def _meant(example: Example[People], prediction: Prediction) -> list[int]:
    overlap = overlaps(example.truth.answers, prediction.boxes)
    return [region for _, region in best_pairs(overlap)]


def _everybody(example: Example[People]) -> Prediction:
    people = example.truth
    said = Said.found([(people.text, region) for region in range(len(people.candidates))])
    return Prediction.made(example, people.candidates, said)
