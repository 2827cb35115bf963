"""Scene: a picture encoded once, asked many times, from many threads."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fo1.errors import QueryError
from fo1.pipeline.answering import answer
from fo1.pipeline.request import EncodedScene, Outcome, Request
from fo1.prompts import Detail, Task, as_queries, clean_name
from fo1.results import Answer, Detections, RegionText


@dataclass(frozen=True, slots=True)
class CountResult:
    """How many there are, and which.

    Args:
        count: the number; what the model wrote, or how many regions it found if it wrote none.
        detections: the regions that were counted.
        text: what the model wrote; "" for models that score instead of writing.
    """

    count: int
    detections: Detections
    text: str = ""

    def __int__(self) -> int:
        return self.count


class Scene(EncodedScene):
    """A picture with its regions and the verbs to ask about them; made by `FO1.encode`.

    No verb changes the scene or the model, so threads may share both.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        height, width = self.image_size
        name = self.engine.name
        return f"Scene({width} x {height}, {len(self)} regions by {self.proposer!r}, {name!r})"

    def answer(self, request: Request) -> Outcome:
        """Return all that a request brings: what the verbs return, and every problem."""
        return answer([self], request)[0]

    def detect(self, names: str | Sequence[str], threshold: float | None = None) -> Detections:
        r"""Return the regions that show one of the names, best first within a name.

        Models with a score head score every pair of region and name, which for proposed boxes is
        the square root of match probability times proposal score, for given boxes the match
        probability itself; of proposed boxes with one label that overlap, the best stays. Other
        models write region numbers: the score is the proposal's, as in the published protocol,
        and 1 for given boxes. `Detections.proposal_scores` and `model_scores` keep what either said.

        A match probability depends a little on which other regions are in the scene, for the model
        reads them together: a region alone and the same among a hundred differed by 0.004 as a
        rule and by up to 0.14. Labels are the names as they are asked: on one line, runs of spaces
        made one, none at the ends, and markup in quotation marks, so that " <red>  cup" comes back as
        "\u2039red\u203a cup".

        Args:
            names: what to look for; repeated names are asked once.
            threshold: least score; without it `DEFAULT_THRESHOLD` for models with a score head,
                and no limit for others.

        Raises:
            QueryError: no names, or an empty one.
        """
        return self.answer(
            Request(task=Task.DETECT, queries=as_queries(names), threshold=threshold)
        ).detections

    def scores(self, queries: str | Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (N, K) probabilities that a region is meant by a query, none left out.

        Unlike the scores of `detect`, they know nothing of the proposals' own scores. They too
        depend a little on which other regions are in the scene.

        Raises:
            QueryError: no queries, an empty one, or a model that only writes.
        """
        names = [clean_name(query) for query in as_queries(queries)]
        if not names:
            raise QueryError("no queries to score; give at least one, for example scores(['cat'])")
        if not self.engine.has_score_head:
            raise QueryError(f"'{self.engine.name}' has no score head; ask it with detect or refer")
        if not len(self):
            return np.zeros((0, len(names)), np.float32)
        return self.engine.match([self.tensors], names)[0]

    def refer(self, expression: str, threshold: float | None = None) -> Detections:
        """Return the region that an expression means, or none.

        Models with a score head name one region at most, others may name several. Scores and
        errors are those of `detect`.
        """
        return self.answer(
            Request(task=Task.REFER, queries=as_queries(expression), threshold=threshold)
        ).detections

    def count(self, noun: str, threshold: float | None = None) -> CountResult:
        """Return how many things of a kind there are, of several kinds together.

        Scores and errors are those of `detect`. When a model writes of more regions than it has
        index tokens, those that it names are counted.
        """
        return as_count(
            self.answer(Request(task=Task.COUNT, queries=as_queries(noun), threshold=threshold))
        )

    def describe(
        self, regions: Iterable[int] | None = None, detail: Detail = "brief"
    ) -> tuple[RegionText, ...]:
        """Return a description of each of the regions, in their order.

        Args:
            regions: region numbers; may be left out when the scene has at most ten.
            detail: "brief" or "detailed".

        Raises:
            QueryError: a region does not exist, or none are named and there are many.
        """
        return self.answer(
            Request(task=Task.DESCRIBE, regions=as_regions(regions), detail=detail)
        ).texts

    def read(self, regions: Iterable[int] | None = None) -> tuple[RegionText, ...]:
        """Return the text written in each of the regions, "" where none is read.

        Arguments and errors are those of `describe`.
        """
        return self.answer(Request(task=Task.READ, regions=as_regions(regions))).texts

    def ground(self) -> Answer:
        """Return a short description of the picture whose phrases name regions."""
        return as_answer(self.answer(Request(task=Task.GROUND)))

    def similar(self, region: int, threshold: float | None = None) -> Detections:
        """Return the other regions that show the same kind of thing as one region.

        Raises:
            QueryError: the region does not exist.
        """
        return self.answer(
            Request(task=Task.SIMILAR, regions=as_regions([region]), threshold=threshold)
        ).detections

    def ask(self, question: str, think: bool = False) -> Answer:
        """Return the answer to a free question; `<region3>` in it names a region.

        Args:
            question: what to ask.
            think: have the model reason about regions first; see `Answer.thought`.

        Raises:
            QueryError: the question is empty or names a region that does not exist.
        """
        request = Request(task=Task.ASK, queries=as_queries(question), think=think)
        return as_answer(self.answer(request))


def as_count(outcome: Outcome) -> CountResult:
    """Return what an outcome of counting says."""
    assert outcome.count is not None
    return CountResult(outcome.count, outcome.detections, outcome.text or "")


def as_answer(outcome: Outcome) -> Answer:
    """Return the answer of an outcome of ground or ask."""
    assert outcome.answer is not None
    return outcome.answer


def as_regions(regions: Iterable[int] | None) -> tuple[int, ...] | None:
    """Return region numbers as plain ints; None stays None.

    Raises:
        QueryError: one is not a whole number.
    """
    if regions is None:
        return None
    try:
        return tuple(operator.index(region) for region in regions)
    except TypeError as error:
        raise QueryError(
            f"regions must be whole numbers ({error}); give a list such as [0, 3]"
        ) from error
