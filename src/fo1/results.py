"""Values that fo1 returns: proposals, detections, groundings, answers.

Legend: N boxes. `boxes: (N, 4) float32, xyxy pixels of the original picture`.
All are frozen; arrays are copied in, so a later change of the caller's array changes nothing here.
"""

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NotRequired, Self, TypedDict, cast, overload

import numpy as np
import numpy.typing as npt

from fo1.errors import InputError, MissingExtraError
from fo1.geometry import Boxes, Size, as_boxes
from fo1.masks import Masks, Rle

NO_REGION = -1
"""Region index of a detection that came from no scene."""


class DetectionRow(TypedDict):
    """One detection as it is written in JSON."""

    label: str
    box: list[float]
    score: float
    region: int
    mask: NotRequired[Rle]


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Boxes that may hold an object, best first or in any order the source gave.

    Args:
        boxes: (N, 4) float32, xyxy pixels of the original picture.
        scores: (N,) float32 in [0, 1].
        source: who proposed them, for example "nano" or a file name.

    Raises:
        BoxError: boxes are not (N, 4) finite numbers.
        InputError: the counts differ or a score is outside [0, 1].
    """

    boxes: Boxes
    scores: npt.NDArray[np.float32]
    source: str = ""

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", _as_scores(self.scores, len(boxes)))

    def __len__(self) -> int:
        return len(self.boxes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proposals):
            return NotImplemented
        return self.source == other.source and _same(
            (self.boxes, other.boxes), (self.scores, other.scores)
        )

    @classmethod
    def empty(cls, source: str = "") -> Self:
        """Return no proposals."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), source)


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One labelled box.

    Args:
        box: (4,) float32, xyxy pixels of the original picture.
        label: what was asked for.
        score: in [0, 1].
        region: index into the scene's regions, or `NO_REGION`.
    """

    box: npt.NDArray[np.float32]
    label: str
    score: float
    region: int


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N labelled boxes in one picture; a container that filters by mask, slice or indices.

    Args:
        boxes: (N, 4) float32, xyxy pixels of the original picture.
        labels: N names, cleaned as `Scene.detect` says.
        scores: (N,) float32 in [0, 1].
        regions: (N,) int64, index into the scene's regions; `NO_REGION` (-1) if there is none.
        image_size: (height, width) of the original picture.
        masks: N masks of that picture, where there are any.

    Raises:
        BoxError: boxes are not (N, 4) finite numbers.
        InputError: the counts differ, a score is outside [0, 1], or the picture has no size or masks of another's.

    Example:
        >>> found = Detections([[0, 0, 9, 9], [5, 5, 8, 8]], ("cat", "cup"), [0.9, 0.2], [3, 7],
        ...                    image_size=(10, 10))
        >>> found[found.scores > 0.5].labels
        ('cat',)
    """

    boxes: Boxes
    labels: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    regions: npt.NDArray[np.int64]
    image_size: Size
    masks: Masks | None = None

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes)
        labels = tuple(self.labels)
        if len(labels) != len(boxes):
            raise InputError(f"got {len(boxes)} boxes but {len(labels)} labels; give one a box")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "scores", _as_scores(self.scores, len(boxes)))
        object.__setattr__(self, "regions", _as_regions(self.regions, len(boxes)))
        object.__setattr__(self, "image_size", _as_size(self.image_size))
        _check_masks(self.masks, len(boxes), self.image_size)

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        for index in range(len(self)):
            yield self[index]

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | npt.NDArray[Any]) -> "Detections": ...
    def __getitem__(
        self, index: int | slice | Sequence[int] | npt.NDArray[Any]
    ) -> "Detection | Detections":
        """Return one `Detection` for an int, else the `Detections` that the index selects."""
        if isinstance(index, int | np.integer):
            return Detection(
                self.boxes[index].copy(),
                self.labels[index],
                float(self.scores[index]),
                int(self.regions[index]),
            )
        if not isinstance(index, slice) and len(index) == 0:
            index = slice(0, 0)  # numpy reads an empty list as floats
        chosen: npt.NDArray[np.int64] = np.arange(len(self))[index]
        return Detections(
            boxes=self.boxes[chosen],
            labels=tuple(self.labels[int(row)] for row in chosen),
            scores=self.scores[chosen],
            regions=self.regions[chosen],
            image_size=self.image_size,
            masks=None if self.masks is None else self.masks[chosen],
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return (
            self.labels == other.labels
            and self.image_size == other.image_size
            and self.masks == other.masks
            and _same(
                (self.boxes, other.boxes),
                (self.scores, other.scores),
                (self.regions, other.regions),
            )
        )

    @classmethod
    def empty(cls, image_size: Size) -> Self:
        """Return no detections in a picture of that size (height, width)."""
        none = np.zeros(0, np.float32)
        return cls(none.reshape(0, 4), (), none, none.astype(np.int64), image_size)

    @classmethod
    def merge(cls, parts: Iterable["Detections"]) -> Self:
        """Return all detections of the parts, in order; the parts must share one picture size.

        They have masks where all parts with detections do.

        Raises:
            InputError: no parts, or parts of different picture sizes.
        """
        items = list(parts)
        sizes = list(dict.fromkeys(item.image_size for item in items))
        if len(sizes) != 1:
            raise InputError(
                f"cannot merge detections of picture sizes {sizes}; give one or more parts, "
                "all of one picture"
            )
        masks = [item.masks for item in items if item.masks is not None]
        whole = masks and sum(map(len, masks)) == sum(map(len, items))
        return cls(
            boxes=np.concatenate([item.boxes for item in items]),
            labels=tuple(label for item in items for label in item.labels),
            scores=np.concatenate([item.scores for item in items]),
            regions=np.concatenate([item.regions for item in items]),
            image_size=sizes[0],
            masks=Masks.merge(masks, sizes[0]) if whole else None,
        )

    def filter(self, threshold: float) -> "Detections":
        """Return the detections whose score is at least `threshold`, order kept."""
        return self[self.scores >= np.float32(threshold)]

    def to_dicts(self) -> list[DetectionRow]:
        """Return one JSON-ready row a detection; boxes to 2 decimals, scores to 4, masks as COCO's run lengths."""
        rows = [
            DetectionRow(
                label=item.label,
                box=[round(float(value), 2) for value in item.box],
                score=round(item.score, 4),
                region=item.region,
            )
            for item in self
        ]
        for row, mask in zip(rows, self.masks.to_rle() if self.masks else (), strict=False):
            row["mask"] = mask
        return rows

    def to_supervision(self) -> Any:
        """Return a `supervision.Detections`; `data` holds "class_name" and "region".

        Class numbers count the labels in order of first appearance.

        Raises:
            MissingExtraError: the package supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ImportError as error:
            raise MissingExtraError("to_supervision", "supervision", "supervision") from error
        numbers = {label: number for number, label in enumerate(dict.fromkeys(self.labels))}
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            mask=None if self.masks is None else self.masks.to_array(),
            confidence=self.scores.copy(),
            class_id=np.array([numbers[label] for label in self.labels], dtype=np.int64),
            data={
                "class_name": np.array(self.labels, dtype=str),
                "region": self.regions.copy(),
            },
        )

    @classmethod
    def from_supervision(cls, detections: Any, image_size: Size) -> Self:
        """Return the detections of a `supervision.Detections` in a picture (height, width).

        A label is `data["class_name"]`, else the class number, else "object"; a missing score is 1.
        """
        count = len(detections.xyxy)
        data = cast("dict[str, Any]", detections.data)
        if "class_name" in data:
            labels = tuple(str(name) for name in data["class_name"])
        elif detections.class_id is not None:
            labels = tuple(str(number) for number in detections.class_id)
        else:
            labels = ("object",) * count
        scores, masks = detections.confidence, getattr(detections, "mask", None)
        return cls(
            boxes=np.asarray(detections.xyxy, dtype=np.float32).reshape(count, 4),
            labels=labels,
            scores=np.ones(count, np.float32) if scores is None else scores,
            regions=data.get("region", np.full(count, NO_REGION, np.int64)),
            image_size=image_size,
            masks=None if masks is None else Masks.from_array(masks),
        )


@dataclass(frozen=True, slots=True)
class Grounding:
    """A phrase and the regions it names; no regions means the model said there is none."""

    phrase: str
    regions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RegionText:
    """What was said about one region: a description, or the text read in it."""

    region: int
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """One mention of a region in a text.

    Args:
        region: the region.
        start: where the mention begins in `Answer.text`.
        end: where it ends; `text[start:end]` is the reference, for example "<region3>".
        part: whether it stands in the thought or in the answer.
        phrase: the label of the list it stands in; None in a running sentence.
    """

    region: int
    start: int
    end: int
    part: Literal["thought", "answer"] = "answer"
    phrase: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What could be read out of a generated answer.

    Args:
        text: the generated text, unchanged.
        answer: the text without thought and without the answer tags; region markup still in it.
        groundings: one per phrase, in order of first appearance.
        problems: one line for everything that could not be read.
        thought: the text between the thinking tags, or None when the model did not think.
        citations: every mention of an existing region, in the order of the text.
    """

    text: str
    answer: str
    groundings: tuple[Grounding, ...] = ()
    problems: tuple[str, ...] = ()
    thought: str | None = None
    citations: tuple[Citation, ...] = ()

    @property
    def regions(self) -> tuple[int, ...]:
        """All regions of all groundings, each once, in order of first appearance."""
        return tuple(dict.fromkeys(region for item in self.groundings for region in item.regions))

    @classmethod
    def merge(cls, answers: Sequence["Answer"]) -> "Answer":
        """Return several answers to one question as one, texts line by line, equal ones once.

        Equal phrases become one, with the regions of all; a phrase that one answer found nothing
        for keeps the regions that others found.
        """
        apart = tuple({answer.text: answer for answer in answers}.values())
        problems = tuple(dict.fromkeys(line for answer in answers for line in answer.problems))
        if len(apart) == 1:
            return replace(apart[0], problems=problems)
        found: dict[str, dict[int, None]] = {}
        citations: list[Citation] = []
        start = 0
        for answer in apart:
            for item in answer.groundings:
                found.setdefault(item.phrase, {}).update(dict.fromkeys(item.regions))
            citations += [
                replace(cited, start=cited.start + start, end=cited.end + start)
                for cited in answer.citations
            ]
            start += len(answer.text) + 1
        thoughts = [answer.thought for answer in apart if answer.thought is not None]
        return cls(
            text="\n".join(answer.text for answer in apart),
            answer="\n".join(answer.answer for answer in apart),
            groundings=tuple(Grounding(phrase, tuple(rows)) for phrase, rows in found.items()),
            problems=problems,
            thought="\n".join(thoughts) if thoughts else None,
            citations=tuple(citations),
        )


def _as_scores(scores: npt.ArrayLike, count: int) -> npt.NDArray[np.float32]:
    array = np.array(scores, dtype=np.float32).reshape(-1)
    if len(array) != count:
        raise InputError(f"got {count} boxes but {len(array)} scores; give one score a box")
    bad = np.flatnonzero(~((array >= 0) & (array <= 1)))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"score {row} is {array[row]:g}; scores lie between 0 and 1")
    return array


def _check_masks(masks: Masks | None, count: int, size: Size) -> None:
    if masks is not None and (len(masks), masks.image_size) != (count, size):
        raise InputError(
            f"got {len(masks)} masks of a picture of size {masks.image_size} for {count} boxes in one of {size}; "
            "give one mask a box, of the same picture"
        )


def _as_regions(regions: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    array = np.array(regions, dtype=np.int64).reshape(-1)
    if len(array) != count:
        raise InputError(f"got {count} boxes but {len(array)} region indices; give one a box")
    return array


def _as_size(image_size: Sequence[int]) -> Size:
    sides = tuple(int(side) for side in image_size)
    if len(sides) != 2 or min(sides) < 1:
        raise InputError(f"image_size is {sides}; give (height, width), both at least 1")
    return sides[0], sides[1]


def _same(*pairs: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> bool:
    return all(np.array_equal(first, second) for first, second in pairs)
