"""Drafts change how many passes an answer takes and nothing else, however bad they are."""

import random
from collections.abc import Sequence

import pytest
import torch

from fo1.grammar import Grammar, State
from fo1.markup import Markup
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.decoding import Written, decode
from fo1.models.drafting import Drafter, read_listings
from tests import tiny
from tests.models.test_decoding import (
    END,
    PAD,
    assert_same,
    forward_calls,
    grammars_of,
    leaning_model,
    markup_of,
    scenes,
)

LIMIT = 40


@pytest.fixture(scope="module", params=tiny.KINDS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def markup(processor: FO1Processor) -> Markup:
    return markup_of(processor, tiny.VOCABULARY)


def write(
    model: FO1ForConditionalGeneration,
    processor: FO1Processor,
    asked: Sequence[tiny.Scene],
    grammars: Sequence[Grammar],
    drafters: Sequence[Drafter | None] | None = None,
) -> list[Written]:
    if model.recurrent and len(asked) > 1:
        each = zip(asked, grammars, drafters or [None] * len(asked), strict=True)
        return [row for s, g, d in each for row in write(model, processor, [s], [g], [d])]
    return decode(
        model,
        **tiny.collate(processor, *asked),
        grammars=grammars,
        max_new_tokens=LIMIT,
        ends=(END,),
        pad=PAD,
        drafters=drafters,
    )


class Guessing(Drafter):
    """Drafts tokens by chance."""

    def draft(self, written: Sequence[int], state: State) -> list[int]:
        rng = random.Random(len(written))
        drafted: list[int] = []
        for _ in range(rng.randrange(9)):
            allowed = self.grammar.allowed(state)
            ids = sorted(allowed.ids) if allowed.only else [1814, 1816, 40, 50, 60]
            ids = [token for token in ids if token in allowed]
            if not ids:
                break
            drafted.append(rng.choice(ids))
            state = self.grammar.advance(state, drafted[-1])
        return drafted


class Knowing(Drafter):
    """Drafts the answer."""

    answer: Sequence[int] = ()

    def draft(self, written: Sequence[int], state: State) -> list[int]:
        return list(self.answer[len(written) :])


@pytest.mark.parametrize("penalty", [None, 1.3])
@pytest.mark.parametrize("kind", [Drafter, Guessing])
def test_a_draft_changes_no_token(
    family: str, markup: Markup, kind: type[Drafter], penalty: float | None
) -> None:
    model, processor = leaning_model(family), tiny.make_processor(family)
    model.generation_config.repetition_penalty = penalty
    asked = scenes(8)
    grammars = grammars_of(asked, markup)
    names = [(40, 50), (60,), (70, 80, 90)]
    plain = write(model, processor, asked, grammars)
    drafters = [kind(grammar, names) if row != 5 else None for row, grammar in enumerate(grammars)]
    assert_same(write(model, processor, asked, grammars, drafters), plain)
    for scene, grammar, row in zip(asked, grammars, plain, strict=True):
        with forward_calls(model) as calls:
            assert_same(write(model, processor, [scene], [grammar], [kind(grammar, names)]), [row])
        with forward_calls(model) as without:
            write(model, processor, [scene], [grammar])
        assert len(calls) <= len(without)
    assert {row.finished for row in plain} == {True, False}


def test_a_right_draft_takes_one_more_pass_than_the_prompt(family: str, markup: Markup) -> None:
    model, processor = leaning_model(family), tiny.make_processor(family)
    if model.recurrent or model.window:
        pytest.skip("what was fed in vain cannot be hidden from its layers, so nothing is drafted")
    saved = 0
    for scene in scenes(8):
        (grammar,) = grammars_of([scene], markup)
        with forward_calls(model) as without:
            (plain,) = write(model, processor, [scene], [grammar])
        drafter = Knowing(grammar)
        Knowing.answer = plain.tokens
        with forward_calls(model) as calls:
            assert_same(write(model, processor, [scene], [grammar], [drafter]), [plain])
        assert len(calls) == min(2, len(without))
        saved += len(without) - len(calls)
    assert saved > 50


class Wrong(Drafter):
    """Expects what the model never writes."""

    def _expected(self, written: Sequence[int], state: State) -> list[int]:
        return [7] * 100  # the answers of this model hold no 7


def test_drafts_that_are_refused_grow_short(markup: Markup) -> None:
    model, processor = leaning_model("qwen2_5_vl"), tiny.make_processor("qwen2_5_vl")
    scene, limit = scenes(8)[3], 100
    grammar = Grammar(markup, len(scene.boxes), max_label=200)
    given = {"max_new_tokens": limit, "ends": [END], "pad": PAD, "grammars": [grammar]}
    inputs = tiny.collate(processor, scene)
    with torch.no_grad():
        model.get_output_embeddings().weight[END] = 0  # the answer runs to its limit
    plain = decode(model, **inputs, **given)
    assert 7 not in plain[0].tokens
    drafter = Wrong(grammar)
    with forward_calls(model) as calls:
        assert_same(decode(model, **inputs, **given, drafters=[drafter]), plain)
    _, *fed = (tokens for _, tokens in calls)
    assert len(fed) > limit / 2
    assert max(fed) > drafter.most / 2
    assert sum(fed) < 2 * limit + 2 * drafter.most


def tokens_of(markup: Markup, *lists: tuple[Sequence[int], Sequence[int]]) -> list[int]:
    """Return an answer of (label, regions) pairs."""
    written: list[int] = []
    for label, regions in lists:
        inner = [markup.regions[region] for region in regions]
        written += [markup.ground[0], *label, markup.ground[1], markup.objects[0]]
        written += [*inner, markup.objects[1]]
    return written


def state_behind(grammar: Grammar, tokens: Sequence[int]) -> State:
    state = grammar.start()
    for token in tokens:
        state = grammar.advance(state, token)
    return state


def test_names_are_drafted_in_their_order_and_once(markup: Markup) -> None:
    grammar = Grammar(markup, 5)
    drafter = Drafter(grammar, [(40,), (50, 60)])
    whole = tokens_of(markup, ((40,), ()), ((50, 60), ()))
    assert drafter.draft([], grammar.start()) == whole
    for begun in (1, 2, 4):
        written = whole[:begun]
        assert drafter.draft(written, state_behind(grammar, written)) == whole[begun:]
    # Another order, and a label that nobody asked for.
    written = tokens_of(markup, ((50, 60), (1,)))
    rest = tokens_of(markup, ((40,), ()))
    assert drafter.draft(written, state_behind(grammar, written)) == rest
    written = [markup.ground[0], 70]
    assert drafter.draft(written, state_behind(grammar, written)) == []
    assert len(Drafter(grammar, [(40,)] * 1, most=3).draft([], grammar.start())) == 3


def test_what_stands_between_lists_is_learned(markup: Markup) -> None:
    grammar = Grammar(markup, 5)
    drafter = Drafter(grammar, [(40,), (50,), (60,), (70,)])
    one, two, three, four = (tokens_of(markup, ((label,), ())) for label in (40, 50, 60, 70))
    written = [*one, 33, *two]
    assert drafter.draft(written, state_behind(grammar, written)) == [33, *three, 33, *four]
    written = [*written, 33]
    assert drafter.draft(written, state_behind(grammar, written)) == [*three, 33, *four]


def test_likely_regions_of_every_list_that_was_read_are_drafted(markup: Markup) -> None:
    grammar = Grammar(markup, 4)
    drafter = Drafter(grammar, [(40,), (50,)])
    read = tokens_of(markup, ((40,), (1,)), ((50,), ()))
    logits = torch.zeros(len(read), tiny.VOCABULARY)
    opening, behind, second = 3, 4, 9
    assert [read[i] for i in (opening, second)] == [markup.objects[0]] * 2
    logits[opening, markup.regions[1]] = 9  # it is listed, and nothing before it
    logits[behind, markup.regions[3]] = 9  # then comes 3
    logits[second, markup.objects[1]] = 9  # the second list is empty
    drafter.observe(read, logits)
    assert drafter.draft([], grammar.start()) == [
        *tokens_of(markup, ((40,), (1, 3)))[:],
        *tokens_of(markup, ((50,), ()))[:-1],
        *markup.none,
        markup.objects[1],
    ]
    # Behind 2, which the draft did not have, only what is larger can follow.
    written = tokens_of(markup, ((40,), (2,)))[:-1]
    drafted = drafter.draft(written, state_behind(grammar, written))
    assert drafted[:2] == [markup.regions[3], markup.objects[1]]
    # A list whose opening was read earlier is left as it is.
    drafter.observe(read, torch.zeros(3, tiny.VOCABULARY))
    assert drafter.draft([], grammar.start())[4:6] == [markup.regions[1], markup.regions[3]]


def test_listings_are_read_as_far_as_they_go(markup: Markup) -> None:
    whole = tokens_of(markup, ((40, 41), (0, 2)))
    one = read_listings([7, *whole, 8], markup)[0]
    assert (one.label, one.start, one.end) == ((40, 41), 6, 9)
    assert one.listed == [markup.regions[0], markup.regions[2]]
    bare = read_listings([7, *whole[4:]], markup)
    assert [(listing.label, listing.start) for listing in bare] == [((), 2)]
    begun = read_listings(whole[:2], markup)
    assert (begun[0].label, begun[0].start, begun[0].end) == ((40,), 0, 0)
    twice = read_listings([*whole, *whole[:5]], markup)
    assert [(len(listing.listed), listing.end) for listing in twice] == [(2, 8), (0, 0)]
