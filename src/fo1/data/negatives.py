"""Names of a data set: how often each occurs, beside which others, and which are easily taken for one another."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fo1.data.schema import Record

NEAR = 0.5
"""Share of three-letter pieces from which two names count as alike."""
MOST = 10
"""Names that are kept as alike to one."""
USUAL = 200
"""Names up to which a common piece counts."""
BESIDE = 20
"""Names that are kept as standing beside one."""


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The names of some records.

    Attributes:
        names: every name that occurs or was looked for, sorted.
        counts: objects by name.
        beside: by name, names of other things in the same pictures, most frequent first.
        alike: by name, names that share a word or most letters with it.
    """

    names: tuple[str, ...]
    counts: dict[str, int]
    beside: dict[str, tuple[str, ...]]
    alike: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, records: Iterable[Record]) -> "Vocabulary":
        """Return the vocabulary of some records."""
        counts, pairs = Counter[str](), Counter[tuple[str, str]]()
        names: set[str] = set()
        for record in records:
            there = {name for one in record.objects for name in one.names}
            counts.update(name for one in record.objects for name in one.names)
            names |= there | set(record.looked_for) | set(record.absent)
            pairs.update((a, b) for a in there for b in there if a != b)
        beside: dict[str, list[str]] = {}
        for (name, other), _ in sorted(pairs.items(), key=lambda one: (-one[1], one[0])):
            if len(beside.setdefault(name, [])) < BESIDE:
                beside[name].append(other)
        listed = tuple(sorted(names))
        return cls(listed, dict(counts), {n: tuple(o) for n, o in beside.items()}, _alike(listed))

    def hard(self, present: Sequence[str], absent: Sequence[str]) -> list[str]:
        """Return those absent names that are likely taken for what is there, the likeliest first."""
        allowed = set(absent)
        ranked = [other for name in present for other in self.alike.get(name, ())]
        for place in range(BESIDE):
            for name in present:
                others = self.beside.get(name, ())
                ranked += others[place : place + 1]
        return list(dict.fromkeys(name for name in ranked if name in allowed))


def choose(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return up to `count` of the names."""
    return [names[int(i)] for i in rng.permutation(len(names))[:count]]


def _alike(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return for each name up to `MOST` others that share a word or `NEAR` of the letter triples, nearest first."""
    words = [frozenset(name.lower().split()) for name in names]
    triples = [_triples(name.lower()) for name in names]
    by_word, by_triple = _holders(words), _holders(triples)
    found: dict[str, tuple[str, ...]] = {}
    for place, name in enumerate(names):
        near: dict[int, float] = {}
        for pieces, holders in ((words, by_word), (triples, by_triple)):
            shared = Counter(other for piece in pieces[place] for other in holders.get(piece, ()))
            for other, count in shared.items():
                share = 2 * count / (len(pieces[place]) + len(pieces[other]))
                if other != place and (pieces is words or share >= NEAR):
                    near[other] = max(share, near.get(other, 0.0))
        best = sorted(near.items(), key=lambda one: (-one[1], one[0]))[:MOST]
        found[name] = tuple(names[other] for other, _ in best)
    return found


def _triples(name: str) -> frozenset[str]:
    padded = f" {name} "
    return frozenset(padded[start : start + 3] for start in range(len(padded) - 2))


def _holders(pieces: Sequence[frozenset[str]]) -> dict[str, list[int]]:
    """Return which names hold a piece; those that very many hold tell nothing and are left out."""
    found: dict[str, list[int]] = {}
    for place, own in enumerate(pieces):
        for piece in own:
            found.setdefault(piece, []).append(place)
    return {piece: places for piece, places in found.items() if len(places) <= USUAL}
