"""RegionTask: data sets whose boxes are given and whose answers are texts about single regions.

    rows --region_rows.gather--> regions --RegionTask.by_picture--> one example a picture

Legend: N regions of all examples, P pictures, R rows of weights (see `metrics`).
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Floats, accuracy
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.task import EvalTask, Predictions
from fo1.formats.region_rows import Item, Region
from fo1.geometry import Boxes
from fo1.pipeline import Request
from fo1.prompts import Task

SEEDS = 3
"""How often answers are dealt anew."""


@dataclass(frozen=True, kw_only=True)
class RegionTask(EvalTask[tuple[Item, ...]]):
    """A benchmark that has given regions described or read, several in one picture."""

    verb: ClassVar[Literal[Task.DESCRIBE, Task.READ]] = Task.DESCRIBE

    @abstractmethod
    def answer(self, truth: Item) -> str:
        """Return what a model says that is always right."""

    @abstractmethod
    def mark(self, truth: Item, text: str) -> float:
        """Return how good a single answer is, 0 to 1; errors are shown by it."""

    @classmethod
    def by_picture(cls, regions: Iterable[Region[Item]]) -> tuple[Example[tuple[Item, ...]], ...]:
        """Return one example per picture, with its regions in the order of the file."""
        groups: dict[str, list[Region[Item]]] = {}
        for region in regions:
            groups.setdefault(region.name, []).append(region)
        return tuple(
            Example(
                key=name,
                picture=name,
                image=own[0].picture,
                requests=(Request(task=cls.verb, regions=tuple(range(len(own)))),),
                truth=tuple(region.truth for region in own),
                boxes=np.array([region.box for region in own], np.float32),
                image_id=own[0].image_id,
            )
            for name, own in groups.items()
        )

    @property
    def truths(self) -> list[Item]:
        """The N truths, example by example."""
        return [truth for example in self.examples for truth in example.truth]

    @property
    def region_pictures(self) -> npt.NDArray[np.int64]:
        """(N,) the picture of each region."""
        return np.repeat(self.picture_index, [len(example.truth) for example in self.examples])

    def texts(self, predictions: Predictions) -> list[str]:
        """Return the N answers, "" where there is none."""
        return [
            prediction.said[0].texts.get(number, "") if prediction.said else ""
            for _, example, prediction in self.pairs(predictions)
            for number in range(len(example.truth))
        ]

    def mean(self, marks: npt.ArrayLike, weights: Floats) -> Floats:
        """Return (R,) the mean of (N,) marks over regions."""
        return accuracy(marks, self.region_pictures, weights)

    def perfect(self, example: Example[tuple[Item, ...]]) -> Prediction:
        """Return the prediction that answers every region rightly."""
        return _made(example, [self.answer(truth) for truth in example.truth])

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return the most frequent answer for all regions, all answers dealt anew, and perfection."""
        answers = [self.answer(truth) for truth in self.truths]
        counts = Counter(answers)
        most = min(counts, key=lambda text: (-counts[text], text))
        dealt = [
            self._all(
                [answers[place] for place in np.random.default_rng(seed).permutation(len(answers))]
            )
            for seed in range(SEEDS)
        ]
        return {
            f"always {_shown(most)}": [self._all([most] * len(answers))],
            "true answers dealt anew among all regions": dealt,
            "perfect answers": [self._all(answers)],
        }

    def error(self, example: Example[tuple[Item, ...]], prediction: Prediction) -> float:
        """Return the mean of what each answer lacks."""
        texts = prediction.said[0].texts if prediction.said else {}
        pairs = enumerate(example.truth)
        return float(np.mean([1 - self.mark(truth, texts.get(at, "")) for at, truth in pairs]))

    def truth_to_draw(self, example: Example[tuple[Item, ...]]) -> tuple[Boxes, tuple[str, ...]]:
        """Return the regions and what is to be said about them."""
        assert example.boxes is not None
        return example.boxes, tuple(self.answer(truth) for truth in example.truth)

    def truth_in_words(self, example: Example[tuple[Item, ...]]) -> str:
        """Return what is to be said, region by region."""
        return "; ".join(map(self.answer, example.truth))

    def _all(self, texts: Sequence[str]) -> list[Prediction]:
        """Return the predictions that give these N answers."""
        left = iter(texts)
        return [_made(example, [next(left) for _ in example.truth]) for example in self.examples]


def _made(example: Example[Any], texts: Sequence[str]) -> Prediction:
    assert example.boxes is not None
    return Prediction.made(example, example.boxes, Said(texts=dict(enumerate(texts))))


def _shown(text: str, limit: int = 40) -> str:
    return repr(text if len(text) <= limit else f"{text[:limit]}...")
