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

_KNOWN_SCORES = ("proposal_scores", "model_scores")


class DetectionRow(TypedDict):
    """One detection as it is written in JSON; what is not known of it is left out."""

    label: str
    box: list[float]
    score: float
    region: int
    mask: NotRequired[Rle]
    proposal_score: NotRequired[float]
    model_score: NotRequired[float]


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Boxes that may hold an object, best first or in any order the source gave.

    Args:
        boxes: (N, 4) float32, xyxy pixels of the original picture.
        scores: (N,) float32 in [0, 1].
        source: who proposed them, for example "nano" or a file name.
        labels: N names that the source gave its boxes; None from sources without names. They are
            told, never believed: FO1 judges a box by what it shows.

    Raises:
        BoxError: boxes are not (N, 4) finite numbers.
        InputError: the counts differ or a score is outside [0, 1].
    """

    boxes: Boxes
    scores: npt.NDArray[np.float32]
    source: str = ""
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", _as_scores(self.scores, len(boxes)))
        if self.labels is not None:
            object.__setattr__(self, "labels", _as_labels(self.labels, len(boxes)))

    def __len__(self) -> int:
        return len(self.boxes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Proposals):
            return NotImplemented
        return (self.source, self.labels) == (other.source, other.labels) and _same(
            (self.boxes, other.boxes), (self.scores, other.scores)
        )

    @classmethod
    def empty(cls, source: str = "") -> Self:
        """Return no proposals."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), source)

    @classmethod
    def from_supervision(cls, detections: Any, source: str = "") -> Self:
        """Return the boxes of a `supervision.Detections`, with its names if it has any.

        A missing score is 1.
        """
        count = len(detections.xyxy)
        labels = _supervision_labels(detections)
        scores = detections.confidence
        return cls(
            boxes=np.asarray(detections.xyxy, dtype=np.float32).reshape(count, 4),
            scores=np.ones(count, np.float32) if scores is None else scores,
            source=source,
            labels=labels,
        )

    def select(self, rows: slice | npt.NDArray[np.integer]) -> "Proposals":
        """Return the proposals in those rows, in their order."""
        labels = self.labels
        if labels is not None:
            labels = tuple(labels[int(row)] for row in np.arange(len(self))[rows])
        return Proposals(self.boxes[rows], self.scores[rows], self.source, labels)


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One labelled box.

    Args:
        box: (4,) float32, xyxy pixels of the original picture.
        label: what was asked for.
        score: in [0, 1].
        region: index into the scene's regions, or `NO_REGION`.
        proposal_score: see `Detections`.
        model_score: see `Detections`.
    """

    box: npt.NDArray[np.float32]
    label: str
    score: float
    region: int
    proposal_score: float | None = None
    model_score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """N labelled boxes in one picture; a container that filters by mask, slice or indices.

    Args:
        boxes: (N, 4) float32, xyxy pixels of the original picture.
        labels: N names, cleaned as `Scene.detect` says.
        scores: (N,) float32 in [0, 1], by which they are ranked; `Scene.detect` says how it is made.
        regions: (N,) int64, index into the scene's regions; `NO_REGION` (-1) if there is none.
        image_size: (height, width) of the original picture.
        proposal_scores: (N,) float32, what the proposer gave the box; None where nobody proposed.
        model_scores: (N,) float32, what FO1 alone says: the match by its score head, or the
            probability of the region's token where it writes; None where it judged nothing.
        masks: N masks of that picture, where there are any; (N, height, width) truth values become `Masks`.

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
    proposal_scores: npt.NDArray[np.float32] | None = None
    model_scores: npt.NDArray[np.float32] | None = None
    masks: Masks | None = None

    def __post_init__(self) -> None:
        boxes = as_boxes(self.boxes)
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "labels", _as_labels(self.labels, len(boxes)))
        object.__setattr__(self, "scores", _as_scores(self.scores, len(boxes)))
        for name in _KNOWN_SCORES:
            if (own := getattr(self, name)) is not None:
                object.__setattr__(self, name, _as_scores(own, len(boxes)))
        object.__setattr__(self, "regions", _as_regions(self.regions, len(boxes)))
        object.__setattr__(self, "image_size", _as_size(self.image_size))
        object.__setattr__(self, "masks", _as_masks(self.masks, len(boxes), self.image_size))

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
                None if self.proposal_scores is None else float(self.proposal_scores[index]),
                None if self.model_scores is None else float(self.model_scores[index]),
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
            proposal_scores=None if self.proposal_scores is None else self.proposal_scores[chosen],
            model_scores=None if self.model_scores is None else self.model_scores[chosen],
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
                (self.proposal_scores, other.proposal_scores),
                (self.model_scores, other.model_scores),
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

        They have masks where all parts with detections do. Scores that a part does not know are
        known of none.

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
            proposal_scores=_joined([item.proposal_scores for item in items if len(item)]),
            model_scores=_joined([item.model_scores for item in items if len(item)]),
            masks=Masks.merge(masks, sizes[0]) if whole else None,
        )

    def filter(self, threshold: float) -> "Detections":
        """Return the detections whose score is at least `threshold`, order kept."""
        return self[self.scores >= np.float32(threshold)]

    def to_dicts(self) -> list[DetectionRow]:
        """Return one JSON-ready row a detection; boxes to 2 decimals, scores to 4, masks as COCO's run lengths."""
        masks = self.masks.to_rle() if self.masks is not None else [None] * len(self)
        rows: list[DetectionRow] = []
        for item, mask in zip(self, masks, strict=True):
            row = DetectionRow(
                label=item.label,
                box=[round(float(value), 2) for value in item.box],
                score=round(item.score, 4),
                region=item.region,
            )
            if item.proposal_score is not None:
                row["proposal_score"] = round(item.proposal_score, 4)
            if item.model_score is not None:
                row["model_score"] = round(item.model_score, 4)
            if mask is not None:
                row["mask"] = mask
            rows.append(row)
        return rows

    def to_supervision(self) -> Any:
        """Return a `supervision.Detections`; `data` holds "class_name", "region" and known scores.

        Class numbers count the labels in order of first appearance.

        Raises:
            MissingExtraError: the package supervision is not installed.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ImportError as error:
            raise MissingExtraError("to_supervision", "supervision", "supervision") from error
        numbers = {label: number for number, label in enumerate(dict.fromkeys(self.labels))}
        known = {
            name: own.copy() for name in _KNOWN_SCORES if (own := getattr(self, name)) is not None
        }
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            mask=None if self.masks is None else self.masks.to_array(),
            confidence=self.scores.copy(),
            class_id=np.array([numbers[label] for label in self.labels], dtype=np.int64),
            data={
                "class_name": np.array(self.labels, dtype=str),
                "region": self.regions.copy(),
                **known,
            },
        )

    @classmethod
    def from_supervision(cls, detections: Any, image_size: Size) -> Self:
        """Return the detections of a `supervision.Detections` in a picture (height, width).

        A label is `data["class_name"]`, else the class number, else "object"; a missing score is 1.
        """
        count = len(detections.xyxy)
        data = cast("dict[str, Any]", detections.data)
        scores, masks = detections.confidence, getattr(detections, "mask", None)
        return cls(
            boxes=np.asarray(detections.xyxy, dtype=np.float32).reshape(count, 4),
            labels=_supervision_labels(detections) or ("object",) * count,
            scores=np.ones(count, np.float32) if scores is None else scores,
            regions=data.get("region", np.full(count, NO_REGION, np.int64)),
            image_size=image_size,
            **{name: data.get(name) for name in _KNOWN_SCORES},
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


def _supervision_labels(detections: Any) -> tuple[str, ...] | None:
    """Return `data["class_name"]`, else the class numbers, else None."""
    names = cast("dict[str, Any]", detections.data).get("class_name", detections.class_id)
    return None if names is None else tuple(str(name) for name in names)


def _as_labels(labels: Iterable[str], count: int) -> tuple[str, ...]:
    own = tuple(labels)
    if len(own) != count:
        raise InputError(f"got {count} boxes but {len(own)} labels; give one a box")
    return own


def _as_scores(scores: npt.ArrayLike, count: int) -> npt.NDArray[np.float32]:
    try:
        array = np.array(scores, dtype=np.float32).reshape(-1)
    except (ValueError, TypeError, RuntimeError) as error:
        kind = type(cast("object", scores)).__name__
        raise InputError(
            f"cannot read scores from {kind}; give one number a box, 0 to 1"
        ) from error
    if len(array) != count:
        raise InputError(f"got {count} boxes but {len(array)} scores; give one score a box")
    bad = np.flatnonzero(~((array >= 0) & (array <= 1)))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"score {row} is {array[row]:g}; scores lie between 0 and 1")
    return array


def _as_masks(masks: Masks | npt.ArrayLike | None, count: int, size: Size) -> Masks | None:
    if masks is None:
        return None
    if not isinstance(masks, Masks):
        masks = Masks.from_array(masks)
    if (len(masks), masks.image_size) != (count, size):
        raise InputError(
            f"got {len(masks)} masks of a picture of size {masks.image_size} for {count} boxes in one of {size}; "
            "give one mask a box, of the same picture"
        )
    return masks


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


def _joined(parts: Sequence[npt.NDArray[np.float32] | None]) -> npt.NDArray[np.float32] | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known and len(known) == len(parts) else None


def _same(*pairs: tuple[npt.NDArray[Any] | None, npt.NDArray[Any] | None]) -> bool:
    return all(
        first is second if first is None or second is None else np.array_equal(first, second)
        for first, second in pairs
    )
