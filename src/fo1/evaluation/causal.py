"""Does the model read region tokens? Two regions exchange their embeddings; do their answers?

A model that answers from the picture alone, from where a region stands in the list, or from the
words of the question, passes many benchmarks and fails here. One pair of regions per example,
chosen among those that the model itself answered differently: `high` got more of a column (a label
of an answer, or a text) than `low`. After the swap a model that reads its region tokens gives
`low` more than `high`.

Legend: N regions, K columns.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fo1.evaluation.metrics.estimates import Floats, accuracy, estimate
from fo1.evaluation.prediction import Prediction
from fo1.evaluation.report import Table

Column: TypeAlias = tuple[int, str]
"""(answer, label or text)."""

CLEARLY = 0.5
"""Another region is answered differently if it gets less than this share of the best one's value."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two regions that a model answered differently.

    Attributes:
        high: the region that got more.
        low: the other one.
        column: of what.
    """

    high: int
    low: int
    column: Column


def contestant_rng(seed: int, who: str, key: str) -> np.random.Generator:
    """Return the numbers of one contestant and example: the same in every batch and process."""
    return np.random.default_rng([seed, zlib.crc32(f"{who}|{key}".encode(errors="surrogatepass"))])


def columns(prediction: Prediction) -> dict[Column, Floats]:
    """Return by column (N,) what every region got: its score, or 1 where a text says so, else 0.

    Scores are the model's own: the score head's where there is one, without the proposals'; a
    region that was named in writing gets 1.
    """
    found: dict[Column, Floats] = {}
    count = len(prediction.boxes)
    for number, said in enumerate(prediction.said):
        written = np.ones(len(said.labels))
        values = said.evidence.get("head", written)
        for label, region, value in zip(said.labels, said.regions, values, strict=True):
            column = found.setdefault((number, label), np.zeros(count))
            column[region] = max(column[region], value)
        for region, text in said.texts.items():
            found.setdefault((number, text), np.zeros(count))[region] = 1.0
    return found


def choose_pair(prediction: Prediction, rng: np.random.Generator) -> Pair | None:
    """Return two regions that were answered differently; None if there are none."""
    table = columns(prediction)
    items = list(table.items())
    for place in rng.permutation(len(items)):
        column, values = items[place]
        high = int(values.argmax())
        lower = np.flatnonzero(values < CLEARLY * values[high])
        if len(lower):
            return Pair(high, int(rng.choice(lower)), column)
    return None


def gap(prediction: Prediction, pair: Pair) -> float:
    """Return how much more `low` got than `high`; above 0 if the answers changed sides."""
    values = columns(prediction).get(pair.column)
    return 0.0 if values is None else float(values[pair.low] - values[pair.high])


def swap_table(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    floor: Sequence[Prediction] | None,
    pictures: Sequence[int],
    weights: Floats,
    *,
    who: str,
    seed: int,
) -> Table:
    """Return how often two answers changed sides when their regions' embeddings did.

    Args:
        before: what the model said.
        after: what it said with two embeddings swapped.
        floor: what it says without picture and region features.
        pictures: index of the picture of each prediction.
        weights: (R, P), see `metrics`.
        who: name of the contestant that gave `after`; with the seed it chose the pairs.
        seed: of the run.
    """
    changed: dict[str, list[float]] = {"two regions swapped": [], "nothing swapped": []}
    if floor is not None:
        changed["text only"] = []
    kept: list[int] = []
    for number, (own, swapped, picture) in enumerate(zip(before, after, pictures, strict=True)):
        pair = choose_pair(own, contestant_rng(seed, who, own.key))
        if pair is None or own.error or swapped.error:
            continue
        kept.append(picture)
        changed["two regions swapped"].append(_side(gap(swapped, pair)))
        changed["nothing swapped"].append(_side(gap(own, pair)))
        if floor is not None:
            changed["text only"].append(_side(gap(floor[number], pair)))
    table = Table(
        "Does the model read region tokens?",
        ("answers changed sides %", "pairs"),
        "Two regions that were answered differently exchange their embeddings: 100 if every answer "
        "goes with its embedding, 0 if answers stay with the place in the list; equal answers "
        "count half. One pair a picture at most; examples without two different answers have none.",
    )
    for name, rows in changed.items():
        shares = estimate(100 * accuracy(rows, kept, weights)) if rows else None
        table.add(name, shares, str(len(rows)))
    return table


def _side(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)
