"""Which English names mean which of the classes that the pretrained encoders know.

A graph of concrete nouns (WordNet 3.0, reduced by `recipes/nano/build_lexicon.py`): every node is
a sense with its names, every edge leads to a broader sense, and some nodes carry classes.
"""

import gzip
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, cast

from fo1.errors import QueryError

Source: TypeAlias = Literal["imagenet", "coco", "openimages"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LONGEST_PHRASE = 200
_LONGEST_NAME = 5
_BOUNDARY = ","
_DETERMINERS = _words(
    "a an the this that these those my your his her its our their some any every each all both "
    "several many few no another other one two three four five six seven eight nine ten"
)
_MEASURES = _words(
    "pair bunch group piece slice lot set number kind type sort flock herd stack pile couple "
    "crowd row collection picture photo image"
)
_RELATIONS = _words(
    "of on in at with without near by behind under over beside between next to from for inside "
    "outside above below along across against around through that which who whose while "
    "wearing holding not is are was were closest nearest farthest being"
)
_COLOURS = _words(
    "black white grey gray red green blue yellow orange brown pink purple silver gold"
)
_ACTIONS = _words(
    "riding eating drinking sitting standing playing walking running carrying looking lying "
    "pulling pushing driving using reading throwing catching kicking flying jumping"
)
_TRAILING = _words("left right alone there here nearby only itself")


RULES: dict[str, list[str]] = {
    "determiners": sorted(_DETERMINERS),
    "measures": sorted(_MEASURES),
    "relations": sorted(_RELATIONS),
    "colours": sorted(_COLOURS),
    "actions": sorted(_ACTIONS),
    "trailing": sorted(_TRAILING),
}
"""The words by which a phrase is taken apart, for programs in other languages."""


class _ClassTable(TypedDict):
    names: list[str]
    senses: list[list[int]]


class LexiconFile(TypedDict):
    """Layout of the data file; a sense is its index in `parents`.

    `names` gives the senses of each name, most usual first; `parents` the broader senses of each
    sense; `meanings` the senses that count for `Lexicon.classes` where not all do; `irregular`
    the singular of irregular plurals.
    """

    names: dict[str, list[int]]
    parents: list[list[int]]
    meanings: dict[str, list[int]]
    irregular: dict[str, str]
    sources: dict[Source, _ClassTable]


def normalise(text: str) -> str:
    """Return lower-case words of letters and digits, one space apart; commas and the like become ",".

    Example:
        >>> normalise("Jack-o'-lantern_(large)")
        'jack o lantern , large'
    """
    plain = unicodedata.normalize("NFKD", text[:_LONGEST_PHRASE]).lower()
    plain = re.sub("['.\u2019\u0300-\u036f]", "", plain)
    plain = re.sub(r"[,;:!?()\[\]|\"]+", " , ", plain)
    return " ".join(re.sub(r"[^\w,]|_", " ", plain).split()).strip(", ")


class Lexicon:
    """Answers which classes of a source a name means; never changes after loading."""

    def __init__(self, content: LexiconFile) -> None:
        """Index the content of a data file."""
        self._senses = content["names"]
        self._chosen = content["meanings"]
        self._parents = content["parents"]
        self._irregular = content["irregular"]
        self._sources = content["sources"]
        self._under: dict[Source, dict[int, tuple[int, ...]]] = {}
        self._own: dict[Source, dict[int, tuple[int, ...]]] = {}
        for source, table in self._sources.items():
            under: dict[int, list[int]] = {}
            own: dict[int, list[int]] = {}
            for index, nodes in enumerate(table["senses"]):
                for node in self._up(nodes):
                    under.setdefault(node, []).append(index)
                for node in nodes:
                    own.setdefault(node, []).append(index)
            self._under[source] = {node: tuple(indices) for node, indices in under.items()}
            self._own[source] = {node: tuple(indices) for node, indices in own.items()}

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Lexicon":
        """Return the lexicon of a data file (`.json.gz`); without a path, the one that ships with fo1."""
        if path is None:
            asset = resources.files("fo1").joinpath("assets", "nano", "lexicon.json.gz")
            data = asset.read_bytes()
        else:
            data = Path(path).read_bytes()
        return cls(cast(LexiconFile, json.loads(gzip.decompress(data))))

    def __len__(self) -> int:
        """Return how many distinct names have at least one sense."""
        return len(self._senses.keys() | self._chosen.keys())

    def names(self, source: Source) -> tuple[str, ...]:
        """Return the display name of each class of a source, in class order."""
        return tuple(self._table(source)["names"])

    def classes(self, name: str, source: Source) -> tuple[int, ...]:
        """Return ascending indices of the classes that are the name, a synonym or a kind of it.

        Ambiguous names give the union over their meanings; unknown ones give ().
        """
        self._table(source)
        under = self._under[source]
        found = {index for node in self._meanings(name) for index in under.get(node, ())}
        return tuple(sorted(found))

    def broader(self, name: str, source: Source) -> tuple[int, ...]:
        """Return ascending indices of the classes of which the name is a narrower kind: weak evidence.

        Only the most usual meaning counts, and classes that `classes` gives are left out.
        """
        self._table(source)
        own = self._own[source]
        above = self._up(self._meanings(name, usual=True))
        found = {index for node in above for index in own.get(node, ())}
        return tuple(sorted(found.difference(self.classes(name, source))))

    def terms(self, source: Source) -> tuple[tuple[str, ...], ...]:
        """Return for each class every name whose `classes` include it: its own first, then broader ones.

        Plurals and phrases are not listed.
        """
        by_sense: dict[int, list[str]] = {}
        for name in self._senses.keys() | self._chosen.keys():
            for sense in self._chosen.get(name) or self._senses[name]:
                by_sense.setdefault(sense, []).append(name)
        return tuple(
            tuple(
                dict.fromkeys(
                    name for sense in self._up(own) for name in sorted(by_sense.get(sense, ()))
                )
            )
            for own in self._table(source)["senses"]
        )

    def related(self, name_a: str, name_b: str) -> bool:
        """Return whether one name may mean the other or a kind of it, in any of their meanings.

        True also where both are unknown but equal. A dog is related to an animal, not to a cat.
        """
        first = set(self._meanings(name_a, every=True))
        second = set(self._meanings(name_b, every=True))
        if not first or not second:
            return normalise(name_a) == normalise(name_b)
        return not (second.isdisjoint(self._up(first)) and first.isdisjoint(self._up(second)))

    def knows(self, name: str) -> bool:
        """Return whether the head noun of a name has at least one meaning here."""
        return bool(self._keys(name))

    def head(self, phrase: str) -> str | None:
        """Return the known name that a phrase is about ("the red cups on it" -> "cup"), if any."""
        return next(iter(self._keys(phrase)), None)

    def is_name(self, phrase: str) -> bool:
        """Whether a phrase is a known name and nothing more: "the dogs" is, "the left dog" is not."""
        words = normalise(phrase).split()
        while words and words[0] in _DETERMINERS:
            words = words[1:]
        return bool(self._lookup(words))

    def _table(self, source: Source) -> _ClassTable:
        if source not in self._sources:
            raise QueryError(f"no source {source!r}; choose one of {', '.join(self._sources)}")
        return self._sources[source]

    def _up(self, nodes: Iterable[int]) -> Sequence[int]:
        reached = dict.fromkeys(nodes)
        waiting = list(reached)
        for node in waiting:
            fresh = [parent for parent in self._parents[node] if parent not in reached]
            reached.update(dict.fromkeys(fresh))
            waiting.extend(fresh)
        return tuple(reached)

    def _meanings(self, name: str, *, usual: bool = False, every: bool = False) -> list[int]:
        found: list[int] = []
        for key in self._keys(name):
            senses = self._senses.get(key, [])
            chosen = self._chosen.get(key)
            if chosen and not (every and senses):
                found.extend(chosen)
            else:
                found.extend(senses[:1] if usual else senses)
        return found

    def _keys(self, phrase: str) -> tuple[str, ...]:
        words = normalise(phrase).split()
        if keys := self._lookup(words):
            return keys
        while words and (words[0] in _DETERMINERS or words[0].isdigit()):
            words = words[1:]
        if keys := self._lookup(words):
            return keys
        if len(words) > 2 and words[1] == "of" and not _MEASURES.isdisjoint(_singulars(words[0])):
            return self._keys(" ".join(words[2:]))
        head, end = self._cut(words)
        if head:
            return head
        words = words[:end]
        while words:
            for start in range(max(0, len(words) - _LONGEST_NAME), len(words)):
                if keys := self._lookup(words[start:]):
                    return keys
            if words[-1] not in _TRAILING and not words[-1].endswith(("ing", "ed", "ly")):
                return ()
            words = words[:-1]
        return ()

    def _cut(self, words: list[str]) -> tuple[tuple[str, ...], int]:
        """Return where the first noun phrase ends, or the name that spans that point."""
        for index, word in enumerate(words):
            if index == 0 or not self._ends_phrase(words, index):
                continue
            for start in range(max(0, index - _LONGEST_NAME), index):
                for end in range(min(len(words), start + _LONGEST_NAME), index + 1, -1):
                    if word != _BOUNDARY and (keys := self._lookup(words[start:end])):
                        return keys, index
            return (), index
        return (), len(words)

    def _ends_phrase(self, words: list[str], index: int) -> bool:
        word = words[index]
        if word == _BOUNDARY or word in _RELATIONS or word in _DETERMINERS:
            return True
        if word in {"and", "or"}:
            return words[index - 1] not in _COLOURS and bool(self._lookup([words[index - 1]]))
        is_verb = word in _ACTIONS or (
            word.endswith("ing")
            and not self._lookup([word])
            and not self._lookup(words[index : index + 2])
        )
        return is_verb and bool(self._lookup([words[index - 1]]))

    def _lookup(self, words: list[str]) -> tuple[str, ...]:
        """Return known names spelt by exactly these words, singular or plural, open or closed."""
        if not 0 < len(words) <= _LONGEST_NAME:
            return ()
        stem, last = words[:-1], words[-1]
        forms = [*_singulars(last), self._irregular.get(last, last), f"{last}s"]
        spellings = [" ".join([*stem, form]) for form in forms[:-1]]
        found = [name for name in spellings if self._has(name)]
        if not found:
            closed = ["".join([*stem, form]) for form in forms] if len(words) == 2 else []
            opened = list(_splits(last)) if len(words) == 1 else []
            others = [" ".join([*stem, forms[-1]]), *closed, *opened]
            found = [name for name in others if self._has(name)][:1]
        return tuple(dict.fromkeys(found))

    def _has(self, name: str) -> bool:
        return name in self._senses or name in self._chosen


def _singulars(word: str) -> Iterator[str]:
    """Yield the word itself, then what it may be the plural of."""
    yield word
    if word.endswith("men"):
        yield f"{word[:-3]}man"
    if len(word) < 4 or word.endswith("ss") or not word.endswith("s"):
        return
    if word.endswith("ies"):
        yield f"{word[:-3]}y"
    elif word.endswith("ves"):
        yield f"{word[:-3]}f"
        yield f"{word[:-3]}fe"
    if word.endswith(("ches", "shes", "xes", "ses", "zes", "oes")):
        yield word[:-2]
    yield word[:-1]


def _splits(word: str) -> Iterator[str]:
    for cut in range(3, len(word) - 2):
        yield f"{word[:cut]} {word[cut:]}"
        if word.endswith("s"):
            yield f"{word[:cut]} {word[cut:-1]}"
