"""The tokens of a vocabulary that mean more than their letters, and texts in which nothing else does."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from fo1 import tags
from fo1.errors import CheckpointError

_PLACEHOLDERS = (tags.IMAGE_PLACEHOLDER, tags.REGION_PLACEHOLDER)
_SECTIONS = (
    (tags.THINK_OPEN, tags.THINK_CLOSE),
    (tags.ANSWER_OPEN, tags.ANSWER_CLOSE),
)
_CHAT = re.compile(r"<\|[^<>|\s]*\|>")
_SPACES = " \t\r\nĠĊĉč▁"
"""Blank characters, also as the tables of byte-level and sentence-piece tokenizers spell them."""

_SPELLED = re.compile(
    r"</?(?:ground|objects?)>|<region(?:[0-9]+|feat)>|<\|[^<>|\s]*\|>", re.IGNORECASE
)
# Where a tag begins that would be whole once the thought or answer tag behind it is cut out.
_CUT = re.compile(r"<(?=/?(?:[gor][a-z]*[0-9]*)?(?:<|\Z))", re.IGNORECASE)


@dataclass(frozen=True)
class Markup:
    """The tokens of a vocabulary that mean more than their letters.

    Attributes:
        ground: opening and closing tag of a label.
        objects: opening and closing tag of a list.
        regions: index tokens; `regions[3]` is `<region3>`.
        ends: any of them ends an answer.
        none: the word that may stand in a list in place of regions; empty for no such word.
        sections: opening and closing tags of thought and answer, where the vocabulary has them.
        never: tokens that are not written: placeholders, chat and vision markers.
        blank: tokens that are nothing but space; no label begins with one.
    """

    ground: tuple[int, int]
    objects: tuple[int, int]
    regions: tuple[int, ...]
    ends: frozenset[int]
    none: tuple[int, ...] = ()
    sections: tuple[tuple[int, int], ...] = ()
    never: frozenset[int] = frozenset()
    blank: frozenset[int] = frozenset()

    @classmethod
    def from_vocabulary(
        cls,
        vocabulary: Mapping[str, int],
        *,
        ends: Iterable[int],
        none: Iterable[int] = (),
        special: Iterable[int] = (),
        size: int | None = None,
    ) -> "Markup":
        """Return the markup of a tokenizer's vocabulary.

        Args:
            vocabulary: id of each token.
            ends: as in the class.
            none: as in the class.
            special: ids that the tokenizer counts as special.
            size: rows of the embedding table; those without a token are never written.

        Raises:
            CheckpointError: a tag has no token.
        """
        needed = (
            *(tags.GROUND_OPEN, tags.GROUND_CLOSE),
            *(tags.OBJECTS_OPEN, tags.OBJECTS_CLOSE),
        )
        if missing := [tag for tag in needed if tag not in vocabulary]:
            raise CheckpointError(
                f"the vocabulary of {len(vocabulary)} tokens lacks {', '.join(missing)}; "
                "take the tokenizer that was saved with the model"
            )
        regions: list[int] = []
        while (token := tags.region_token(len(regions))) in vocabulary:
            regions.append(vocabulary[token])
        ending = frozenset(ends)
        markers = {
            token_id
            for token, token_id in vocabulary.items()
            if token in _PLACEHOLDERS or _CHAT.fullmatch(token)
        }
        nameless = set(range(size or 0)).difference(vocabulary.values())
        sections = tuple(
            (vocabulary[opening], vocabulary[closing])
            for opening, closing in _SECTIONS
            if opening in vocabulary and closing in vocabulary
        )
        pairs = [vocabulary[tag] for tag in needed]
        written = {*pairs, *regions, *(tag for section in sections for tag in section)}
        return cls(
            ground=(pairs[0], pairs[1]),
            objects=(pairs[2], pairs[3]),
            regions=tuple(regions),
            ends=ending,
            none=tuple(none),
            sections=sections,
            # Some tokenizers count the tags themselves as special.
            never=frozenset({*markers, *special, *nameless} - ending - written),
            blank=frozenset(i for token, i in vocabulary.items() if not token.strip(_SPACES)),
        )

    @cached_property
    def numbers(self) -> Mapping[int, int]:
        """The region that each index token names."""
        return {token: region for region, token in enumerate(self.regions)}

    @cached_property
    def tags(self) -> frozenset[int]:
        """Everything that may be written and means more than its letters, ends aside."""
        sections = (tag for section in self.sections for tag in section)
        return frozenset((*self.ground, *self.objects, *self.regions, *sections))

    @cached_property
    def not_words(self) -> frozenset[int]:
        """Everything that is no ordinary word."""
        return self.tags | self.never | self.ends

    def text(self, tokens: Iterable[int], decode: Callable[[list[int]], str]) -> str:
        """Return the text of written tokens, in which nothing but real markup is markup.

        Args:
            tokens: as generated; those that end the answer are left out.
            decode: text of some token ids, special ones kept.
        """
        kept = (token for token in tokens if token not in self.ends)
        runs = groupby(kept, self.tags.__contains__)
        return harmless((is_markup, decode(list(run))) for is_markup, run in runs)


def harmless(pieces: Iterable[tuple[bool, str]]) -> str:
    """Return the joined text; tags that ordinary words spell out get angle quotation marks.

    Thought and answer tags stay outside labels: not every vocabulary has tokens for them.

    Args:
        pieces: (is real markup, text), neighbours that are no markup already joined.
    """
    joined = ""
    for is_markup, text in pieces:
        if not is_markup and joined.endswith(tags.GROUND_OPEN):
            text = tags.neutralise(text)
        elif not is_markup:
            text = _CUT.sub("\u2039", _SPELLED.sub(_quoted, text))
        joined += text
    return joined


def _quoted(tag: re.Match[str]) -> str:
    return tags.neutralise(tag[0])
