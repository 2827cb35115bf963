"""Answers about drawn scenes, judged.

Legend: R regions, K queries.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fo1.evaluation.drawn.cases import FOUND_IOU, Case, naming_rank
from fo1.evaluation.example import Example
from fo1.evaluation.metrics import ranking
from fo1.evaluation.metrics.estimates import Bools, Floats
from fo1.evaluation.metrics.ranking import Ranking
from fo1.evaluation.prediction import Prediction, Said
from fo1.geometry import Boxes, box_iou
from fo1.lexicon import normalise
from fo1.pipeline import DEFAULT_THRESHOLD
from fo1.prompts import Task

_ARTICLES = ("a", "an", "the")


@dataclass(slots=True)
class Judgement:
    """What one contestant got right; every list has one entry per item, its picture first.

    Attributes:
        naming: (picture, names that beat the right one, the right one).
        described: (picture, the description is exactly a name).
        rankings: by name, one per picture in which it was asked.
        pairs: (picture, pairs of name and thing found, pairs answered, pairs due).
        referring: (picture, right or not, needs more than the name).
        counting: (picture, said or None, true).
        presence: (picture, best score, is there, answered at all, false positives).
        chances: (picture, probability of every region and name, what came true), flat arrays.
    """

    naming: list[tuple[int, int, str]] = field(default_factory=list)
    described: list[tuple[int, float]] = field(default_factory=list)
    rankings: dict[str, list[Ranking]] = field(default_factory=dict)
    pairs: list[tuple[int, int, int, int]] = field(default_factory=list)
    referring: list[tuple[int, float, bool]] = field(default_factory=list)
    counting: list[tuple[int, int | None, int]] = field(default_factory=list)
    presence: list[tuple[int, float, bool, bool, int]] = field(default_factory=list)
    chances: list[tuple[int, Floats, Bools]] = field(default_factory=list)

    def add(self, picture: int, example: Example[Case], prediction: Prediction) -> None:
        """Adds all answers about one scene; ties are decided by the example's key."""
        case = example.truth
        rng = np.random.default_rng(zlib.crc32(example.key.encode()))
        boxes = prediction.boxes.astype(np.float32)
        counts = iter(case.counts)
        for request, said in zip(example.requests, prediction.said, strict=True):
            if request.task is Task.DETECT:
                table = table_of(said, request.queries, len(boxes))
                if request.queries != case.names:
                    self._naming(picture, case, table, request.queries, rng)
                    continue
                limit = least_score(said)
                self._detection(picture, case, boxes, table, limit)
                self._presence(picture, case, table, limit, prediction.error is not None)
                chance, outcome = pair_chances(example, prediction, said)
                self.chances.append((picture, chance.clip(0), outcome))
            elif request.task is Task.REFER:
                table = table_of(said, request.queries, len(boxes))
                for place, (text, target) in enumerate(case.expressions):
                    best = _best(table[:, place], rng)
                    self.refer(picture, case, text, target, None if best is None else boxes[best])
            elif request.task is Task.COUNT:
                self.counting.append((picture, said.count, next(counts)[1]))
            elif request.task is Task.DESCRIBE:
                for row in case.rows:
                    thing = case.objects[case.owner[row]]
                    right = is_name(said.texts.get(row, ""), thing.names, thing.colour)
                    self.described.append((picture, float(right)))

    def refer(
        self, picture: int, case: Case, text: str, target: int, box: npt.NDArray[np.float32] | None
    ) -> None:
        """Adds whether a box is the one that an expression means."""
        true = case.true[target : target + 1]
        right = box is not None and bool(box_iou(box[None], true)[0, 0] >= FOUND_IOU)
        self.referring.append((picture, float(right), not case.by_name_alone(text)))

    def _naming(
        self,
        picture: int,
        case: Case,
        table: Floats,
        names: Sequence[str],
        rng: np.random.Generator,
    ) -> None:
        for row in case.rows:
            thing = case.objects[case.owner[row]]
            rank = naming_rank(table[row], names, thing, rng) if row < len(table) else len(names)
            self.naming.append((picture, rank, thing.name))

    def _detection(
        self, picture: int, case: Case, boxes: Boxes, table: Floats, limit: float
    ) -> None:
        found = answered = due = 0
        for place, name in enumerate(case.names):
            kept = table[:, place] >= 0
            judged = ranking.rank(boxes[kept], table[kept, place], *case.truth(name), picture)
            self.rankings.setdefault(name, []).append(judged)
            sure = (judged.scores >= limit) & ~judged.ignored[0]
            found += int((sure & judged.hits[0]).sum())
            answered, due = answered + int(sure.sum()), due + judged.positives
        self.pairs.append((picture, found, answered, due))

    def _presence(
        self, picture: int, case: Case, table: Floats, limit: float, failed: bool
    ) -> None:
        """Adds what was said of each name; of a scene that failed, the wrong thing."""
        for place, name in enumerate(case.names):
            there = name in case.present
            number = int((table[:, place] >= limit).sum())
            best = float(not there) if failed else float(table[:, place].max(initial=0.0))
            some = not there if failed else number > 0
            false = 0 if there else 1 if failed else number
            self.presence.append((picture, best, there, some, false))


def pair_chances(
    example: Example[Case], prediction: Prediction, said: Said
) -> tuple[Floats, Bools]:
    """Return (M,) how likely each region was said to show each name, -1 for not said; and whether.

    Left out are names that may be true of what the region shows.
    """
    case, boxes = example.truth, prediction.boxes.astype(np.float32)
    owner = case.shown_by(boxes) if example.boxes is None else case.owner
    chance = np.full((len(owner), len(case.names)), -1.0)
    table = table_of(said, case.names, len(boxes))
    chance[: len(table)] = table[: len(owner)]  # of a scene that failed, no region is told
    # The last entry is that of regions that show no object.
    sure = np.array([~np.append(case.unsure(name), False)[owner] for name in case.names])
    true = np.array([np.append(case.meant(name), False)[owner] for name in case.names])
    return chance.T[sure], true[sure]


def least_score(said: Said) -> float:
    """Return the score from which a detection is an answer; what was written is one anyway."""
    return DEFAULT_THRESHOLD if said.scored_by in ("head", "fusion") else 0.0


def table_of(said: Said, queries: Sequence[str], regions: int) -> Floats:
    """Return (R, K) scores, -1 for what was not said; other labels and regions count for nothing."""
    place = {query: column for column, query in enumerate(queries)}
    table = np.full((regions, len(queries)), -1.0)
    for label, region, score in zip(said.labels, said.regions, said.scores, strict=True):
        if label in place and 0 <= region < regions:
            column = place[label]
            table[region, column] = max(table[region, column], score)
    return table


def is_name(text: str, names: tuple[str, ...], colour: str = "") -> bool:
    """Return whether a text is one of the names, but for an article and the thing's colour.

    Example:
        >>> is_name("A red apple.", ("apple", "fruit"), "red")
        True
    """
    words = normalise(text).split()
    if words and words[0] in _ARTICLES:
        words = words[1:]
    accepted = {normalise(name) for name in names}
    plain = words[1:] if colour and words[:1] == [colour] else words
    return " ".join(words) in accepted or " ".join(plain) in accepted


def _best(scores: Floats, rng: np.random.Generator) -> int | None:
    """Return the index of the highest score, ties at random; None where nothing is an answer."""
    if scores.max(initial=-1.0) < 0:
        return None
    return int(rng.choice(np.flatnonzero(scores == scores.max())))
