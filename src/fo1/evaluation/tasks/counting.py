"""Counting: how many of a thing are in the picture; the answer is right or it is not.

    "How many headsets are there in the image?" -> noun "headsets" -> count -> 10

Sources: om-ai-lab/VLM-FO1, evaluation/eval_countbench.py (how a written answer is read) and
evaluation/processed_data (which rows it scores); the cards of vikhyatk/CountBenchQA and
allenai/pixmo-count (files and fields).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.example import Example, Picture
from fo1.evaluation.metrics.estimates import Floats, accuracy, estimate
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.report import Table
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.formats.limits import (
    COUNTS,
    QUESTION_LENGTH,
    check_length,
    check_whole,
    read_name,
)
from fo1.formats.tables import TableRow, find_tables, read_tables
from fo1.imaging import PICTURE_SUFFIXES
from fo1.pipeline import Request
from fo1.prompts import Task

ANSWERS = range(2, 11)
"""What is right in both sets, by their cards; chance is even among them."""

FAR = 2
"""How far off a failed example is at least: neither right nor within 1, though it may be about 0."""

_MOST_DIGITS = 9
_REGION = re.compile(r"<region\d+>")
_NUMBER = re.compile(r"(?<!region)\d+")
_THERE = re.compile(r"\s*how many\s+(.+?)\s+(?:are|is)\s+there\b", re.IGNORECASE)
_OTHER = re.compile(
    r"\s*how many\s+(.+?)(?:\s+(?:are|is|do|does|have|has|can)\b|\s+in\s+th(?:e|is)\b|\s*\?|$)",
    re.IGNORECASE,
)


def noun_of(question: str) -> str:
    """Return what a question wants counted: the words between "how many" and the verb.

    Raises:
        InputError: it does not ask how many.

    Example:
        >>> noun_of("How many people in the foreground are there in the image?")
        'people in the foreground'
        >>> noun_of("How many petals does each flower have in this image?")
        'petals'
    """
    found = _THERE.match(question) or _OTHER.match(question)
    if found is None:
        raise InputError(f"{question[:60]!r} does not ask how many; expected 'How many X ...?'")
    return found[1]


def stated_number(said: Said) -> int:
    """Return the number an answer states: the first integer that is written, 0 if there is none.

    Region tokens are dropped first. "three" is no integer, so it counts as 0. Models with a score
    head write nothing; theirs is the number of regions they found.
    """
    if not said.written:
        return said.count or 0
    number = _NUMBER.search(_REGION.sub("", "\n".join(said.written)))
    return int(number[0][:_MOST_DIGITS]) if number else 0


@dataclass(frozen=True, kw_only=True)
class Counting(EvalTask[int]):
    """What the two counting sets share; the truth is the number."""

    tables: ClassVar[tuple[str, ...]]
    """Patterns of the files, the published one first."""
    stem: ClassVar[str]
    """What the reference calls the picture of row 12, with {} for the 12."""
    unpublished: ClassVar[frozenset[int]]
    """Rows that the published figure leaves out."""

    @classmethod
    def load(cls, data: Path) -> Self:
        """Return the set as it lies in a folder; see `EvalTask.load`."""
        table = read_tables(find_tables(data, *cls.tables))
        pictures = _Pictures(data if data.is_dir() else data.parent)
        examples: dict[str, Example[int]] = {}
        for row in table.rows:
            try:
                example = cls._example(row, pictures)
                if example.key in examples:
                    raise InputError(f"a second row is called {example.key}; expected one")
            except InputError as error:
                table.drop(row, error)
                continue
            examples[example.key] = example
        return cls(examples=tuple(examples.values()), broken=tuple(table.broken), files=table.files)

    @classmethod
    def _example(cls, row: TableRow, pictures: "_Pictures") -> Example[int]:
        values = row.values
        noun = values.get("label")
        if "label" not in values:
            question = row.take("question", str)
            noun = noun_of(check_length(question, "'question'", QUESTION_LENGTH))
        right = next((name for name in ("number", "count") if name in values), "answer")
        number = check_whole(row.take(right, int), repr(right), COUNTS)
        given = values.get("image")
        name = f"{cls.stem.format(row.number)}.jpg"
        if isinstance(given, str):  # the reference's own file, which leaves rows out
            name = given
        sha = values.get("image_sha256")
        return Example(
            key=Path(name).stem,
            picture=sha if isinstance(sha, str) and sha else name,
            image=pictures.find(name, values),
            requests=(Request(task=Task.COUNT, queries=(read_name(noun, "the noun"),)),),
            truth=number,
            image_id=name,
        )

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return accuracy, the share at most one off, and the mean absolute error."""
        off = self._off(predictions)
        return _figures(off == 0, off <= 1, off, self.picture_index, weights)

    def perfect(self, example: Example[int]) -> Prediction:
        """Return the true number."""
        return Prediction.made(example, [], Said(count=example.truth))

    def truth_in_words(self, example: Example[int]) -> str:
        """Return the noun and its number."""
        return f"{example.requests[0].queries[0]}: {example.truth}"

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return who always says the most frequent number, and who counts proposals."""
        times = Counter(example.truth for example in self.examples)
        often = max(times, key=lambda number: (times[number], -number))
        return {
            f"majority (always {often})": [self._saying([often] * len(self.examples))],
            "number of proposals": [self._saying([len(one.boxes) for one in predictions])],
        }

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return what is due to an even draw among the answers of these sets."""
        truth = np.array([example.truth for example in self.examples])
        off = np.abs(np.array(ANSWERS)[None] - truth[:, None])
        parts = ((off == 0).mean(1), (off <= 1).mean(1), off.mean(1))
        draw = f"chance (even draw from {ANSWERS[0]} to {ANSWERS[-1]})"
        return {draw: _figures(*parts, self.picture_index, weights)}

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return accuracy by true number, and over the rows behind the published figure."""
        right = self._off(predictions) == 0
        said = np.array([stated_number(one.said[0]) for one in predictions], float)
        truth = np.array([example.truth for example in self.examples])
        left_out = {self.stem.format(number) for number in self.unpublished}
        published = np.array([example.key not in left_out for example in self.examples])
        at_hand = np.array([one.error is None for one in predictions])
        rows = {str(number): truth == number for number in np.unique(truth).tolist()}
        rows |= {"rows behind the published figure": published, "asked without failure": at_hand}
        table = Table("By true number", ("accuracy %", "mean answer", "questions"))
        for name, chosen in rows.items():
            place = self.picture_index[chosen]
            share = 100 * accuracy(right[chosen], place, weights)
            mean = accuracy(said[chosen], place, weights)
            table.add(name, estimate(share), estimate(mean), str(int(chosen.sum())))
        return [table]

    def error(self, example: Example[int], prediction: Prediction) -> float:
        """Return how far off the number is; of what failed as far as 0, but never near."""
        if prediction.error is not None:
            return float(max(example.truth, FAR))
        return float(abs(stated_number(prediction.said[0]) - example.truth))

    def _off(self, predictions: Predictions) -> Floats:
        pairs = self.pairs(predictions)
        return np.array([self.error(example, one) for _, example, one in pairs], float)

    def _saying(self, numbers: Sequence[int]) -> Predictions:
        pairs = zip(self.examples, numbers, strict=True)
        return [Prediction.made(example, [], Said(count=number)) for example, number in pairs]


@dataclass(frozen=True, kw_only=True)
class CountBench(Counting):
    """CountBenchQA: 491 web pictures whose captions name a number."""

    name = "countbench"
    title = "CountBenchQA: how many are there?"
    tables = ("data/test-*.parquet", "test-*.parquet", "*.parquet", "countbench*.json")
    stem = "image_{}"
    unpublished = frozenset({116, 162, 262, 370})


@dataclass(frozen=True, kw_only=True)
class PixMoCount(Counting):
    """PixMo-Count, test split: 540 web pictures, of which 529 could still be downloaded."""

    name = "pixmo-count"
    title = "PixMo-Count test: how many are there?"
    tables = ("data/test-*.parquet", "test-*.parquet", "*.parquet", "pixmo*.json")
    stem = "00000-{}"
    unpublished = frozenset({16, 49, 67, 140, 144, 155, 210, 226, 293, 356, 423})


class _Pictures:
    """Finds downloaded pictures by name, by SHA-256, by number of the row or by end of their URL."""

    def __init__(self, data: Path) -> None:
        self.folder = data / "images"
        self.known: dict[str, Path] = {}
        for folder in (self.folder, data / "test_images", data):
            for path in sorted(folder.glob("*")):
                for name in (path.name, path.stem):
                    if path.suffix.lower() in PICTURE_SUFFIXES or path.parent != data:
                        self.known.setdefault(name, path)

    def find(self, name: str, values: Mapping[str, object]) -> Picture:
        """Return the picture of a row; where it should lie if it is missing."""
        given = values.get("image")
        if isinstance(given, Mapping) and isinstance(inside := given.get("bytes"), bytes):
            return inside
        names = [values.get("image_sha256"), name, Path(name).stem]
        if isinstance(url := values.get("image_url"), str):
            names.append(_end_of(url))
        found = (self.known[key] for key in names if isinstance(key, str) and key in self.known)
        return next(found, self.folder / (str(names[0]) if names[0] else name))


def _end_of(url: str) -> str:
    try:
        return Path(unquote(urlsplit(url).path)).name
    except ValueError:  # not a URL at all
        return url


def _figures(
    right: np.ndarray, near: np.ndarray, off: np.ndarray, pictures: np.ndarray, weights: Floats
) -> list[Figure]:
    return [
        Figure("accuracy", accuracy(right, pictures, weights)),
        Figure("within 1", accuracy(near, pictures, weights)),
        Figure("MAE", accuracy(off, pictures, weights), unit=""),
    ]
