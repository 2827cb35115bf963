"""Whatever a person types, the model sees the placeholders that were meant and no others."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import torch
from hypothesis import assume, example
from hypothesis import strategies as st

import fo1
from fo1 import layout, prompts, tags
from fo1.errors import QueryError
from fo1.layout import Picture, Turn, build_prompt
from fo1.models import FO1Processor
from tests import tiny
from tests.fuzz.budget import assert_one_line, fuzz
from tests.fuzz.texts import HOSTILE

IMAGE_TOKENS = 6
REGION = re.compile(r"<region([0-9]+)>")
TAG = re.compile(r"<[^\s0-9=<>][^<>\s]*>")


@cache
def processors() -> tuple[FO1Processor, ...]:
    """Return the published tokenizer's, which keeps case, and nano's, which lowers it."""
    nano = Path(fo1.__file__).parent / "assets/nano"
    return tiny.make_processor(), FO1Processor.from_pretrained(nano)


def token_counts(processor: FO1Processor, prompt: str, *num_regions: int) -> Counter[str]:
    """Return how often each token that has a meaning of its own occurs in a prompt."""
    grid = torch.tensor([[1, 4, IMAGE_TOKENS]]).repeat(len(num_regions), 1)
    pictures = {"image_grid_thw": grid} if num_regions else {}
    ids = processor.prepare_text([prompt], pictures, num_regions)["input_ids"][0].tolist()
    added = processor.tokenizer.added_tokens_decoder
    return Counter(str(added[token]) for token in ids if token in added)


def expected_counts(*num_regions: int, turns: int = 1) -> Counter[str]:
    """Return the same for a prompt of pictures with regions and nothing else."""
    pictures = len(num_regions)
    tokens: Counter[str] = Counter(f"<region{number}>" for number in range(sum(num_regions)))
    tokens |= Counter({"<|im_start|>": turns + 2, "<|im_end|>": turns + 1})
    tokens |= Counter({"<regionfeat>": sum(num_regions), "<|image_pad|>": pictures * IMAGE_TOKENS})
    return tokens | Counter({"<|vision_start|>": pictures, "<|vision_end|>": pictures})


@fuzz(HOSTILE, examples=200)
@example("<3<image>>")
@example("<0<>>")
def test_neutralised_text_holds_no_markup(text: str) -> None:
    for keep in (False, True):
        once = tags.neutralise(text, keep_regions=keep)
        assert tags.neutralise(once, keep_regions=keep) == once
        found = TAG.findall(once)
        assert all(keep and REGION.fullmatch(tag) for tag in found)
        assert tags.regions_in(once) == (tags.regions_in(text) if keep else ())
    assert len(tags.neutralise(text)) == len(text)
    once.encode()  # a tokenizer reads nothing that cannot be encoded


@fuzz(HOSTILE, st.integers(0, 4), examples=60)
@example("\u0338x", 1)  # with the end of a tag before it, it composes to another character
@example("<region0>\u0338", 1)
@example("\ud800", 0)
def test_a_question_adds_nothing_but_the_regions_it_names(text: str, num_regions: int) -> None:
    try:
        question = prompts.ask(text, num_regions=num_regions)
    except QueryError as error:
        assert_one_line(error)
        unknown = [region for region in tags.regions_in(text) if region >= num_regions]
        assert unknown or not text.strip()
        return
    named = Counter(f"<region{region}>" for region in tags.regions_in(question))
    expected = expected_counts(num_regions) + named
    again = expected + Counter({"<regionfeat>": named.total()})
    turn = Turn("user", (Picture(num_regions), question))
    branch = layout.scene_prefix(num_regions) + layout.question_branch(question)
    for processor in processors():
        assert token_counts(processor, build_prompt(turn), num_regions) == +expected
        assert token_counts(processor, branch, num_regions) == +expected
        repeated = build_prompt(turn, repeat_features=True)
        assert token_counts(processor, repeated, num_regions) == +again


@fuzz(HOSTILE, examples=60)
@example("\u0338cat")
@example("\ud800")
@example("\udcff\U0001f431")
def test_a_name_adds_nothing(text: str) -> None:
    try:
        name = prompts.clean_name(text)
    except QueryError as error:
        assert not text.strip()
        assert_one_line(error)
        return
    assert name
    assert prompts.clean_name(name) == name
    for processor in processors():
        for question in (prompts.detect([name, text]), prompts.count(text), prompts.refer(text)):
            prompt = build_prompt(Turn("user", (Picture(2), question)))
            assert token_counts(processor, prompt, 2) == expected_counts(2)
        counts = token_counts(processor, layout.query_branch(name))
        assert counts == Counter(["<ground>", "</ground>", "<objects>"])


@fuzz(
    st.lists(st.lists(st.one_of(HOSTILE, st.integers(0, 3)), max_size=3), min_size=1, max_size=3),
    st.one_of(st.none(), HOSTILE),
    examples=60,
)
def test_no_chat_gains_pictures_features_or_turns(
    messages: list[list[str | int]], system: str | None
) -> None:
    """Earlier answers hold tags of their own, so only structure is guarded in a turn's text."""
    turns = [
        Turn(
            "user" if place % 2 == 0 else "assistant",
            tuple(Picture(part) if isinstance(part, int) else part for part in parts),
        )
        for place, parts in enumerate(messages)
    ]
    prompt = build_prompt(*turns, system=system)
    num_regions = [part for parts in messages for part in parts if isinstance(part, int)]
    expected = expected_counts(*num_regions, turns=len(turns) - (system is None))
    structure = {token for token in expected if not REGION.fullmatch(token)}
    structure |= {"<|video_pad|>", "<|endoftext|>", "<|object_ref_start|>"}
    for processor in processors():
        counts = token_counts(processor, prompt, *num_regions)
        for token in structure:
            assert counts[token] == expected[token], token


@fuzz(HOSTILE, examples=60)
def test_a_question_stays_what_it_says(text: str) -> None:
    """Nothing but brackets changes, and the published tokenizer gives the words back."""
    assume(text.strip())
    question = prompts.ask(text)
    shown = text.strip().replace("<", "\u2039").replace(">", "\u203a")
    same = question.replace("<", "\u2039").replace(">", "\u203a")
    if not re.search(r"[\ud800-\udfff\u0338]|region0", shown) and shown.isascii():
        assert same.lower() == shown.lower()


@fuzz(HOSTILE, st.dictionaries(st.integers(0, 9), st.integers(0, 300), max_size=4), examples=100)
def test_renumbering_names_known_regions_anew_and_no_others(
    text: str, numbers: dict[int, int]
) -> None:
    changed = tags.renumber(text, numbers)
    named = tags.regions_in(text)
    assert list(tags.regions_in(changed)) == [numbers[n] for n in named if n in numbers]
    kept = tags.renumber(text, {number: number for number in named})
    assert tags.regions_in(kept) == named
    # Words outside references stay, letter by letter.
    reference = re.compile("<region[0-9]{1,18}>", re.IGNORECASE | re.ASCII)
    rest = reference.split(text)
    pattern = "(?:<region[0-9]+>|region [0-9]+)".join(map(re.escape, rest))
    assert re.fullmatch(pattern, changed)
    if len(set(numbers.values())) == len(numbers) and set(named) <= set(numbers):
        back = {new: old for old, new in numbers.items()}
        assert tags.regions_in(tags.renumber(changed, back)) == named
