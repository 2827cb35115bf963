"""What can be asked, of what, and what comes back: values that nothing changes.

Legend: N regions of one picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fo1 import prompts, tags
from fo1.errors import QueryError
from fo1.geometry import Boxes, Size
from fo1.masks import Masks
from fo1.pipeline.engine import Engine
from fo1.pipeline.rows import SceneTensors
from fo1.prompts import QUERY_TASKS, Detail, Task, clean_name
from fo1.results import Answer, Detections, RegionText
from fo1.selection import check_threshold

Score: TypeAlias = Literal["proposal", "head", "fusion", "token"]
"""What a detection's score may be: that of the proposal; the score head's match; the fusion of both
(square root of their product); the probability with which the model wrote the region's token."""

GIVEN = "given"
"""Proposer of the boxes that the caller gave."""

DEFAULT_THRESHOLD = 0.4
"""Score from which a region is a detection, for models with a score head.

Chosen by eye, under the usual 0.5: a wrong box costs more than asking for a lower threshold. It is
not fitted to anything; see docs/nano.md.
"""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedScene:
    """A picture with its regions, ready to be asked; a value that nothing changes.

    Attributes:
        image_size: (height, width) of the original picture.
        regions: (N, 4) float32, xyxy pixels of the original picture.
        proposal_scores: (N,) float32 in [0, 1]; 1 for boxes that the caller gave.
        proposal_labels: N names that the proposer gave its boxes; None from proposers without names.
        proposer: who proposed the regions; "given" for boxes that the caller gave.
        proposed: whether the regions may be wrong or copies; False for boxes that the caller gave.
        tensors: what the model computed.
        engine: the model.
        masks: N masks, where regions are less than their boxes; they were pooled under them.
    """

    image_size: Size
    regions: Boxes
    proposal_scores: npt.NDArray[np.float32]
    proposal_labels: tuple[str, ...] | None
    proposer: str
    proposed: bool
    tensors: SceneTensors
    engine: Engine
    masks: Masks | None = None

    def __len__(self) -> int:
        return len(self.regions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question, checked as far as it can be without a picture.

    Args:
        task: what is asked.
        queries: names for detect and count, expressions for refer, the question for ask.
        regions: what describe and read are about; the one region of similar.
        detail: how long a description is.
        threshold: least score of a detection; the model's own if not given.
        think: whether ask has the model reason about regions first.

    Raises:
        QueryError: queries or regions are missing, empty or too many.
        InputError: the threshold is outside [0, 1].
    """

    task: Task
    queries: tuple[str, ...] = ()
    regions: tuple[int, ...] | None = None
    detail: Detail = "brief"
    threshold: float | None = None
    think: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None:
            check_threshold(self.threshold)
        if self.task in QUERY_TASKS:
            if not self.queries:
                raise QueryError(f"{self.task} needs a query; give at least one, for example 'cat'")
            names = dict.fromkeys(clean_name(query) for query in self.queries)
            object.__setattr__(self, "queries", tuple(names))
        elif self.task is Task.ASK:
            if len(self.queries) != 1:
                raise QueryError(f"ask takes one question, got {len(self.queries)}; ask each apart")
            prompts.ask(self.queries[0])
        elif self.task is Task.SIMILAR and len(self.regions or ()) != 1:
            count = len(self.regions or ())
            raise QueryError(f"similar takes one region, got {count}; give one, for example 0")
        elif self.task is Task.DESCRIBE:
            prompts.describe([0], self.detail)
        for region in self.regions or ():
            tags.region_token(region)

    def least_score(self) -> float:
        """Return the threshold, the default one if none was given."""
        return DEFAULT_THRESHOLD if self.threshold is None else self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that one request brought for one scene; unused fields stay empty.

    Attributes:
        detections: regions that were found or named.
        texts: what was said about single regions.
        answer: the parsed text of ground and ask.
        text: what the model wrote, for people to read; None if it wrote nothing.
        count: the number that was asked for.
        problems: one line for everything that could not be read.
        written: what the model wrote, markup included, one text per question; empty if it scored.
        scored_by: what the scores of the detections are.
    """

    detections: Detections
    texts: tuple[RegionText, ...] = ()
    answer: Answer | None = None
    text: str | None = None
    count: int | None = None
    problems: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    scored_by: Score = "proposal"

    @property
    def evidence(self) -> Mapping[Score, npt.NDArray[np.float32]]:
        """Every score that is known of the D detections, (D,) each; theirs is one of them."""
        found, known = self.detections, dict[Score, npt.NDArray[np.float32]]()
        if found.model_scores is not None:
            known["token" if self.written else "head"] = found.model_scores
        if found.proposal_scores is not None:
            known["proposal"] = found.proposal_scores
        if self.scored_by == "fusion":
            known["fusion"] = found.scores
        return known
