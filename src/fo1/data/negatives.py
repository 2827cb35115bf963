"""Names of a data set: how often each occurs, beside which others, and which are easily taken for one another."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from fo1.data.schema import Record

NEAR = 0.6
"""Share of letters from which two names count as alike."""


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
            if len(beside.setdefault(name, [])) < 20:
                beside[name].append(other)
        listed = tuple(sorted(names))
        alike = {name: _alike(name, listed) for name in listed} if len(listed) <= 2000 else {}
        return cls(listed, dict(counts), {n: tuple(o) for n, o in beside.items()}, alike)

    def hard(self, present: Sequence[str], absent: Sequence[str]) -> list[str]:
        """Return those absent names that are likely taken for what is there, the likeliest first."""
        allowed = set(absent)
        ranked = [other for name in present for other in self.alike.get(name, ())]
        for place in range(20):
            for name in present:
                others = self.beside.get(name, ())
                ranked += others[place : place + 1]
        return list(dict.fromkeys(name for name in ranked if name in allowed))


def choose(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Return up to `count` of the names."""
    return [names[int(i)] for i in rng.permutation(len(names))[:count]]


def _alike(name: str, names: Sequence[str]) -> tuple[str, ...]:
    words = set(name.lower().split())
    found: list[tuple[float, str]] = []
    for other in names:
        if other == name:
            continue
        shared = len(words & set(other.lower().split())) / max(len(words), 1)
        matcher = SequenceMatcher(None, name.lower(), other.lower())
        quick = matcher.real_quick_ratio() >= NEAR and matcher.quick_ratio() >= NEAR
        letters = matcher.ratio() if quick else 0.0
        if shared or letters >= NEAR:
            found.append((max(shared, letters), other))
    return tuple(other for _, other in sorted(found, key=lambda one: (-one[0], one[1]))[:10])
