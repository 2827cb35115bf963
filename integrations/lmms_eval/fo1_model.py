"""FO1 as a model of lmms-eval: `--model fo1 --model_args pretrained=nano`."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from accelerate import Accelerator
from fo1_questions import (
    Coordinates,
    Family,
    as_coordinates,
    read_prompt,
    reply,
    scaled,
    with_boxes,
)
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest
from loguru import logger
from PIL import Image
from tqdm import tqdm

from fo1 import FO1
from fo1.errors import InputError
from fo1.evaluation.contestants import MODEL
from fo1.evaluation.example import Example
from fo1.evaluation.predicting import Predictor, one_line
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.results import Proposals


def manifest() -> ModelManifest:
    """Return what lmms-eval registers; the entry point `lmms_eval.models` names this function."""
    return ModelManifest(model_id="fo1", chat_class_path="fo1_model.FO1Model")


class _Place(NamedTuple):
    """Where the answer to one request belongs, and what it looks like: ours whole, or a family's."""

    number: int
    family: Family | None = None
    ours: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Asking:
    """What is asked of one picture in a row, or in one chat.

    Attributes:
        name: requests of one name in a row share a picture.
        places: one per request.
        example: None for chats.
        most: detections of an answer that the protocol looks at.
        messages: the chat.
    """

    name: str
    places: tuple[_Place, ...]
    example: Example[None] | None = None
    most: int | None = None
    messages: Sequence[dict[str, Any]] = ()

    def alike(self, other: "_Asking") -> bool:
        """Return whether both can be asked together."""
        return None not in (self.example, other.example) and self.most == other.most

    def and_also(self, other: "_Asking") -> "_Asking":
        """Return both as one; they are about the same picture."""
        assert self.example is not None
        assert other.example is not None
        requests = self.example.requests + other.example.requests
        example = replace(self.example, requests=requests)
        return replace(self, places=self.places + other.places, example=example)


@dataclass(frozen=True, slots=True)
class _Protocol:
    """All that a `Predictor` looks up of a task."""

    most: int | None


class FO1Model(lmms):
    """A chat model of lmms-eval.

    A prompt of a known family is answered by the verb it asks for, in the form that the task reads;
    any other by `ask`; chats with several pictures or turns by `FO1.chat`. An error gives an empty
    answer and a line in the log.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "nano",
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int | str | None = 1,
        proposer: str | None = None,
        limit: int = DEFAULT_LIMIT,
        threshold: float | None = None,
        coordinates: str = "auto",
        max_batch_size: int | str | None = None,
    ) -> None:
        """Load the model.

        Args:
            pretrained: "nano", a folder or a hub id.
            device: CUDA where there is a GPU, else the CPU, if not given.
            dtype: of the weights, for example "bfloat16".
            batch_size: pictures that are asked together; 1 for what is no number, such as "auto".
            proposer: where boxes come from; the model's own proposer if not given.
            limit: the most boxes to propose.
            threshold: least score of a box in answers to tasks other than ours; the model's own if
                not given.
            coordinates: how boxes are written, see `fo1_questions.Coordinates`.
            max_batch_size: lmms-eval passes it on; nothing depends on it.

        Raises:
            InputError: an option is unknown.
            CheckpointError: there is no such model.
        """
        super().__init__()
        self.coordinates: Coordinates = as_coordinates(coordinates)
        self.threshold = None if threshold is None else float(threshold)
        self.limit = int(limit)
        pictures = str(batch_size)
        self.batch_size = max(1, int(pictures)) if pictures.isdigit() else 1
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self.accelerator = Accelerator()
            self._rank = self.accelerator.process_index
            self._world_size = self.accelerator.num_processes
            device = str(self.accelerator.device)
        kind = None if dtype is None else getattr(torch, dtype, None)
        if dtype is not None and not isinstance(kind, torch.dtype):
            raise InputError(f"dtype is {dtype!r}; give one of torch, for example bfloat16")
        self.model = FO1.from_pretrained(pretrained, device=device, dtype=kind, proposer=proposer)
        self.device = self.model.device

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Return one answer per request; the limit on new tokens is the model's own."""
        answers = [""] * len(requests)
        progress = tqdm(total=len(requests), disable=self.rank != 0, desc="fo1")
        for batch in _batches(self._read_all(requests), self.batch_size):
            for number, text in self._answers(batch):
                answers[number] = text
            progress.update(sum(len(one.places) for one in batch))
        progress.close()
        for request, text in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("generate_until", (request.args[0], request.args[2]), text)
        return answers

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Raise InputError: FO1 writes answers or scores regions, it does not score texts."""
        raise InputError(
            "fo1 cannot score texts; choose a task whose output_type is generate_until"
        )

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Raise InputError: FO1 answers one round."""
        raise InputError("fo1 answers one round; choose a task whose output_type is generate_until")

    def _read_all(self, requests: Sequence[Instance]) -> Iterator[_Asking]:
        for number, request in enumerate(requests):
            try:
                yield self._read(number, request)
            except Exception as error:  # one bad question must not end the run
                _log(f"{request.args[4]}, document {request.args[3]}", one_line(error))

    def _read(self, number: int, request: Instance) -> _Asking:
        """Return what lmms-eval asks."""
        _, to_messages, _, document, task, split = request.args
        messages = to_messages(self.task_dict[task][split][document])
        parts = [part for message in messages for part in message["content"]]
        if wrong := {part["type"] for part in parts} - {"text", "image"}:
            raise InputError(f"got {', '.join(sorted(wrong))}; fo1 takes pictures and texts")
        images = [part["url"] for part in parts if part["type"] == "image"]
        name = f"{task}, document {document}"
        if len(images) != 1 or len(messages) != 1:
            return _Asking(name, (_Place(number),), messages=messages)
        asked = next((part["fo1"] for part in parts if "fo1" in part), None)
        if asked is not None:
            example = Example(
                asked.key, asked.key, images[0], (asked.request,), None, boxes=asked.boxes
            )
            places = (_Place(number, ours=True),)
            return _Asking(f"{task}, example {asked.key}", places, example, asked.most)
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        family, question = read_prompt(text, self.threshold)
        example = Example(name, name, images[0], (question,), None)
        return _Asking(f"{name}, request {number}", (_Place(number, family),), example)

    def _answers(self, batch: Sequence[_Asking]) -> Iterator[tuple[int, str]]:
        """Yield the number of each request that could be answered, and its answer."""
        if batch[0].example is None:
            try:
                yield batch[0].places[0].number, self._chat(batch[0].messages)
            except Exception as error:  # as above
                _log(batch[0].name, one_line(error))
            return
        protocol = cast("Any", _Protocol(batch[0].most))
        examples = [one.example for one in batch if one.example is not None]
        predictor = Predictor(self.model, protocol, lambda _, image: self._propose(image))
        for one, prediction in zip(batch, predictor.predict(examples)[MODEL.name], strict=True):
            if prediction.error is not None:
                _log(one.name, prediction.error)
                continue
            for place, said in zip(one.places, prediction.said, strict=True):
                if place.ours:
                    yield place.number, json.dumps(replace(prediction, said=(said,)).to_row())
                else:
                    yield place.number, reply(place.family, prediction, said, self.coordinates)

    def _chat(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return what is said next; the regions of all pictures count on."""
        scale = None if self.coordinates in ("auto", "none") else self.coordinates
        boxes: list[list[float]] = []
        turns: list[dict[str, Any]] = []
        for message in messages:
            content: list[dict[str, Any]] = []
            for part in message["content"]:
                if part["type"] == "text":
                    content.append({"type": "text", "text": part["text"]})
                    continue
                scene = self.model.encode(part["url"], limit=self.limit)
                content.append({"type": "image", "image": scene})
                if scale is not None:
                    boxes += [
                        scaled(box, scene.image_size, scale) for box in scene.regions.tolist()
                    ]
            turns.append({"role": message["role"], "content": content})
        text = self.model.chat(turns).answer.text
        return with_boxes(text, None if scale is None else boxes)

    def _propose(self, image: Image.Image) -> Proposals:
        return self.model.propose(image, limit=self.limit)


def _batches(askings: Iterator[_Asking], size: int) -> Iterator[list[_Asking]]:
    """Yield what is asked together: `size` pictures, each with all that is asked of it in a row."""
    batch: list[_Asking] = []
    for one in askings:
        if batch and batch[-1].name == one.name:
            batch[-1] = batch[-1].and_also(one)
            continue
        if batch and (len(batch) == size or not batch[-1].alike(one)):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def _log(what: str, problem: str) -> None:
    logger.warning("fo1: no answer to {}: {}", what, problem)
