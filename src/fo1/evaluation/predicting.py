"""Examples through a model: each picture encoded once, asked by every contestant.

What goes wrong with one example stays with it: it becomes a failed prediction with one line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from PIL import Image

from fo1.errors import FO1Error
from fo1.evaluation.causal import contestant_rng
from fo1.evaluation.contestants import MODEL, Contestant
from fo1.evaluation.example import Example
from fo1.evaluation.prediction import Prediction
from fo1.evaluation.task import AnyTask
from fo1.geometry import Boxes
from fo1.pipeline import FO1, Outcome, Request, Scene
from fo1.pipeline.answering import answer_each
from fo1.results import Proposals

Source: TypeAlias = Callable[[Example[Any], Image.Image], Proposals | Boxes]
"""Where the boxes of an example come from, unless the protocol gives them; an array of boxes
(N, 4) is taken as true, proposals are judged by their scores as well."""

Told: TypeAlias = dict[str, list[Prediction]]
"""By contestant, one prediction per example."""


LOST = (torch.AcceleratorError,)
"""A device that has failed once fails for ever: no fault of the example, so the run ends."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model that is asked the questions of a task.

    Args:
        model: the model.
        task: its examples are asked.
        source: of boxes; the model's own proposer if None.
        contestants: who answers.
        seed: of shuffles.
    """

    model: FO1
    task: AnyTask
    source: Source | None = None
    contestants: tuple[Contestant, ...] = (MODEL,)
    seed: int = 0

    def predict(
        self, examples: Sequence[Example[Any]], before: Mapping[str, Prediction] | None = None
    ) -> Told:
        """Return every contestant's predictions of some examples, asked together where they can be.

        Args:
            examples: what is asked.
            before: what the model said of them earlier, by key; looked at by some contestants.
        """
        told: Told = {}
        opened = [self._open(example) for example in examples]
        for true_boxes in (False, True):
            own = [c for c in self.contestants if c.true_boxes == true_boxes]
            if own:
                # Whose source it is, nobody knows, so it is asked from one thread.
                given = [(one, self._boxes(one, true_boxes)) for one in opened]
                scenes = self.model.encode_side_by_side(self._encode, given)
                for who in own:
                    known = {one.key: one for one in told.get(MODEL.name, ())} or before or {}
                    told[who.name] = self._ask(examples, scenes, who, known)
        return told

    def only(self, contestants: Sequence[Contestant]) -> "Predictor":
        """Return the same with some of the contestants."""
        return replace(self, contestants=tuple(contestants))

    def _open(self, example: Example[Any]) -> "_Opened":
        try:
            return _Opened(example, example.open())
        except Exception as error:  # one bad picture must not end the run
            return _Opened(example, error=blame(error))

    def _boxes(self, one: "_Opened", true_boxes: bool) -> Proposals | Boxes | str | None:
        """Return the boxes of an example, None for those that the model proposes, or why there are none."""
        if one.image is None:
            return one.error
        example = one.example
        try:
            boxes = example.boxes
            if boxes is None and true_boxes:
                boxes = self.task.true_boxes(example)
                if boxes is None:
                    return "the task knows no true boxes for it"
            if boxes is None and self.source is not None:
                boxes = self.source(example, one.image)
            return boxes
        except Exception as error:  # as above
            return blame(error)

    def _encode(self, given: tuple["_Opened", Proposals | Boxes | str | None]) -> Scene | str:
        """Return the scene of an example with its boxes, or why there is none."""
        one, boxes = given
        if one.image is None or isinstance(boxes, str):
            return boxes if isinstance(boxes, str) else one.error
        try:
            return self.model.encode(one.image, boxes)
        except Exception as error:  # as above
            return blame(error)

    def _ask(
        self,
        examples: Sequence[Example[Any]],
        scenes: Sequence[Scene | str],
        who: Contestant,
        before: Mapping[str, Prediction],
    ) -> list[Prediction]:
        asked: list[_Asked] = []
        for example, scene in zip(examples, scenes, strict=True):
            one = _Asked(example)
            if isinstance(scene, str):
                one.error = scene
            else:
                self._change(one, scene, who, before.get(example.key))
            asked.append(one)
        self._answer([one for one in asked if one.scene is not None])
        return [one.prediction(self.task.most) for one in asked]

    def _change(
        self, one: "_Asked", scene: Scene, who: Contestant, before: Prediction | None
    ) -> None:
        rng = contestant_rng(self.seed, who.name, one.example.key)
        try:
            one.scene = who.change(scene, rng, before) if who.change else scene
        except Exception as error:  # as above
            one.error = blame(error)

    def _answer(self, group: Sequence["_Asked"]) -> None:
        """Ask everything of several scenes; apart if that fails, so that only the bad one does."""
        pairs = [
            (one, one.scene, request)
            for one in group
            if one.scene is not None
            for request in dict.fromkeys(one.example.requests)
        ]
        try:
            outcomes = answer_each([(scene, request) for _, scene, request in pairs])
        except Exception as error:  # as above
            reason = blame(error)
            if len(group) == 1:
                group[0].error = reason
                return
            for one in group:
                self._answer([one])
            return
        for (one, _, request), outcome in zip(pairs, outcomes, strict=True):
            one.outcomes[request] = outcome


@dataclass(frozen=True, slots=True)
class _Opened:
    """An example and its picture, or why it cannot be read."""

    example: Example[Any]
    image: Image.Image | None = None
    error: str = ""


@dataclass(slots=True)
class _Asked:
    """An example on its way through the model."""

    example: Example[Any]
    scene: Scene | None = None
    outcomes: dict[Request, Outcome] = field(default_factory=dict)
    error: str | None = None

    def prediction(self, most: int | None) -> Prediction:
        if self.error is not None or self.scene is None:
            return Prediction.failed(self.example, self.error or "not asked")
        outcomes = [self.outcomes[request] for request in self.example.requests]
        return Prediction.of(self.example.key, self.scene, outcomes, most)


def blame(error: Exception) -> str:
    """Return why an example failed, one line; raise what is no fault of the example again."""
    if isinstance(error, LOST):
        raise error
    return one_line(error)


def one_line(error: Exception) -> str:
    """Return what went wrong as one line; errors that are not ours with their kind."""
    words = " ".join(str(error).split())
    return words if isinstance(error, FO1Error) else f"{type(error).__name__}: {words[:200]}"
