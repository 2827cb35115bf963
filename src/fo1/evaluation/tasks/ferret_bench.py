"""Ferret-Bench, referring reasoning: questions about a region, judged beside GPT-4's answers.

    ferret_gpt4_data/refer_reason/question.jsonl   {"question_id", "image", "category", "text"}
    ferret_gpt4_data/refer_reason/context.jsonl    the same; text: what is in the picture
    ferret_gpt4_data/refer_reason/answer.jsonl     the same; text: GPT-4's answer
    ferret_gpt4_data/rule.json                     by category, what the judge is told
    ferret_gpt4_data/images/000000130566.jpg       pictures of COCO

    score = sum of the ratings of the answers / sum of those of GPT-4's answers x 100

Source: apple/ml-ferret, ferret/eval/ferret_gpt4_data (files), model_gpt4eval_3newclass.py,
eval_gpt_review_3newclass.py and summarize_gpt_review.py (protocol).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from fo1.errors import FO1Error, InputError
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Floats, accuracy, ratio
from fo1.evaluation.metrics.judges import Case, Judge, Ratings, find_judge, token_f1
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.report import Table
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.formats.limits import QUESTION_LENGTH, check_length
from fo1.formats.tables import TableRow, TableRows, find_tables, read_tables
from fo1.geometry import Boxes, as_boxes
from fo1.imaging import load_image
from fo1.parsing import plain_text
from fo1.pipeline import Request
from fo1.prompts import Task
from fo1.tags import region_token

CATEGORY = "refer_reason"
BLANK: Ratings = (10.0, 0.0)
"""Ratings where nothing was answered, which no judge is asked about: the most, and nothing."""
SAME: Ratings = (10.0, 10.0)
"""Ratings of an answer that is the reference word for word; no judge is asked about it either."""

_BOX = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a judge needs: the question as it is published, the context and GPT-4's answer."""

    question: str
    context: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class FerretBench(EvalTask[Reasoning]):
    """Referring reasoning of Ferret-Bench.

    Args:
        judge: rates the answers; without one the score is not known.
        rule: what the benchmark tells its judge.
    """

    name = "ferret-bench"
    title = "Ferret-Bench, referring reasoning"

    judge: Judge | None = field(default=None, repr=False)
    rule: str = field(default="", repr=False)

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the questions, with the judge that `find_judge` finds; see the module."""
        where = (f"{CATEGORY}/question.jsonl", f"ferret_gpt4_data/{CATEGORY}/question.jsonl")
        (path,) = find_tables(data, *where)
        folder = path.parent
        table = read_tables([path])
        others = [read_tables([folder / name]) for name in ("context.jsonl", "answer.jsonl")]
        context, reference = map(_texts, others)
        examples: dict[str, Example[Reasoning]] = {}
        for row in table.rows:
            try:
                number = row.take("question_id", int)
                key = f"{CATEGORY} {number}"
                if key in examples:
                    raise InputError(f"a second question {number}; expected one")
                if number not in context or number not in reference:
                    raise InputError(f"question {number} lacks a context or a reference answer")
                text = check_length(row.take("text", str), "'text'", QUESTION_LENGTH)
                truth = Reasoning(text, context[number], reference[number])
                examples[key] = _example(key, row, truth, folder.parent)
            except InputError as error:
                table.drop(row, error)
        tables = (table, *others)
        return cls(
            examples=tuple(examples.values()),
            broken=tuple(bad for each in tables for bad in each.broken),
            files=tuple(path for each in tables for path in each.files),
            judge=find_judge(folder.parent),
            rule=_rule(folder.parent / "rule.json"),
        )

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the score by the judge, NaN without one, and the token F1, which is no score."""
        unrated = (0.0, 0.0)  # a judge that fails says nothing about the answer
        ratings = [unrated if isinstance(one, str) else one for one in self._rated(predictions)]
        number = len(self.picture_names)
        gold, own = (np.bincount(self.picture_index, side, number) for side in np.array(ratings).T)
        pairs = self.pairs(predictions)
        f1 = [token_f1(_answer(one), example.truth.reference) for _, example, one in pairs]
        return [
            Figure("score", ratio(own, gold, weights)),
            Figure("token F1", accuracy(f1, self.picture_index, weights)),
        ]

    def perfect(self, example: Example[Reasoning]) -> Prediction:
        """Return GPT-4's answer."""
        return _saying(example, example.truth.reference)

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return GPT-4's answer to the question before: fluent, and about something else."""
        others = [example.truth.reference for example in self.examples]
        pairs = zip(self.examples, [others[-1], *others[:-1]], strict=True)
        return {"GPT-4's answer to another question": [[_saying(*pair) for pair in pairs]]}

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return who judged, how many answers, and why not the others."""
        rated = self._rated(predictions)
        reasons = Counter(one for one in rated if isinstance(one, str))
        table = Table("Judging", ("answers",), f"Judge: {self.judge.name if self.judge else '-'}")
        table.add("rated", str(len(rated) - reasons.total()))
        table.add("empty, rated 0", str(sum(one == BLANK for one in rated)))
        for reason, number in reasons.most_common(10):
            table.add(f"not rated, left out: {reason}", str(number))
        return [table]

    def to_judge(self, predictions: Predictions) -> list[dict[str, str]]:
        """Return rows to hand to a judge elsewhere; with `tuple` added they are `judge.jsonl`."""
        cases = self._cases(predictions)
        return [case.to_row() for case in cases if _without_judge(case) is None]

    def error(self, example: Example[Reasoning], prediction: Prediction) -> float:
        """Return 1 - token F1; a judge is not asked for every picture."""
        return 1 - token_f1(_answer(prediction), example.truth.reference)

    def truth_to_draw(self, example: Example[Reasoning]) -> tuple[Boxes, tuple[str, ...]]:
        """Return the regions that the question is about."""
        boxes = np.zeros((0, 4), np.float32) if example.boxes is None else example.boxes
        return boxes, tuple(region_token(region) for region in range(len(boxes)))

    def truth_in_words(self, example: Example[Reasoning]) -> str:
        """Return GPT-4's answer."""
        return example.truth.reference

    def _cases(self, predictions: Predictions) -> list[Case]:
        return [
            Case(
                question_id=example.key.removeprefix(f"{CATEGORY} "),
                category=CATEGORY,
                question=example.truth.question,
                context=example.truth.context,
                reference=example.truth.reference,
                answer=_answer(prediction),
                prompt=self.rule,
            )
            for _, example, prediction in self.pairs(predictions)
        ]

    def _rated(self, predictions: Predictions) -> list[Ratings | str]:
        """Return for every answer its ratings, or why there are none."""
        cases = self._cases(predictions)
        if self.judge is None:
            return ["there is no judge"] * len(cases)
        plain = {case: _without_judge(case) for case in cases}
        rated = iter(self.judge.rate([case for case in cases if plain[case] is None]))
        return [plain[case] or next(rated) for case in cases]


def _example(key: str, row: TableRow, truth: Reasoning, data: Path) -> Example[Reasoning]:
    """Return a question whose boxes are regions.

    Raises:
        InputError: a box is none.
    """
    shares: list[list[float]] = []

    def name(found: re.Match[str]) -> str:
        try:
            box = [float(number) for number in found[1].split(",")]
        except ValueError as error:
            raise InputError(f"{found[0][:60]} is no box; expected [x1, y1, x2, y2]") from error
        if len(box) != 4 or not (0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1):
            raise InputError(f"{found[0][:60]} is no box; expected shares of the picture's sides")
        if box not in shares:
            shares.append(box)
        return region_token(shares.index(box))

    question = _BOX.sub(name, truth.question)
    if not shares:
        raise InputError("the question names no box; expected [x1, y1, x2, y2] in it")
    image = row.take("image", str)
    folders = (data / place for place in ("images", "val2017", "train2017", "val2014"))
    path = next((f / image for f in folders if (f / image).is_file()), data / "images" / image)
    request = Request(task=Task.ASK, queries=(question,))
    return Example(key, image, path, (request,), truth, _pixels(shares, path), image_id=image)


def _pixels(shares: Sequence[Sequence[float]], path: Path) -> Boxes:
    """Return boxes in pixels; of a picture that cannot be read NaN, it fails when it is asked.

    None would say that the regions are to be proposed.
    """
    try:
        width, height = load_image(path).size
    except FO1Error:
        return np.full((len(shares), 4), np.nan, np.float32)
    return as_boxes(np.array(shares) * [width, height, width, height])


def _texts(table: TableRows) -> dict[int, str]:
    """Return the texts of a file by question; rows that have none of their own are noted."""
    texts: dict[int, str] = {}
    for row in table.rows:
        try:
            number, text = row.take("question_id", int), row.take("text", str)
            if number in texts:
                raise InputError(f"a second text for question {number}; expected one")
            if not text.strip():
                raise InputError(f"the text for question {number} is empty; expected some")
            texts[number] = text
        except InputError as error:
            table.drop(row, error)
    return texts


def _rule(path: Path) -> str:
    """Return what the judge is told, "" where the file does not say."""
    try:
        rules = json.loads(path.read_text("utf-8"))
        return str(rules[CATEGORY]["prompt"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _answer(prediction: Prediction) -> str:
    """Return an answer as a judge sees it: without thought, markup and boxes, as Ferret's are."""
    return plain_text("\n".join(prediction.said[0].written))


def _without_judge(case: Case) -> Ratings | None:
    """Return the ratings that need no judge."""
    if not case.answer:
        return BLANK
    return SAME if case.answer == plain_text(case.reference) else None


def _saying(example: Example[Reasoning], text: str) -> Prediction:
    boxes = np.zeros((0, 4)) if example.boxes is None else example.boxes
    return Prediction.made(example, boxes, Said(written=(text,)))
