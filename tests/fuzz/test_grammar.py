"""Whatever a grammar lets a model write is read back without a fault."""

from hypothesis import strategies as st

from fo1.grammar import Grammar
from fo1.markup import harmless
from fo1.parsing import parse_answer
from fo1.tags import regions_in
from tests.fuzz.budget import fuzz
from tests.fuzz.texts import HARMLESS, HOSTILE, PHRASES, pair
from tests.test_grammar import MARKUP, answers, decode


@fuzz(answers(), examples=60)
def test_what_is_written_under_the_grammar_is_read(written: tuple[Grammar, list[int]]) -> None:
    grammar, tokens = written
    text = grammar.markup.text(tokens, decode)
    read = parse_answer(text, grammar.num_regions)
    assert set(read.problems) <= {"objects without a label"}
    # Every region token that was written is cited, in order, and nothing else is.
    names = {token: region for region, token in enumerate(MARKUP.regions)}
    expected = [names[token] for token in tokens if token in names]
    assert [citation.region for citation in read.citations] == expected
    assert list(regions_in(text)) == expected


@fuzz(answers(), examples=60)
def test_forced_tokens_are_the_only_way_on(written: tuple[Grammar, list[int]]) -> None:
    grammar, tokens = written
    state = grammar.start()
    for place, token in enumerate(tokens):
        forced = grammar.forced(state)
        assert tuple(tokens[place : place + len(forced)]) == forced
        assert token in grammar.allowed(state)
        state = grammar.advance(state, token)
    assert grammar.forced(state) == ()


@fuzz(st.lists(st.one_of(HOSTILE, st.tuples(PHRASES, st.lists(st.integers(0, 9)))), max_size=6))
def test_spelled_tags_never_act(parts: list[str | tuple[str, list[int]]]) -> None:
    """Ordinary words between real pairs may spell any tag; what is read are the pairs alone."""
    pieces: list[tuple[bool, str]] = []
    for part in parts:
        if isinstance(part, str):
            # Thought and answer tags may be words of a vocabulary without tokens for them.
            words = part.replace("think>", "").replace("answer>", "")
            if pieces and not pieces[-1][0]:
                pieces[-1] = (False, pieces[-1][1] + words)
            else:
                pieces.append((False, words))
        else:
            pieces.append((True, pair(*part)))
    read = parse_answer(harmless(pieces), 10)
    expected: dict[str, list[int]] = {}
    for part in parts:
        if not isinstance(part, str):
            expected.setdefault(part[0], []).extend(part[1])
    assert read.problems == ()
    assert [(item.phrase, list(item.regions)) for item in read.groundings] == [
        (phrase, list(dict.fromkeys(regions))) for phrase, regions in expected.items()
    ]


@fuzz(st.lists(st.tuples(st.booleans(), HOSTILE), max_size=5), HARMLESS)
def test_harmless_words_stay(pieces: list[tuple[bool, str]], words: str) -> None:
    assert harmless([(False, words)]) == words
    assert harmless([(True, text) for _, text in pieces]) == "".join(text for _, text in pieces)
    assert len(harmless(pieces)) == sum(len(text) for _, text in pieces)
