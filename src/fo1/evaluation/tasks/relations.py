"""Relations between given regions, in questions whose answers are exact.

    relations.jsonl + images/    {"image": "a.jpg", "boxes": [[x1, y1, x2, y2], ...],
                                  "question": "Is <region0> above <region1>?", "answer": "no",
                                  "relation": "above"}
    any COCO annotation file     questions made from its boxes, see `relation_questions`

Answers are "yes", "no" or the token of a region, and are judged by rule.
"""

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Floats, accuracy
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.evaluation.tasks.relation_questions import RELATIONS, RelationQuestion, coco_relations
from fo1.formats.limits import QUESTION_LENGTH, check_length, check_reach
from fo1.formats.tables import TableRow, find_tables, read_tables
from fo1.geometry import Boxes, check_boxes
from fo1.parsing import plain_text
from fo1.pipeline import Request
from fo1.prompts import Task, ask
from fo1.tags import THINK_CLOSE, region_token, regions_in

_WORD = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
Questions: TypeAlias = tuple[RelationQuestion, ...]


def read_reply(text: str, answer: str) -> str | None:
    """Return the first yes or no of a reply, or the first region where one is asked for.

    Args:
        text: as written.
        answer: the right one; tells which kind is wanted.

    Example:
        >>> read_reply("That is <region1>, not <region0>.", "<region0>")
        '<region1>'
    """
    if answer not in ("yes", "no"):
        cited = regions_in(text.rpartition(THINK_CLOSE)[2])
        return region_token(cited[0]) if cited else None
    word = _WORD.search(plain_text(text))
    return word[0].lower() if word else None


@dataclass(frozen=True, kw_only=True)
class Relations(EvalTask[Questions]):
    """Region relations; the truth is the questions with their answers."""

    name = "relations"
    title = "Relations between given regions"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the questions of a table, or those made from COCO boxes; see the module."""
        (path, *_) = find_tables(
            data,
            "relations.jsonl",
            "annotations/instances_val*.json",
            "_annotations.coco.json",
            "annotations.json",
            "*.json",
        )
        return cls.from_table(path) if path.suffix == ".jsonl" else cls.from_coco(path)

    @classmethod
    def from_table(cls, path: Path) -> Self:
        """Return the questions of a file of lines.

        Raises:
            InputError: it cannot be read, or holds no question.
        """
        table = read_tables([path])
        found: dict[str, tuple[str, Boxes, dict[str, RelationQuestion]]] = {}
        for row in table.rows:
            try:
                picture, boxes, question = _read_row(row)
                key = f"{picture} {zlib.crc32(boxes.tobytes()):08x}"
                asked = found.setdefault(key, (picture, boxes, {}))[2]
                if question.text in asked:
                    raise InputError("a second row asks this of the same regions; expected one")
            except InputError as error:
                table.drop(row, error)
                continue
            asked[question.text] = question
        examples = [
            _example(key, picture, path.parent / "images" / picture, boxes, tuple(asked.values()))
            for key, (picture, boxes, asked) in found.items()
        ]
        return cls(examples=tuple(examples), broken=tuple(table.broken), files=table.files)

    @classmethod
    def from_coco(cls, path: Path, seed: int = 0) -> Self:
        """Return questions made from the boxes of a COCO annotation file.

        Pictures with nothing to ask, for example a single box, are left out.

        Args:
            path: the annotation file.
            seed: of the choice of boxes and pairs; each picture has its own, whatever the order.

        Raises:
            InputError: the file cannot be read, or its boxes give no question.
        """
        pictures, broken = coco_relations(path, seed)
        examples = [
            _example(one.name, one.name, one.path, one.boxes, one.asked) for one in pictures
        ]
        return cls(examples=tuple(examples), broken=tuple(broken), files=(path,))

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the share of right answers, of all questions and by relation."""
        rows = [
            (question.relation, float(reply == question.answer), picture)
            for picture, example, prediction in self.pairs(predictions)
            for question, reply in _replies(example, prediction)
        ]
        relation = np.array([row[0] for row in rows])
        right, place = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
        figures = [Figure("accuracy", accuracy(right, place, weights))]
        known = [name for name in RELATIONS if name in relation]
        for name in (*known, *sorted(set(relation.tolist()) - set(known))):
            own = relation == name
            figures.append(Figure(name, accuracy(right[own], place[own], weights)))
        return figures

    def perfect(self, example: Example[Questions]) -> Prediction:
        """Return the true answers."""
        return _saying(example, [question.answer for question in example.truth])

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return who always gives the most frequent kind of answer, and the true answers."""
        often = Counter(_habit(question) for example in self.examples for question in example.truth)
        word = max(("yes", "no"), key=lambda habit: often[habit])
        first = often["first region"] >= often["another region"]
        answers = [
            [_by_habit(question, word, first) for question in example.truth]
            for example in self.examples
        ]
        pairs = zip(self.examples, answers, strict=True)
        return {
            "majority": [[_saying(example, each) for example, each in pairs]],
            "true answers": [[self.perfect(example) for example in self.examples]],
        }

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return what an even draw gets: from yes and no, or from the regions of the question."""
        chance = [
            (question.relation, 1 / _options(question, example), picture)
            for picture, example, _ in self.pairs(predictions)
            for question in example.truth
        ]
        figures: list[Figure] = []
        for figure in self.measure(predictions, weights):
            own = [row for row in chance if figure.name in ("accuracy", row[0])]
            share, place = [row[1] for row in own], [row[2] for row in own]
            figures.append(Figure(figure.name, accuracy(share, place, weights)))
        return {"chance": figures}

    def error(self, example: Example[Questions], prediction: Prediction) -> float:
        """Return the share of its questions that is answered wrongly."""
        wrong = [reply != question.answer for question, reply in _replies(example, prediction)]
        return float(np.mean(wrong))

    def truth_to_draw(self, example: Example[Questions]) -> tuple[Boxes, tuple[str, ...]]:
        """Return the regions with their numbers."""
        boxes = np.zeros((0, 4), np.float32) if example.boxes is None else example.boxes
        return boxes, tuple(region_token(region) for region in range(len(boxes)))

    def truth_in_words(self, example: Example[Questions]) -> str:
        """Return every question with its answer."""
        return "; ".join(f"{one.text} {one.answer}" for one in example.truth)


def _read_row(row: TableRow) -> tuple[str, Boxes, RelationQuestion]:
    boxes = check_reach(check_boxes(row.take("boxes", list), None), "boxes")
    text = check_length(row.take("question", str), "'question'", QUESTION_LENGTH)
    answer = row.take("answer", str).strip().lower()
    ask(text, num_regions=len(boxes))
    cited = regions_in(answer)
    if answer not in ("yes", "no") and (len(cited) != 1 or answer != region_token(cited[0])):
        raise InputError(f"'answer' is {answer[:40]!r}; expected 'yes', 'no' or '<region0>'")
    if any(region >= len(boxes) for region in cited):
        raise InputError(f"'answer' is {answer}, but there are {len(boxes)} boxes")
    relation = row.take("relation", str) if "relation" in row.values else "other"
    return row.take("image", str), boxes, RelationQuestion(relation, text, answer)


def _example(
    key: str, picture: str, path: Path, boxes: Boxes, asked: Questions
) -> Example[Questions]:
    requests = tuple(Request(task=Task.ASK, queries=(question.text,)) for question in asked)
    return Example(key, picture, path, requests, asked, boxes)


def _replies(
    example: Example[Questions], prediction: Prediction
) -> list[tuple[RelationQuestion, str | None]]:
    return [
        (question, read_reply("\n".join(said.written), question.answer))
        for question, said in zip(example.truth, prediction.said, strict=True)
    ]


def _saying(example: Example[Questions], answers: Sequence[str]) -> Prediction:
    boxes = np.zeros((0, 4)) if example.boxes is None else example.boxes
    return Prediction.made(example, boxes, *(Said(written=(text,)) for text in answers))


def _habit(question: RelationQuestion) -> str:
    if question.answer in ("yes", "no"):
        return question.answer
    first = regions_in(question.text)[:1] == regions_in(question.answer)
    return "first region" if first else "another region"


def _by_habit(question: RelationQuestion, word: str, first: bool) -> str:
    if question.answer in ("yes", "no"):
        return word
    cited = regions_in(question.text) or (0,)
    return region_token(cited[0 if first else -1])


def _options(question: RelationQuestion, example: Example[Questions]) -> int:
    if question.answer in ("yes", "no"):
        return 2
    number = len(set(regions_in(question.text)))
    return number if number > 1 else max(1, len(() if example.boxes is None else example.boxes))
