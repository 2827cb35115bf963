"""POPE: is there such a thing in the picture? Half of the things asked for are not there.

    coco_pope_random.json       absent things drawn from all names
    coco_pope_popular.json      ... from the most frequent names
    coco_pope_adversarial.json  ... from the names that go most often with those that are there
    val2014/COCO_val2014_000000310196.jpg

Source: RUCAIBox/POPE, output/coco (files) and evaluate.py (how an answer is read, figures).

Legend: Q questions of all pictures.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeAlias

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Bools, Floats, f1, ratio
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.report import Table
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.formats.limits import QUESTION_LENGTH, check_length
from fo1.formats.tables import TableRow, find_tables, read_tables
from fo1.parsing import plain_text
from fo1.pipeline import Request
from fo1.prompts import Task, clean_name

Word: TypeAlias = Literal["yes", "no"]

ONE_WORD = "Answer the question using a single word or phrase."
"""Put behind each question, as has become usual for this benchmark."""

_NO = {"No", "not", "no"}
_EITHER = re.compile(r"\b(?:yes|no|not)\b|n't\b", re.IGNORECASE)


def read_answer(text: str) -> Word | None:
    """Return what POPE's own rule reads: "no" if No, no or not is a word of the first sentence.

    All else is a "yes" there, but nothing written is None here: it earns nothing.

    Example:
        >>> read_answer("No, there is not.")
        'no'
        >>> read_answer("A dog. No cat.")
        'yes'
    """
    plain = plain_text(text)
    if not plain:
        return None
    words = plain.split(".")[0].replace(",", "").split(" ")
    return "no" if _NO.intersection(words) else "yes"


@dataclass(frozen=True, slots=True)
class Poll:
    """One question about a picture.

    Attributes:
        category: the list it is from.
        label: what is right.
    """

    category: str
    label: Word


@dataclass(frozen=True, kw_only=True)
class Pope(EvalTask[tuple[Poll, ...]]):
    """Polling for things that are and are not in 500 pictures of COCO; the truth is a label each."""

    name = "pope"
    title = "POPE: is there such a thing in the picture?"

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the questions of the three lists, or of those that are there."""
        folder = data if data.is_dir() else data.parent
        where = ("coco_pope_*.json", "coco/coco_pope_*.json", "output/coco/coco_pope_*.json")
        tables = [read_tables([path]) for path in find_tables(data, *where)]
        asked: dict[str, list[tuple[Request, Poll]]] = {}
        for table in tables:
            category, known = table.files[0].stem.removeprefix("coco_pope_"), set[int]()
            for row in table.rows:
                try:
                    number, picture, request, label = _question(row)
                    if number in known:
                        raise InputError(f"a second question {number} in this list; expected one")
                except InputError as error:
                    table.drop(row, error)
                    continue
                known.add(number)
                asked.setdefault(picture, []).append((request, Poll(category, label)))
        return cls(
            examples=tuple(_example(name, polls, folder) for name, polls in asked.items()),
            broken=tuple(bad for table in tables for bad in table.broken),
            files=tuple(path for table in tables for path in table.files),
        )

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the figures over all questions."""
        return self._figures(self._answers(predictions), weights)

    def perfect(self, example: Example[tuple[Poll, ...]]) -> Prediction:
        """Return the true words."""
        return _saying(example, [poll.label for poll in example.truth])

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return who always says the same; one of the two is the majority."""

        def always(word: Word) -> Predictions:
            return [_saying(example, [word for _ in example.truth]) for example in self.examples]

        return {"always yes": [always("yes")], "always no": [always("no")]}

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return what a coin gets."""
        answers = self._answers(predictions)
        half = np.full(len(answers.right), 0.5)
        coin = _Answers(answers.picture, answers.category, answers.true, half, half, half * 0)
        return {"chance (a coin)": self._figures(coin, weights)}

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return the figures of each list."""
        answers = self._answers(predictions)
        rows: dict[str, list[Figure]] = {}
        for name in dict.fromkeys(answers.category.tolist()):
            rows[name] = self._figures(answers.only(answers.category == name), weights)
        names = tuple(one.name for one in next(iter(rows.values())))
        note = (
            "In %. Neither: answers without yes, no or not, which POPE's rule takes for a yes, "
            "and empty ones, which are wrong."
        )
        table = Table("By list", names, note)
        for name, figures in rows.items():
            table.add(name, *(one.estimate for one in figures))
        return [table]

    def error(self, example: Example[tuple[Poll, ...]], prediction: Prediction) -> float:
        """Return the share of its questions that is answered wrongly."""
        words = [read_answer(_text(said)) for said in prediction.said]
        return float(np.mean([w != p.label for w, p in zip(words, example.truth, strict=True)]))

    def truth_in_words(self, example: Example[tuple[Poll, ...]]) -> str:
        """Return every question with its label."""
        pairs = zip(example.requests, example.truth, strict=True)
        asked = ((one.queries[0].removesuffix(ONE_WORD).strip(), poll) for one, poll in pairs)
        return "; ".join(f"{question} {poll.label}" for question, poll in asked)

    def _answers(self, predictions: Predictions) -> "_Answers":
        rows = [
            (picture, poll.category, poll.label == "yes", read_answer(text), text)
            for picture, example, prediction in self.pairs(predictions)
            for poll, text in zip(example.truth, map(_text, prediction.said), strict=True)
        ]
        true = np.array([row[2] for row in rows])
        yes = np.array([row[3] == "yes" for row in rows])
        return _Answers(
            picture=np.array([row[0] for row in rows]),
            category=np.array([row[1] for row in rows]),
            true=true,
            yes=yes.astype(float),
            right=np.array([row[3] == ("yes" if row[2] else "no") for row in rows], float),
            neither=np.array([_EITHER.search(row[4]) is None for row in rows], float),
        )

    def _figures(self, answers: "_Answers", weights: Floats) -> list[Figure]:
        def per_picture(values: Floats) -> Floats:
            return np.bincount(answers.picture, values, len(self.picture_names)).astype(float)

        found = per_picture(answers.yes * answers.true)
        said, true = per_picture(answers.yes), per_picture(answers.true.astype(float))
        every = per_picture(np.ones(len(answers.true)))
        return [
            Figure("accuracy", ratio(per_picture(answers.right), every, weights)),
            Figure("precision", ratio(found, said, weights)),
            Figure("recall", ratio(found, true, weights)),
            Figure("F1", f1(found, said, true, weights)),
            Figure("yes", ratio(said, every, weights)),
            Figure("neither", ratio(per_picture(answers.neither), every, weights)),
        ]


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """Q answers: picture, list, whether the thing is there; share of yes, right and neither."""

    picture: np.ndarray
    category: np.ndarray
    true: Bools
    yes: Floats
    right: Floats
    neither: Floats

    def only(self, chosen: Bools) -> "_Answers":
        return _Answers(
            picture=self.picture[chosen],
            category=self.category[chosen],
            true=self.true[chosen],
            yes=self.yes[chosen],
            right=self.right[chosen],
            neither=self.neither[chosen],
        )


def _question(row: TableRow) -> tuple[int, str, Request, Word]:
    """Return number, picture, question and label of a row.

    Raises:
        InputError: it cannot be asked.
    """
    picture, label = row.take("image", str), row.take("label", str)
    if not picture.strip():
        raise InputError("'image' is empty; expected the name of a picture")
    if label != "yes" and label != "no":
        raise InputError(f"'label' is {label[:40]!r}; expected 'yes' or 'no'")
    question = check_length(row.take("text", str), "'text'", QUESTION_LENGTH)
    text = f"{clean_name(question)} {ONE_WORD}"
    return (
        row.take("question_id", int),
        picture,
        Request(task=Task.ASK, queries=(text,)),
        label,
    )


def _example(
    name: str, polls: Sequence[tuple[Request, Poll]], data: Path
) -> Example[tuple[Poll, ...]]:
    folder = next((data / f for f in ("val2014", "images") if (data / f).is_dir()), data)
    return Example(
        key=name,
        picture=name,
        image=folder / name,
        requests=tuple(request for request, _ in polls),
        truth=tuple(poll for _, poll in polls),
        image_id=name,
    )


def _text(said: Said) -> str:
    return "\n".join(said.written)


def _saying(example: Example[tuple[Poll, ...]], words: Sequence[Word]) -> Prediction:
    return Prediction.made(example, [], *(Said(written=(word.capitalize(),)) for word in words))
