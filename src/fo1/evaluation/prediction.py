"""What came back about an example: answers as values, and as lines of rows.jsonl.

Legend: N regions of one picture, D detections of one answer.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from fo1.evaluation.example import Example
from fo1.geometry import Size
from fo1.pipeline import Outcome, Scene
from fo1.pipeline.request import Score
from fo1.results import Detections

Row: TypeAlias = dict[str, Any]
"""What one line of rows.jsonl holds."""

BOX_DIGITS, SCORE_DIGITS = 2, 6


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What came back for one request.

    Attributes:
        labels: D names.
        regions: (D,) int64, index into the prediction's boxes.
        scores: (D,) float64, those by which detections are ranked.
        scored_by: what the scores are.
        evidence: (D,) of every score that is known, by its name; `scores` is one of them.
        texts: what was said about single regions.
        written: what the model wrote, markup included, one text per question; empty if it scored.
        count: the number that was asked for.
        problems: one line for everything that could not be read.
    """

    labels: tuple[str, ...] = ()
    regions: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    scored_by: Score = "proposal"
    evidence: Mapping[Score, npt.NDArray[np.float64]] = field(default_factory=dict)
    texts: Mapping[int, str] = field(default_factory=dict)
    written: tuple[str, ...] = ()
    count: int | None = None
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, outcome: Outcome, most: int | None = None) -> Self:
        """Return an outcome, rounded as it is written; only the `most` best detections if given."""
        found, problems = outcome.detections, outcome.problems
        kept = np.arange(len(found))
        if most is not None and len(found) > most:
            kept = np.sort(np.argsort(-found.scores, kind="stable")[:most])
        return cls(
            labels=tuple(found.labels[index] for index in kept),
            regions=found.regions[kept],
            scores=_rounded(found.scores[kept]),
            scored_by=outcome.scored_by,
            evidence={name: _rounded(value[kept]) for name, value in outcome.evidence.items()},
            texts={item.region: item.text for item in outcome.texts},
            written=outcome.written,
            count=outcome.count,
            problems=problems,
        )

    @property
    def named(self) -> tuple[int, ...]:
        """Regions of detections and texts."""
        return (*self.regions.tolist(), *self.texts)

    @classmethod
    def found(
        cls, pairs: Iterable[tuple[str, int]], scores: npt.ArrayLike | None = None, **fields: Any
    ) -> Self:
        """Return an answer made by hand: (label, region) with scores, 1 if none are given."""
        rows = list(pairs)
        given = np.ones(len(rows)) if scores is None else np.asarray(scores, float)
        regions = np.array([region for _, region in rows], np.int64)
        return cls(tuple(label for label, _ in rows), regions, given, **fields)

    def to_row(self) -> Row:
        """Return what is written of it."""
        return {
            "labels": self.labels,
            "regions": self.regions.tolist(),
            "scores": self.scores.tolist(),
            "scored_by": self.scored_by,
            "evidence": {name: value.tolist() for name, value in self.evidence.items()},
            "texts": {str(region): text for region, text in self.texts.items()},
            "written": self.written,
            "count": self.count,
            "problems": self.problems,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return what was written.

        Raises:
            KeyError: a field is missing.
            ValueError: it holds something else.
        """
        if row["scored_by"] not in get_args(Score):
            raise ValueError(f"unknown score {row['scored_by']!r}")
        labels = tuple(map(sys.intern, row["labels"]))
        numbers = {name: np.array(value, float) for name, value in row["evidence"].items()}
        regions, scores = np.array(row["regions"], np.int64), np.array(row["scores"], float)
        if any(len(one) != len(labels) for one in (regions, scores, *numbers.values())):
            raise ValueError("labels, regions and scores differ in number")
        return cls(
            labels=labels,
            regions=regions,
            scores=scores,
            scored_by=row["scored_by"],
            evidence=numbers,
            texts={int(region): text for region, text in row["texts"].items()},
            written=tuple(row["written"]),
            count=row["count"],
            problems=tuple(row["problems"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """All answers about one example.

    Attributes:
        key: of the example.
        boxes: (N, 4) float64 xyxy regions that the model saw, pixels of the picture.
        box_scores: (N,) of their proposals.
        said: one answer per request; empty ones where the example failed.
        image_size: (height, width); (0, 0) where the picture could not be read.
        proposer: who proposed the regions.
        error: why the example failed, one line; None where it did not.
    """

    key: str
    boxes: npt.NDArray[np.float64]
    box_scores: npt.NDArray[np.float64]
    said: tuple[Said, ...]
    image_size: Size = (0, 0)
    proposer: str = ""
    error: str | None = None

    @classmethod
    def of(
        cls, key: str, scene: Scene, outcomes: Sequence[Outcome], most: int | None = None
    ) -> Self:
        """Return what a model said about a scene; `most` detections of each answer are kept."""
        return cls(
            key=key,
            boxes=scene.regions.astype(float).round(BOX_DIGITS),
            box_scores=_rounded(scene.proposal_scores),
            said=tuple(Said.of(outcome, most) for outcome in outcomes),
            image_size=scene.image_size,
            proposer=scene.proposer,
        )

    @classmethod
    def made(
        cls, example: Example[Any], boxes: npt.ArrayLike, *said: Said, image_size: Size = (0, 0)
    ) -> Self:
        """Return a prediction made by hand, for floors and ceilings; boxes (N, 4) xyxy."""
        rows = np.asarray(boxes, float).reshape(-1, 4)
        return cls(example.key, rows, np.ones(len(rows)), said, image_size)

    @classmethod
    def failed(cls, example: Example[Any], error: str) -> Self:
        """Return the prediction of an example that could not be asked: nothing found, nothing said."""
        nothing = tuple(Said() for _ in example.requests)
        return cls(example.key, np.zeros((0, 4)), np.zeros(0), nothing, error=error)

    @classmethod
    def empty(cls, example: Example[Any]) -> Self:
        """Return the prediction of a model that says nothing."""
        nothing = tuple(Said() for _ in example.requests)
        return cls(example.key, np.zeros((0, 4)), np.zeros(0), nothing)

    def detections(self, number: int, image_size: Size) -> Detections:
        """Return what was found for one request, to be drawn on its picture (height, width)."""
        said = self.said[number]
        return Detections(
            boxes=self.boxes[said.regions].astype(np.float32),
            labels=said.labels,
            scores=said.scores.clip(0, 1),
            regions=said.regions,
            image_size=image_size,
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems of all answers."""
        return tuple(line for said in self.said for line in said.problems)

    def to_row(self) -> Row:
        """Return what is written of it."""
        if self.error is not None:
            return {"key": self.key, "error": self.error, "requests": len(self.said)}
        return {
            "key": self.key,
            "height": self.image_size[0],
            "width": self.image_size[1],
            "proposer": self.proposer,
            "boxes": self.boxes.tolist(),
            "box_scores": self.box_scores.tolist(),
            "said": [said.to_row() for said in self.said],
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return what was written.

        Raises:
            KeyError: a field is missing.
            ValueError: a field holds something else, or the fields do not fit each other.
        """
        if "error" in row:
            nothing = tuple(Said() for _ in range(row["requests"]))
            return cls(row["key"], np.zeros((0, 4)), np.zeros(0), nothing, error=row["error"])
        found = cls(
            key=row["key"],
            boxes=np.array(row["boxes"], float).reshape(len(row["boxes"]), 4),
            box_scores=np.array(row["box_scores"], float),
            said=tuple(Said.from_row(said) for said in row["said"]),
            image_size=(row["height"], row["width"]),
            proposer=row["proposer"],
        )
        known = range(len(found.boxes))
        if not all(region in known for one in found.said for region in one.named):
            raise ValueError("a region is named that the picture does not have")
        return found


def _rounded(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return scores as they are written: six digits, so that few are tied by writing them."""
    return scores.astype(float).round(SCORE_DIGITS)
