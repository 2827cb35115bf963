"""Any text is read, and what is written in the form is read back."""

import re
import time

from hypothesis import example
from hypothesis import strategies as st

from fo1.parsing import parse_answer, parse_count, parse_region_texts, plain_text
from tests.fuzz.budget import fuzz
from tests.fuzz.texts import HARMLESS, HOSTILE, PHRASES, PIECES, pair, region_tokens

MARKUP = re.compile(
    r"</?(ground|objects?|think|answer)>|<region([0-9]+|feat)>|<\|\w+\|>", re.IGNORECASE
)
REGION = re.compile(r"<region([0-9]+)>", re.IGNORECASE | re.ASCII)
REGIONS = st.lists(st.integers(0, 40), max_size=6)
PAIRS = st.tuples(PHRASES, REGIONS)
NUMBERS = {"zero": 0, "one": 1, "two": 2, "nine": 9, "ten": 10, "twelve": 12, "twenty": 20}


@fuzz(HOSTILE, st.integers(0, 8), examples=200)
def test_any_answer_is_read(text: str, num_regions: int) -> None:
    answer = parse_answer(text, num_regions)
    assert answer.text == text
    phrases = [item.phrase for item in answer.groundings]
    assert len(set(phrases)) == len(phrases)
    for item in answer.groundings:
        assert item.phrase == " ".join(item.phrase.split())
        assert item.phrase or item.regions
        assert len(set(item.regions)) == len(item.regions)
        assert all(0 <= region < num_regions for region in item.regions)
    assert list(answer.regions) == list(
        dict.fromkeys(sum((g.regions for g in answer.groundings), ()))
    )
    assert len(set(answer.problems)) == len(answer.problems)
    for problem in answer.problems:
        assert len(problem.splitlines()) == 1
        assert len(problem) < 250
    assert answer.answer == answer.answer.strip()


@fuzz(HOSTILE, st.integers(0, 8), examples=200)
def test_citations_are_the_mentions_of_existing_regions(text: str, num_regions: int) -> None:
    answer = parse_answer(text, num_regions)
    expected = [
        (int(found[1]), *found.span())
        for found in REGION.finditer(text)
        if len(found[1]) < 10 and int(found[1]) < num_regions
    ]
    assert [(item.region, item.start, item.end) for item in answer.citations] == expected
    parts = [item.part for item in answer.citations]
    if answer.thought is None:
        assert "thought" not in parts
    if "<|" not in text:  # chat tokens are cut out before the rest is read
        assert set(answer.regions) <= {item.region for item in answer.citations}


@fuzz(HOSTILE, examples=200)
@example("<|<|x|>im_end|>")
@example("<|</answer>im_end|>")
def test_text_for_people_holds_no_markup(text: str) -> None:
    plain = plain_text(text)
    assert not MARKUP.search(plain)
    assert plain == " ".join(plain.split())
    if "<|" not in plain:  # the rest of a damaged chat token, which may look like a whole one
        assert plain_text(plain) == plain


@fuzz(HOSTILE, examples=150)
def test_any_count_is_a_number_or_none(text: str) -> None:
    number = parse_count(text)
    assert number is None or 0 <= number < 10**9
    if number is not None and number > 20:
        digits = "".join(re.findall(r"[0-9]", text))
        assert str(number) in digits


@fuzz(HOSTILE, st.lists(st.integers(0, 8), max_size=4), examples=150)
def test_any_texts_of_regions_belong_to_regions_asked(text: str, asked: list[int]) -> None:
    texts, problems = parse_region_texts(text, asked)
    told = [item.region for item in texts]
    assert told == [region for region in dict.fromkeys(asked) if region in told]
    for item in texts:
        assert item.text.strip()
        assert not MARKUP.search(item.text)
    for region in asked:
        assert (f"no text for region {region}" in problems) != (region in told)


@fuzz(st.lists(st.one_of(HARMLESS, PAIRS), max_size=8), st.none() | HARMLESS, st.booleans())
def test_what_is_written_is_read_back(
    parts: list[str | tuple[str, list[int]]], thought: str | None, end: bool
) -> None:
    body = "".join(part if isinstance(part, str) else pair(*part) for part in parts)
    text = body if thought is None else f"<think>{thought}</think><answer>{body}</answer>"
    read = parse_answer(text + "<|im_end|>" * end, 41)
    expected: dict[str, list[int]] = {}
    for part in parts:
        if not isinstance(part, str):
            expected.setdefault(part[0], []).extend(part[1])
    assert read.problems == ()
    assert [(item.phrase, item.regions) for item in read.groundings] == [
        (phrase, tuple(dict.fromkeys(regions))) for phrase, regions in expected.items()
    ]
    assert read.thought == (None if thought is None else thought.strip())
    assert read.answer == body.strip()
    again = "".join(pair(item.phrase, list(item.regions)) for item in read.groundings)
    assert parse_answer(again, 41).groundings == read.groundings
    words = "".join(part if isinstance(part, str) else part[0] for part in parts)
    assert "".join(plain_text(text).split()) == "".join(words.split())


@fuzz(
    st.lists(st.tuples(st.sampled_from(["cat", "red cup"]), REGIONS), max_size=3),
    st.sampled_from(["", "I see ", "The picture shows ", "Here: "]),
    st.integers(0, 10**9 - 1),
    st.sampled_from(["digits", "commas", "word"]),
    st.sampled_from(["", ".", " cats.", " of 77 cats", "\n"]),
)
@example([], "", 3, "digits", "")
def test_a_stated_number_is_read(
    pairs: list[tuple[str, list[int]]], before: str, number: int, form: str, behind: str
) -> None:
    shown = {"digits": f"{number}", "commas": f"{number:,}"}.get(form)
    if shown is None:
        shown = list(NUMBERS)[number % len(NUMBERS)]
        number, behind = NUMBERS[shown], behind.replace("77", "the")
    text = "".join(pair(*item) for item in pairs) + before + shown + behind
    assert parse_count(text) == number


@fuzz(st.dictionaries(st.integers(0, 40), st.text("abc XYZ", min_size=1), max_size=5))
def test_texts_of_regions_are_read_back(said: dict[int, str]) -> None:
    said = {region: " ".join(text.split()) for region, text in said.items() if text.strip()}
    pairs = "".join(pair(text, [region]) for region, text in said.items())
    tokens = "\n".join(f"{region_tokens([region])}: {text}" for region, text in said.items())
    lines = "\n".join(said.values())
    for text in (pairs, tokens, lines):
        found, problems = parse_region_texts(text, said)
        assert {item.region: item.text for item in found} == said
        assert problems == ()


@fuzz(
    st.lists(st.one_of(PIECES, st.text(max_size=2)), min_size=1, max_size=4).map("".join),
    st.sampled_from(["", "<think>", "<ground>cat</ground><objects>", "no "]),
    examples=12,
)
def test_long_texts_are_read_in_linear_time(piece: str, start: str) -> None:
    if not piece:
        return
    text = start + piece * (60_000 // len(piece))
    before = time.process_time()
    parse_answer(text, 10)
    parse_count(text)
    plain_text(text)
    parse_region_texts(text, [1, 2])
    assert time.process_time() - before < 5
