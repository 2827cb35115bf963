"""Which token may come next, so that a written answer names only regions that exist, each once a list.

    text --<ground>--> label --</ground>--> gap --<objects>--> list --</objects>--> text --end--> done

A grammar and its states are values; nothing here knows tensors or a tokenizer.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property

from fo1.markup import Markup

MAX_LABEL = 256
"""Tokens after which a label is closed, so that none is endless; read-out texts are labels, too."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The tokens that may come next.

    Attributes:
        ids: tokens.
        only: nothing but `ids` is allowed; False: everything but them.
    """

    ids: frozenset[int]
    only: bool

    def __contains__(self, token: int) -> bool:
        """Return whether the token may come next."""
        return (token in self.ids) == self.only


class Place(Enum):
    """Where an answer stands."""

    TEXT = auto()
    LABEL = auto()
    GAP = auto()
    LIST = auto()
    NONE = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class State:
    """How far one answer has come.

    Attributes:
        place: what is being written.
        length: tokens of the open label, or of the word for no regions.
        listed: regions (as tokens) of the open list.
        awaited: tag that closes the open section, None outside.
        spent: section tags that may not come again.
    """

    place: Place = Place.TEXT
    length: int = 0
    listed: frozenset[int] = frozenset()
    awaited: int | None = None
    spent: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Grammar:
    """What may be written about one scene.

    Args:
        markup: of the model's vocabulary.
        num_regions: regions 0 to `num_regions - 1` exist.
        max_label: tokens after which a label is closed.

    Raises:
        ValueError: the vocabulary has too few index tokens, or a label could not hold a word.
    """

    markup: Markup
    num_regions: int
    max_label: int = MAX_LABEL

    def __post_init__(self) -> None:
        if not 0 <= self.num_regions <= len(self.markup.regions):
            raise ValueError(
                f"got {self.num_regions} regions, but the vocabulary has index tokens for "
                f"{len(self.markup.regions)}; split the scene"
            )
        if self.max_label < 1:
            raise ValueError(f"max_label is {self.max_label}, need at least 1 token")

    @cached_property
    def present(self) -> frozenset[int]:
        """Tokens of the regions that exist."""
        return frozenset(self.markup.regions[: self.num_regions])

    def start(self) -> State:
        """Return the state before the first token."""
        return State()

    def allowed(self, state: State) -> Allowed:
        """Return the tokens that may follow."""
        markup, place = self.markup, state.place
        if place is Place.TEXT:
            return Allowed(self._not_in_text(state), only=False)
        if place is Place.LABEL and state.length < self.max_label:
            if not state.length:
                return Allowed(markup.not_words | markup.blank, only=False)
            return Allowed(markup.not_words - {markup.ground[1]}, only=False)
        if place is Place.LABEL:
            return _only(markup.ground[1])
        if place is Place.GAP:
            return _only(markup.objects[0])
        if place is Place.NONE and state.length < len(markup.none):
            return _only(markup.none[state.length])
        if place is Place.LIST:
            word = () if state.listed else markup.none[:1]
            return _only(*(self.present - state.listed), *word, markup.objects[1])
        return _only(*(() if place is Place.DONE else markup.objects[1:]))

    def forced(self, state: State) -> tuple[int, ...]:
        """Return the tokens that must follow before there is a choice again, often none."""
        run: list[int] = []
        while (allowed := self.allowed(state)).only and len(allowed.ids) == 1:
            (token,) = allowed.ids
            run.append(token)
            state = self.advance(state, token)
        return tuple(run)

    def advance(self, state: State, token: int) -> State:
        """Return the state behind one more token.

        Raises:
            ValueError: the token may not stand there.
        """
        if token not in self.allowed(state):
            raise ValueError(f"token {token} may not follow in state {state.place.name}")
        markup = self.markup
        if state.place is Place.TEXT:
            return self._advance_text(state, token)
        if token == markup.ground[1]:
            return replace(state, place=Place.GAP, length=0)
        if token == markup.objects[0]:
            return replace(state, place=Place.LIST)
        if token == markup.objects[1]:
            return replace(state, place=Place.TEXT, length=0, listed=frozenset())
        if token in self.present:
            return replace(state, listed=state.listed | {token})
        place = Place.LABEL if state.place is Place.LABEL else Place.NONE
        return replace(state, place=place, length=state.length + 1)

    def _advance_text(self, state: State, token: int) -> State:
        markup = self.markup
        if token in markup.ends:
            return replace(state, place=Place.DONE)
        if token == markup.ground[0]:
            return replace(state, place=Place.LABEL)
        if token == markup.objects[0]:
            return replace(state, place=Place.LIST)
        earlier: frozenset[int] = frozenset()  # sections come in order, each once
        for opening, closing in markup.sections:
            if token == opening:
                return replace(state, awaited=closing, spent=state.spent | earlier | {opening})
            earlier |= {opening, closing}
            if token == closing:
                return replace(state, awaited=None, spent=state.spent | earlier)
        return state

    def _not_in_text(self, state: State) -> frozenset[int]:
        """Return what running text must not hold: a closing tag alone, another scene's region."""
        markup = self.markup
        absent = markup.regions[self.num_regions :]
        banned = markup.never.union(absent, (markup.ground[1], markup.objects[1]), state.spent)
        if state.awaited is None:
            # Some chat layouts open the thought in the prompt, so only its end may come alone.
            return banned.union(closing for _, closing in markup.sections[1:])
        others = {tag for section in markup.sections for tag in section} - {state.awaited}
        return banned | others | markup.ends


def _only(*ids: int) -> Allowed:
    return Allowed(frozenset(ids), only=True)
