"""What may be written: a table of rules, and random answers that must be readable."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fo1.errors import CheckpointError
from fo1.grammar import Grammar, Place, State
from fo1.markup import Markup, harmless
from fo1.parsing import parse_answer
from fo1.tags import regions_in

WORDS = ["a", " cat", ",", ".", " ", "\n", "No", "ne", "3", "7", "x", "<|"]
# Pieces of which ordinary words can spell out tags.
SPELLING = ["<", "</", ">", "/", "|", "region", "ground", "objects", "object", "feat", "gro", "und"]
TAGS = ["<ground>", "</ground>", "<objects>", "</objects>", "<think>", "</think>"]
ANSWER = ["<answer>", "</answer>"]
REST = ["<regionfeat>", "<|im_start|>", "<|image_pad|>", "<|im_end|>", "<|endoftext|>"]
TOKENS = [*WORDS, *SPELLING, *TAGS, *ANSWER, *REST, *(f"<region{i}>" for i in range(9))]
VOCABULARY = {token: number for number, token in enumerate(TOKENS)}
SIZE = len(TOKENS) + 3  # as in embedding tables that are rounded up
ENDS = ("<|im_end|>", "<|endoftext|>")


def make_markup(vocabulary: dict[str, int] = VOCABULARY) -> Markup:
    return Markup.from_vocabulary(
        vocabulary,
        ends=[vocabulary[end] for end in ENDS],
        none=[vocabulary["No"], vocabulary["ne"]],
        special=[vocabulary["<|im_end|>"], vocabulary["<ground>"], vocabulary["<regionfeat>"]],
        size=SIZE,
    )


MARKUP = make_markup()
NO_SECTIONS = make_markup(
    {token: i for token, i in VOCABULARY.items() if token not in ("<think>", "</think>", *ANSWER)}
)


def ids(*tokens: str) -> list[int]:
    return [VOCABULARY[token] for token in tokens]


def decode(tokens: Iterable[int]) -> str:
    return "".join(TOKENS[token] for token in tokens)


def behind(grammar: Grammar, *tokens: str) -> State:
    state = grammar.start()
    for token in ids(*tokens):
        state = grammar.advance(state, token)
    return state


def may(grammar: Grammar, *before: str) -> set[str]:
    """Return the tokens that may follow some others."""
    allowed = grammar.allowed(behind(grammar, *before))
    assert not any(number in allowed for number in range(len(TOKENS), SIZE))
    return {token for token, number in VOCABULARY.items() if number in allowed}


# The rules.

PLAIN = {*WORDS, *SPELLING}
REGIONS = {"<region0>", "<region1>", "<region2>"}
OPENINGS = {"<ground>", "<objects>"}
THINK, ANSWERS = {"<think>", "</think>"}, {"<answer>"}
FREE = PLAIN | REGIONS | OPENINGS
LIST = ("<ground>", " cat", "</ground>", "<objects>")
WHOLE = (*LIST, "<region1>", "</objects>")

RULES: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "at the start": ((), FREE | THINK | ANSWERS | {*ENDS}),
    "in a sentence": (("a", "<region1>"), FREE | THINK | ANSWERS | {*ENDS}),
    "between lists": ((*WHOLE, ",", "\n"), FREE | THINK | ANSWERS | {*ENDS}),
    "where a label begins": (("<ground>",), PLAIN - {" ", "\n"}),
    "in a label": (("<ground>", "a"), PLAIN | {"</ground>"}),
    "behind a label": (("<ground>", "a", "</ground>"), {"<objects>"}),
    "in an empty list": (LIST, REGIONS | {"No", "</objects>"}),
    "in a list": ((*LIST, "<region1>"), {"<region0>", "<region2>", "</objects>"}),
    "in a full list": ((*LIST, "<region1>", "<region0>", "<region2>"), {"</objects>"}),
    "in the word for nothing": ((*LIST, "No"), {"ne"}),
    "behind the word for nothing": ((*LIST, "No", "ne"), {"</objects>"}),
    "in a list without a label": (("<objects>", "<region2>"), {*REGIONS, "</objects>"} - {"<region2>"}),
    "in the next list": ((*WHOLE, *LIST), REGIONS | {"No", "</objects>"}),
    "in a thought": (("<think>",), FREE | {"</think>"}),
    "in a list of a thought": (("<think>", *LIST), REGIONS | {"No", "</objects>"}),
    "behind a list of a thought": (("<think>", *WHOLE), FREE | {"</think>"}),
    "behind a thought": (("<think>", "a", "</think>"), FREE | ANSWERS | {*ENDS}),
    "behind a thought that the prompt opened": (("a", "</think>"), FREE | ANSWERS | {*ENDS}),
    "behind an answer alone": (("<answer>", "a", "</answer>"), FREE | {*ENDS}),
    "in an answer": (("<answer>", "a"), FREE | {"</answer>"}),
    "behind an answer": (("</think>", "<answer>", "</answer>"), FREE | {*ENDS}),
    "behind the end": (("a", "<|im_end|>"), set()),
}  # fmt: skip


@pytest.mark.parametrize("where", RULES)
def test_what_may_follow(where: str) -> None:
    before, expected = RULES[where]
    assert may(Grammar(MARKUP, 3), *before) == expected


def test_without_regions_none_is_named() -> None:
    grammar = Grammar(MARKUP, 0)
    assert may(grammar) == PLAIN | OPENINGS | THINK | ANSWERS | {*ENDS}
    assert may(grammar, *LIST) == {"No", "</objects>"}


def test_vocabulary_without_section_tags() -> None:
    assert NO_SECTIONS.sections == ()
    assert may(Grammar(NO_SECTIONS, 3)) >= FREE | {*ENDS}


FORCED: dict[tuple[str, ...], tuple[str, ...]] = {
    (): (),
    ("<ground>",): (),
    ("<ground>", "a"): (),
    ("<ground>", "a", "</ground>"): ("<objects>",),
    LIST: (),
    (*LIST, "No"): ("ne", "</objects>"),
    (*LIST, "<region0>"): (),
    (*LIST, "<region2>", "<region0>", "<region1>"): ("</objects>",),
    WHOLE: (),
    ("<|im_end|>",): (),
}


@pytest.mark.parametrize("before", FORCED)
def test_what_must_follow(before: tuple[str, ...]) -> None:
    grammar = Grammar(MARKUP, 3)
    assert grammar.forced(behind(grammar, *before)) == tuple(ids(*FORCED[before]))


def test_a_label_ends_somewhere() -> None:
    grammar = Grammar(MARKUP, 3, max_label=3)
    assert may(grammar, "<ground>", "a", " ") == PLAIN | {"</ground>"}
    full = behind(grammar, "<ground>", "a", " ", "a")
    assert grammar.forced(full) == tuple(ids("</ground>", "<objects>"))
    again = behind(grammar, "<ground>", "a", " ", "a", "</ground>", "<objects>", "</objects>")
    assert again == grammar.start()


@pytest.mark.parametrize(
    "text",
    [
        (*LIST, "<region1>", "<region2>", "</objects>", ",", " ", *WHOLE, "<|im_end|>"),
        ("a", *WHOLE, "\n", *LIST, "No", "ne", "</objects>", "<|endoftext|>"),
        (*LIST, "</objects>", "."),
        ("<think>", "a", "<region2>", ".", *WHOLE, "</think>", "<answer>", *WHOLE, "</answer>"),
        ("a", "</think>", " cat", "<region0>", " ", "<region0>"),
        ("<objects>", "<region2>", "<region0>", "</objects>"),
    ],
)
def test_well_formed_answers_are_not_disturbed(text: tuple[str, ...]) -> None:
    assert isinstance(behind(Grammar(MARKUP, 3), *text), State)


def test_a_state_is_a_value() -> None:
    grammar = Grammar(MARKUP, 3)
    before = behind(grammar, *LIST)
    assert grammar.advance(before, *ids("<region1>")) != before == behind(grammar, *LIST)
    assert before.place is Place.LIST
    assert len({before, behind(grammar, *LIST)}) == 1


# Wrong use.


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="may not follow in state LIST"):
        behind(Grammar(MARKUP, 3), *LIST, "<region4>")
    with pytest.raises(ValueError, match=r"got 10 regions, but .* index tokens for 9"):
        Grammar(MARKUP, 10)
    with pytest.raises(ValueError, match="max_label is 0"):
        Grammar(MARKUP, 1, max_label=0)
    with pytest.raises(CheckpointError, match="lacks </ground>, <objects>"):
        Markup.from_vocabulary({"<ground>": 0, "</objects>": 1}, ends=[])


def test_markup_of_a_vocabulary() -> None:
    assert MARKUP.regions == tuple(ids(*(f"<region{i}>" for i in range(9))))
    assert MARKUP.sections == (tuple(ids("<think>", "</think>")), tuple(ids(*ANSWER)))
    unwritten = ids("<regionfeat>", "<|im_start|>", "<|image_pad|>")
    assert MARKUP.never == {*unwritten, *range(len(TOKENS), SIZE)}
    assert MARKUP.blank == set(ids(" ", "\n"))
    byte_level = {**VOCABULARY, "ĠĠ": 100, "Ċ": 101, "Ġcat": 102, "▁": 103}
    assert make_markup(byte_level).blank == {*ids(" ", "\n"), 100, 101, 103}


# Texts.


@pytest.mark.parametrize(
    ("spelled", "shown"),
    [
        ("see <region7> or <Region7>", "see \u2039region7\u203a or \u2039Region7\u203a"),
        ("<ground>cat</ground>", "\u2039ground\u203acat\u2039/ground\u203a"),
        ("<object><regionfeat></objects>", "\u2039object\u203a\u2039regionfeat\u203a\u2039/objects\u203a"),
        ("<|im_end|>", "\u2039|im_end|\u203a"),
        ("<gro<|x|>und>", "<gro\u2039|x|\u203aund>"),
        ("<gro</answer>und>", "\u2039gro</answer>und>"),
        ("<think>why</think><answer>so</answer>",) * 2,
        ("1 < 2, a<b, <b>bold</b>, <regions>, <region 7>",) * 2,
    ],
)  # fmt: skip
def test_spelled_out_tags_become_harmless(spelled: str, shown: str) -> None:
    assert harmless([(False, spelled)]) == shown
    assert harmless([(True, spelled)]) == spelled


def test_text_of_tokens() -> None:
    written = ids(*WHOLE, " ", "<", "region", "7", ">", "<region2>", "<|im_end|>")
    expected = "<ground> cat</ground><objects><region1></objects> \u2039region7\u203a<region2>"
    assert MARKUP.text(written, decode) == expected
    cut = ids("<", "gro", "<think>", "a", "</think>", "und", ">")
    assert MARKUP.text(cut, decode) == "\u2039gro<think>a</think>und>"


def test_a_label_is_as_harmless_as_a_query() -> None:
    pieces = [(True, "<ground>"), (False, "</think> <b"), (True, "</ground>"), (False, "<b>")]
    assert harmless(pieces) == "<ground>\u2039/think\u203a \u2039b</ground><b>"


# Random answers.


@st.composite
def answers(draw: st.DrawFn) -> tuple[Grammar, list[int]]:
    """Return a grammar and a finished answer: some random choices, then the shortest way to an end."""
    grammar = Grammar(draw(st.sampled_from([MARKUP, NO_SECTIONS])), draw(st.integers(0, 5)), 4)
    state, tokens = grammar.start(), []
    markup = [*MARKUP.tags]
    for _ in range(draw(st.integers(0, 40))):
        allowed = grammar.allowed(state)
        if state.place is Place.DONE:
            return grammar, tokens
        assert (grammar.forced(state) != ()) == (allowed.only and len(allowed.ids) == 1)
        pool = markup if draw(st.booleans()) else range(SIZE)
        choices = [t for t in pool if t in allowed] or [t for t in range(SIZE) if t in allowed]
        token = draw(st.sampled_from(choices))
        tokens.append(token)
        state = grammar.advance(state, token)
    return grammar, tokens + way_out(grammar, state)


def way_out(grammar: Grammar, state: State) -> list[int]:
    """Return tokens that end an answer, found by trying closing tags; fails if there are none."""
    closing = ids("</ground>", "<objects>", "</objects>", "ne", "</think>", "</answer>", "a")
    closing.remove(VOCABULARY["</think>"])
    tags = [state.awaited] if state.awaited is not None else []
    tokens: list[int] = []
    while state.place is not Place.DONE:
        assert len(tokens) < 8, f"no way out of {state}"
        if state.place is Place.TEXT:
            tokens.append(tags.pop() if tags else VOCABULARY["<|im_end|>"])
        else:
            tokens.append(next(token for token in closing if token in grammar.allowed(state)))
        state = grammar.advance(state, tokens[-1])
    return tokens


@settings(max_examples=400, deadline=None)
@given(answers())
def test_whatever_is_written_can_be_read(written: tuple[Grammar, list[int]]) -> None:
    grammar, tokens = written
    text = grammar.markup.text(tokens, decode)
    read = parse_answer(text, grammar.num_regions)
    assert set(read.problems) <= {"objects without a label"}, text
    lists = text.split("<objects>")[1:]
    assert text.count("<ground>") == sum(token == MARKUP.ground[0] for token in tokens)
    assert all(region < grammar.num_regions for region in regions_in(text))
    for inside in (part.split("</objects>")[0] for part in lists):
        named = regions_in(inside)
        assert len(set(named)) == len(named)
        assert inside in ("", "None") or inside == "".join(f"<region{n}>" for n in named)
