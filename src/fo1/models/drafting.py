"""Drafts: what an answer will probably go on with, so that one pass can check many tokens.

    sure tokens + draft --one pass--> the model's own choice behind each of them
                                      accepted up to the first difference; the rest becomes a better draft

Nothing of a draft reaches the answer unless the model would have written it: the text is that of greedy decoding.
Between lists a draft follows the names that were asked for; inside one it names the regions that the latest pass holds
for likely (`readouts.hazards`), whether they stood in an accepted part of the draft or not.

Source: checking several tokens in one pass is speculative decoding, arXiv 2211.17192; a draft that the latest pass
improves everywhere at once is Jacobi decoding, arXiv 2305.10427.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from fo1.grammar import Grammar, Place, State
from fo1.markup import Markup
from fo1.models.readouts import hazards, list_chances

LIKELY = 0.5
"""Probability from which a region is drafted."""

Label = tuple[int, ...]


@dataclass(slots=True)
class Listing:
    """One `<ground>label</ground><objects>list</objects>` of an answer, as far as it goes.

    Attributes:
        begin: place of its first tag.
        label: its tokens.
        start: place of the first token of the list; 0 while it is not open.
        listed: region tokens.
        end: place behind the closing tag; 0 while there is none.
    """

    begin: int = 0
    label: Label = ()
    start: int = 0
    listed: list[int] = field(default_factory=list)
    end: int = 0


def read_listings(tokens: Sequence[int], markup: Markup) -> list[Listing]:
    """Return the listings of an answer under its grammar; a list without a label has an empty one."""
    found: list[Listing] = []
    in_label = False
    for place, token in enumerate(tokens):
        open_list = bool(found) and found[-1].start > 0 and not found[-1].end
        if token == markup.ground[0]:
            found.append(Listing(place))
            in_label = True
        elif token == markup.ground[1]:
            in_label = False
        elif in_label:
            found[-1].label += (token,)
        elif token == markup.objects[0]:
            if not found or found[-1].end:
                found.append(Listing(place))
            found[-1].start = place + 1
        elif token == markup.objects[1] and open_list:
            found[-1].end = place + 1
        elif open_list and token in markup.numbers:
            found[-1].listed.append(token)
    return found


@dataclass(slots=True)
class Drafter:
    """Drafts one answer as it grows.

    Args:
        grammar: of the answer.
        names: tokens of the labels that the answer will probably open, in their order.
        most: tokens of a draft at most; half as many after each one of which nothing was right, so that an answer of
            another kind costs little more than without drafts.
    """

    grammar: Grammar
    names: Sequence[Sequence[int]] = ()
    most: int = 64
    _guesses: dict[Label, list[int]] = field(default_factory=dict)  # regions by number, rising
    _refused: int = 0  # drafts in a row of which nothing was right

    def draft(self, written: Sequence[int], state: State) -> list[int]:
        """Return tokens that will probably follow, each allowed by the grammar; often none.

        Args:
            written: the answer so far, with what the grammar forced.
            state: behind it.
        """
        drafted: list[int] = []
        room = max(1, self.most >> self._refused)
        for token in self._expected(written, state):
            if len(drafted) == room or token not in self.grammar.allowed(state):
                break
            drafted.append(token)
            state = self.grammar.advance(state, token)
        return drafted

    def judge(self, held: int) -> None:
        """Learn how many tokens of a draft, which was not empty, were right."""
        self._refused = 0 if held else self._refused + 1

    def observe(self, read: Sequence[int], logits: Tensor) -> None:
        """Learn what a pass says of the regions of every list whose opening it read.

        Args:
            read: the answer with the draft, as it was read.
            logits: (S, V) behind each of its last S tokens.
        """
        markup, count = self.grammar.markup, self.grammar.num_regions
        regions = markup.regions[:count]
        ends = (markup.objects[1], *markup.none[:1])
        first = len(read) - len(logits)
        for listing in read_listings(read, markup):
            row = listing.start - 1 - first
            if not listing.start or row < 0:
                continue
            chances = list_chances(logits[row : row + len(listing.listed) + 1], regions, ends)
            fit = hazards(chances, [markup.numbers[token] for token in listing.listed])
            self._guesses[listing.label] = (fit >= LIKELY).nonzero().flatten().tolist()

    def _expected(self, written: Sequence[int], state: State) -> list[int]:
        """Return everything that is expected behind an answer, as far as it can be told."""
        markup = self.grammar.markup
        listings = read_listings(written, markup)
        current = listings[-1] if listings else Listing()
        done = [listing.label for listing in listings if listing.end]
        to_come = [name for name in map(tuple, self.names) if name not in done]
        expected: list[int] = []
        if state.place is Place.LABEL:
            begun = len(current.label)
            label = next((name for name in to_come if name[:begun] == current.label), None)
            if label is None:
                return []
            expected += [*label[begun:], markup.ground[1], markup.objects[0]]
            expected += self._list(label, ())
            to_come.remove(label)
        elif state.place is Place.LIST:
            expected += self._list(current.label, current.listed)
            to_come = [name for name in to_come if name != current.label]
        elif state.place is not Place.TEXT:
            return []
        between = self._between(written, listings)
        # Something may stand behind the last list already; then a name is next.
        bare = state.place is Place.TEXT and len(written) > current.end
        for place, name in enumerate(to_come):
            expected += [] if bare and place == 0 else between
            expected += [markup.ground[0], *name, markup.ground[1], markup.objects[0]]
            expected += self._list(name, ())
        return expected

    def _list(self, label: Label, listed: Sequence[int]) -> list[int]:
        """Return the rest of a list and the tag that closes it."""
        markup = self.grammar.markup
        guessed = self._guesses.get(label)
        if guessed == [] and not listed:
            return [*markup.none, markup.objects[1]]
        last = max((markup.numbers[token] for token in listed), default=-1)
        later = [markup.regions[region] for region in guessed or () if region > last]
        return [*later, markup.objects[1]]

    def _between(self, written: Sequence[int], listings: Sequence[Listing]) -> list[int]:
        """Return what stood between the last two lists of an answer."""
        if len(listings) < 2:
            return []
        return list(written[listings[-2].end : listings[-1].begin])
