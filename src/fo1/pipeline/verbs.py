"""The verbs of a scene, for pictures: each encodes and asks in one call."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat
from numbers import Integral
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, cast, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from fo1.errors import BoxError, InputError
from fo1.imaging import ImageSource
from fo1.pipeline.answering import answer
from fo1.pipeline.request import Outcome, Request
from fo1.pipeline.scene import CountResult, Scene, as_answer, as_count, as_regions
from fo1.prompts import QUERY_TASKS, Detail, Task, as_queries
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.proposals.callables import ProposerLike, SupervisionDetections, is_supervision
from fo1.results import Answer, Detections, Proposals, RegionText

One: TypeAlias = "ImageSource | Scene"
Several: TypeAlias = "Iterable[One]"
OneOrSeveral: TypeAlias = "One | Several"
Boxes: TypeAlias = npt.ArrayLike | Proposals | SupervisionDetections
Texts: TypeAlias = tuple[RegionText, ...]
Result = TypeVar("Result")

_ONE_PICTURE = (
    *(str, os.PathLike, bytes, bytearray, memoryview),
    *(Image.Image, np.ndarray, torch.Tensor),
)


class EncodeOptions(TypedDict, total=False):
    """Options of every verb that takes pictures.

    Attributes:
        boxes: as in `FO1.encode`; for several pictures one entry per picture.
        proposer: as in `FO1.encode`.
        limit: as in `FO1.encode`.
        batch_size: pictures that are answered in one pass; 1, the default, needs least memory.
    """

    boxes: Boxes | Sequence[Boxes | None] | None
    proposer: ProposerLike | None
    limit: int
    batch_size: int


class Verbs(ABC):
    """What can be asked of pictures: one gives one result, several (also a generator) a list.

    A scene is asked about its own regions, unless boxes, a proposer or a limit ask for others.
    """

    @abstractmethod
    def encode(
        self,
        image: One,
        boxes: Boxes | None = None,
        *,
        masks: Any = None,
        points: npt.ArrayLike | None = None,
        proposer: ProposerLike | None = None,
        limit: int = DEFAULT_LIMIT,
        queries: str | Sequence[str] = (),
    ) -> Scene:
        """Return the scene of one picture."""

    @overload
    def detect(
        self,
        images: One,
        names: str | Sequence[str],
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Detections: ...
    @overload
    def detect(
        self,
        images: Several,
        names: str | Sequence[str],
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> list[Detections]: ...
    def detect(
        self,
        images: OneOrSeveral,
        names: str | Sequence[str],
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Detections | list[Detections]:
        """Return `Scene.detect` of each picture: `Detections`, or a list of them.

        There it says what scores and labels are. Pictures of one call do not change each other's.
        """
        request = Request(task=Task.DETECT, queries=as_queries(names), threshold=threshold)
        return self._each(images, request, _detections, options)

    @overload
    def refer(
        self,
        images: One,
        expression: str,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Detections: ...
    @overload
    def refer(
        self,
        images: Several,
        expression: str,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> list[Detections]: ...
    def refer(
        self,
        images: OneOrSeveral,
        expression: str,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Detections | list[Detections]:
        """Return `Scene.refer` of each picture: `Detections`, or a list of them."""
        request = Request(task=Task.REFER, queries=as_queries(expression), threshold=threshold)
        return self._each(images, request, _detections, options)

    @overload
    def count(
        self,
        images: One,
        noun: str,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> CountResult: ...
    @overload
    def count(
        self,
        images: Several,
        noun: str,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> list[CountResult]: ...
    def count(
        self,
        images: OneOrSeveral,
        noun: str,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> CountResult | list[CountResult]:
        """Return `Scene.count` of each picture: a `CountResult`, or a list of them."""
        request = Request(task=Task.COUNT, queries=as_queries(noun), threshold=threshold)
        return self._each(images, request, as_count, options)

    @overload
    def describe(
        self,
        images: One,
        regions: Iterable[int] | None = None,
        detail: Detail = "brief",
        **options: Unpack[EncodeOptions],
    ) -> Texts: ...
    @overload
    def describe(
        self,
        images: Several,
        regions: Iterable[int] | None = None,
        detail: Detail = "brief",
        **options: Unpack[EncodeOptions],
    ) -> list[Texts]: ...
    def describe(
        self,
        images: OneOrSeveral,
        regions: Iterable[int] | None = None,
        detail: Detail = "brief",
        **options: Unpack[EncodeOptions],
    ) -> Texts | list[Texts]:
        """Return `Scene.describe` of each picture: a tuple of `RegionText`, or a list of those."""
        request = Request(task=Task.DESCRIBE, regions=as_regions(regions), detail=detail)
        return self._each(images, request, _texts, options)

    @overload
    def read(
        self,
        images: One,
        regions: Iterable[int] | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Texts: ...
    @overload
    def read(
        self,
        images: Several,
        regions: Iterable[int] | None = None,
        **options: Unpack[EncodeOptions],
    ) -> list[Texts]: ...
    def read(
        self,
        images: OneOrSeveral,
        regions: Iterable[int] | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Texts | list[Texts]:
        """Return `Scene.read` of each picture: a tuple of `RegionText`, or a list of those."""
        request = Request(task=Task.READ, regions=as_regions(regions))
        return self._each(images, request, _texts, options)

    @overload
    def ground(self, images: One, **options: Unpack[EncodeOptions]) -> Answer: ...
    @overload
    def ground(self, images: Several, **options: Unpack[EncodeOptions]) -> list[Answer]: ...
    def ground(
        self, images: OneOrSeveral, **options: Unpack[EncodeOptions]
    ) -> Answer | list[Answer]:
        """Return `Scene.ground` of each picture: an `Answer`, or a list of them."""
        request = Request(task=Task.GROUND)
        return self._each(images, request, as_answer, options)

    @overload
    def similar(
        self,
        images: One,
        region: int,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Detections: ...
    @overload
    def similar(
        self,
        images: Several,
        region: int,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> list[Detections]: ...
    def similar(
        self,
        images: OneOrSeveral,
        region: int,
        threshold: float | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Detections | list[Detections]:
        """Return `Scene.similar` of each picture: `Detections`, or a list of them."""
        request = Request(task=Task.SIMILAR, regions=as_regions([region]), threshold=threshold)
        return self._each(images, request, _detections, options)

    @overload
    def ask(
        self,
        images: One,
        question: str,
        think: bool = False,
        **options: Unpack[EncodeOptions],
    ) -> Answer: ...
    @overload
    def ask(
        self,
        images: Several,
        question: str,
        think: bool = False,
        **options: Unpack[EncodeOptions],
    ) -> list[Answer]: ...
    def ask(
        self,
        images: OneOrSeveral,
        question: str,
        think: bool = False,
        **options: Unpack[EncodeOptions],
    ) -> Answer | list[Answer]:
        """Return `Scene.ask` of each picture: an `Answer`, or a list of them."""
        request = Request(task=Task.ASK, queries=as_queries(question), think=think)
        return self._each(images, request, as_answer, options)

    @abstractmethod
    def _encoded(
        self,
        image: One,
        boxes: Boxes | None = None,
        *,
        queries: Sequence[str] = (),
        **options: Any,
    ) -> Scene:
        """Return the scene that a verb asks about: a scene as it is if no other regions are asked for."""

    @abstractmethod
    def _encode_all(
        self, pictures: Sequence[tuple[One, Any]], options: dict[str, Any]
    ) -> list[Scene]:
        """Return the scenes of several pictures with their boxes."""

    def _each(
        self,
        images: OneOrSeveral,
        request: Request,
        result: Callable[[Outcome], Result],
        options: EncodeOptions,
    ) -> Result | list[Result]:
        """Return the result of each picture, or of the one picture."""
        for name in options:
            if name not in EncodeOptions.__annotations__:
                known = ", ".join(EncodeOptions.__annotations__)
                raise TypeError(f"{request.task}() has no option '{name}'; its options are {known}")
        size = options.get("batch_size", 1)
        if not isinstance(size, Integral) or size < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"batch_size is {size!r}; give a whole number, 1 or more")
        queries = request.queries if request.task in QUERY_TASKS else ()
        if isinstance(images, _ONE_PICTURE) or not isinstance(images, Iterable):
            rest = _without(options, "batch_size")
            scene = self._encoded(cast("One", images), queries=queries, **rest)
            return result(answer([scene], request)[0])
        rest = {"queries": queries, **_without(options, "batch_size", "boxes")}
        pairs = _with_boxes(cast("Several", images), options.get("boxes"))
        results: list[Result] = []
        while chunk := list(islice(pairs, size)):
            scenes = self._encode_all(chunk, rest)
            results += map(result, answer(scenes, request))
        return results


def _with_boxes(images: Several, boxes: Any) -> Iterator[tuple[One, Any]]:
    """Return each picture with its boxes; without boxes, pictures are taken as they are needed."""
    if boxes is None:
        return zip(images, repeat(None), strict=False)
    pictures = list(images)
    single = isinstance(boxes, Proposals) or is_supervision(boxes)
    entries = cast("Sequence[Any]", [boxes] if single else boxes)
    if single or len(entries) != len(pictures):
        raise BoxError(
            f"got boxes for {len(entries)} pictures, but {len(pictures)} pictures; "
            "give one entry per picture"
        )
    return zip(pictures, entries, strict=True)


def _without(options: EncodeOptions, *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


def _detections(outcome: Outcome) -> Detections:
    return outcome.detections


def _texts(outcome: Outcome) -> tuple[RegionText, ...]:
    return outcome.texts
