"""EvalTask: a data set with its protocol; the same class serves `fo1 eval` and training.

    task = CocoDetection.load(folder)              examples, and rows that cannot be read
    predictions = [... one per example ...]        `evaluation.predicting`, or made by hand
    task.measure(predictions, weights)             figures, recomputed on resampled pictures

A task knows files and figures, never a model. One more benchmark is one more file in `tasks/` and
one line in its registry.

Legend: E examples, P pictures, R rows of weights (see `metrics`).
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError
from fo1.evaluation.example import Example, Truth
from fo1.evaluation.metrics.estimates import Bools, Estimate, Floats, estimate
from fo1.evaluation.prediction import Prediction
from fo1.evaluation.report import Table
from fo1.formats.broken import Broken
from fo1.geometry import Boxes
from fo1.pipeline.request import Score

Predictions: TypeAlias = Sequence[Prediction]
"""One prediction per example, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One figure, recomputed on resampled pictures.

    Attributes:
        name: as the field calls it, for example "AP50"; where a task measures several things, with
            the thing before a colon, "counting: exact", so that each gets a table.
        values: (R,) the figure itself, then its bootstrap resamples; shares lie in 0 to 1.
        unit: "%" for shares, which are shown times 100; "" for what is shown as it is.
    """

    name: str
    values: Floats
    unit: Literal["%", ""] = "%"

    @property
    def group(self) -> str:
        """What is measured, "" if the task measures one thing."""
        return self.name.rpartition(": ")[0]

    @property
    def column(self) -> str:
        """Head of its column in the table of its group."""
        return f"{self.name.rpartition(': ')[2]} {self.unit}".strip()

    @property
    def estimate(self) -> Estimate:
        """The figure with its interval, in its unit."""
        return estimate(self.values * (100 if self.unit == "%" else 1))


@dataclass(frozen=True, slots=True, eq=False)
class Chances:
    """Scores as probabilities: how likely each was said to be right, and whether it was.

    Attributes:
        pictures: (M,) index of the picture.
        chance: (M,) in 0 to 1.
        outcome: (M,) bool.
    """

    pictures: npt.NDArray[np.int64]
    chance: Floats
    outcome: Bools


@dataclass(frozen=True, kw_only=True)
class EvalTask(ABC, Generic[Truth]):
    """A benchmark.

    Args:
        examples: in the order of the data set, keys unique.
        broken: rows of the data set that cannot be asked.
        files: annotation files that were read; their hashes go into the record.

    Raises:
        InputError: there is no example, or two have one key.
    """

    examples: tuple[Example[Truth], ...]
    broken: tuple[Broken, ...] = ()
    files: tuple[Path, ...] = field(default=(), repr=False)

    name: ClassVar[str]
    """What `fo1 eval` calls it."""
    title: ClassVar[str]
    """One line for people."""
    needs_data: ClassVar[bool] = True
    """Whether `load` needs to be told where the data lie."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Modules of the extra `eval` that its figures need; looked for before any work."""
    most: ClassVar[int | None] = None
    """Detections of one answer that the protocol looks at; None for all."""

    def __post_init__(self) -> None:
        if not self.examples:
            bad = self.broken[0].problem if self.broken else "the file lists none"
            raise InputError(f"{self.name}: nothing to measure ({bad}); see docs/evaluation.md")
        numbers = Counter(example.key for example in self.examples)
        if len(numbers) < len(self.examples):
            twice = numbers.most_common(1)[0][0]
            raise InputError(f"{self.name}: two examples are called {twice!r}; mend the data set")

    @classmethod
    @abstractmethod
    def load(cls, data: Path) -> Self:
        """Return the benchmark as it lies in a folder, or with its annotations in a file.

        Raises:
            InputError: a file is missing or is something else; names what is expected.
        """

    @abstractmethod
    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the figures of the protocol, the main one first.

        Args:
            predictions: one per example.
            weights: (R, P) how often each picture counts.
        """

    @abstractmethod
    def perfect(self, example: Example[Truth]) -> Prediction:
        """Return the prediction of a model that is always right: a figure of 100."""

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return floors and ceilings that need no model, by what they are.

        Several predictions under one name are seeds, whose figures are averaged.
        """
        return {}

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return floors and ceilings whose figures can be computed outright, such as 1 / names."""
        return {}

    def details(self, predictions: Predictions, weights: Floats) -> list[Table]:
        """Return further tables about the model, such as a row per class."""
        return []

    def chances(self, predictions: Predictions) -> Mapping[Score, Chances]:
        """Return how good each kind of score is as a probability; empty without scores."""
        return {}

    def true_boxes(self, example: Example[Truth]) -> Boxes | None:
        """Return the boxes of a perfect proposer; None where the protocol gives the regions."""
        return None

    def error(self, example: Example[Truth], prediction: Prediction) -> float:
        """Return how wrong a prediction is, 0 for right; the worst ones are drawn."""
        return 0.0

    def truth_to_draw(self, example: Example[Truth]) -> tuple[Boxes, tuple[str, ...]]:
        """Return true boxes (M, 4) and their names, to be drawn beside a prediction."""
        return np.zeros((0, 4), np.float32), ()

    def truth_in_words(self, example: Example[Truth]) -> str:
        """Return the true answer where it is words, to be written above a wrong one."""
        return ""

    def exports(self, predictions: Predictions) -> Mapping[str, str]:
        """Return what official scorers read, by the name of the file."""
        return {}

    def first(self, limit: int) -> Self:
        """Return the task with its first examples alone."""
        return replace(self, examples=self.examples[:limit])

    @cached_property
    def picture_names(self) -> tuple[str, ...]:
        """The P pictures, each once."""
        return tuple(dict.fromkeys(example.picture for example in self.examples))

    @cached_property
    def picture_index(self) -> npt.NDArray[np.int64]:
        """(E,) the picture of each example."""
        place = {name: index for index, name in enumerate(self.picture_names)}
        return np.array([place[example.picture] for example in self.examples], np.int64)

    def pairs(self, predictions: Predictions) -> list[tuple[int, Example[Truth], Prediction]]:
        """Return (picture, example, prediction) of every example.

        Raises:
            ValueError: predictions and examples differ.
        """
        keys = [prediction.key for prediction in predictions]
        if keys != [example.key for example in self.examples]:
            raise ValueError(f"{self.name}: predictions are not those of the examples")
        return [
            (int(picture), example, prediction)
            for picture, example, prediction in zip(
                self.picture_index, self.examples, predictions, strict=True
            )
        ]


AnyTask: TypeAlias = EvalTask[Any]
