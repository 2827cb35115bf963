"""A small benchmark for the tests of the frame; run as a script it evaluates a tiny model."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from fo1.evaluation.contestants import MODEL, SWAPPED, TEXT_ONLY
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Floats, accuracy
from fo1.evaluation.predicting import Predictor
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.processes import Processes
from fo1.evaluation.run_folder import RunFolder
from fo1.evaluation.runner import run
from fo1.evaluation.task import EvalTask, Figure, Predictions
from fo1.formats.broken import Broken
from fo1.geometry import Boxes
from fo1.pipeline import FO1, Request
from fo1.pipeline.engine import Engine
from fo1.prompts import Task
from tests.tiny import boxes, make_model, make_processor, picture

NAMES = ("cat", "cup", "tree")


@dataclass(frozen=True, kw_only=True)
class Toy(EvalTask[str]):
    """Which of three names scores best anywhere in the picture?"""

    name = "toy"
    title = "Toy"

    @classmethod
    def load(cls, data: Path) -> Self:
        return cls.of(int(data.name))

    @classmethod
    def of(cls, count: int, *, missing: tuple[int, ...] = ()) -> Self:
        def opener(index: int):
            def open_it() -> Image.Image:
                if index in missing:
                    raise FileNotFoundError(f"picture {index} is not there")
                return picture(96 + 8 * (index % 3), 64, seed=index)

            return open_it

        examples = [
            Example(
                key=f"{index}",
                picture=f"{index // 2}.png",
                image=opener(index),
                requests=(
                    Request(task=Task.DETECT, queries=NAMES, threshold=0.0),
                    Request(task=Task.COUNT, queries=("cat",)),
                ),
                truth=NAMES[index % 3],
                boxes=boxes(4, 96, 64, seed=index),
            )
            for index in range(count)
        ]
        return cls(examples=tuple(examples), broken=(Broken("line 9", "no picture named"),))

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        right, pictures = [], []
        for picture_index, example, prediction in self.pairs(predictions):
            said = prediction.said[0]
            best = said.labels[int(said.scores.argmax())] if said.labels else ""
            right.append(best == example.truth)
            pictures.append(picture_index)
        return [Figure("accuracy", accuracy(right, pictures, weights))]

    def perfect(self, example: Example[str]) -> Prediction:
        return Prediction.made(example, [[0, 0, 9, 9]], Said.found([(example.truth, 0)]), Said())

    def bounds(self, predictions: Predictions) -> dict[str, list[Predictions]]:
        return {"nothing": [[Prediction.empty(example) for example in self.examples]]}

    def error(self, example: Example[str], prediction: Prediction) -> float:
        said = prediction.said[0]
        return float(not said.labels or said.labels[int(said.scores.argmax())] != example.truth)

    def truth_to_draw(self, example: Example[str]) -> tuple[Boxes, tuple[str, ...]]:
        return np.array([[0, 0, 9, 9]], np.float32), (example.truth,)


def tiny_model() -> FO1:
    return FO1(Engine("tiny", make_model(score=True), make_processor()), Path(), proposer="grid")


def main(out: str, count: str, batch_size: str) -> None:
    """Evaluates with three contestants; what is on the disk tells how far it came."""
    task, processes = Toy.of(int(count), missing=(3,)), Processes.from_environment()
    predictor = Predictor(tiny_model(), task, None, (MODEL, SWAPPED, TEXT_ONLY))
    run(
        predictor,
        RunFolder(Path(out), {"task": "toy"}, processes.rank),
        batch_size=int(batch_size),
        processes=processes,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
