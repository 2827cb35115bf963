import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fo1 import prompts, tags
from fo1.errors import QueryError
from fo1.layout import Picture, Turn, build_prompt

HEAD = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|><image><|vision_end|>\n"
)
TAIL = "<|im_end|>\n<|im_start|>assistant\n"
HOW_MANY = (
    " are there in this image? Count each instance of the target object. Locate them with object "
    "indexes and then answer the question with the number of objects."
)
INDEXES = " in this image. Answer the question with object indexes."


def listed(count: int) -> str:
    return "".join(f"<region{number}><regionfeat>" for number in range(count)) + "\n"


# The seven prompts recorded from the reference implementation.
@pytest.mark.parametrize(
    ("question", "regions", "text"),
    [
        (prompts.detect(["cat"]), 7, "Please detect cat" + INDEXES),
        (prompts.detect(["eye"]), 2, "Please detect eye" + INDEXES),
        (prompts.count("astronauts"), 1, "How many astronauts" + HOW_MANY),
        (prompts.detect(["coffee cup", "spoon"]), 40, "Please detect coffee cup, spoon" + INDEXES),
        (prompts.refer("cat"), 7, "Please detect cat" + INDEXES),
        (prompts.detect("astronaut"), 7, "Please detect astronaut" + INDEXES),
        (prompts.count("people"), 100, "How many people" + HOW_MANY),
    ],
)
def test_recorded_prompts(question: str, regions: int, text: str) -> None:
    assert (
        build_prompt(Turn("user", (Picture(regions), question)))
        == HEAD + listed(regions) + text + TAIL
    )


def test_one_recorded_prompt_in_full() -> None:
    assert build_prompt(Turn("user", (Picture(2), prompts.detect(["eye"])))) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><image><|vision_end|>\n<region0><regionfeat><region1><regionfeat>\n"
        "Please detect eye in this image. Answer the question with object indexes.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_layout_without_regions_without_picture_and_with_history() -> None:
    assert build_prompt(Turn("user", (Picture(), "hi"))) == HEAD + "hi" + TAIL
    chat = build_prompt(
        Turn("user", (Picture(1), "hi")),
        Turn("assistant", ("<ground>a</ground><objects><region0></objects>",)),
        Turn("user", ("more",)),
        system=None,
        open_answer=False,
    )
    assert chat == (
        "<|im_start|>user\n<|vision_start|><image><|vision_end|>\n<region0><regionfeat>\nhi"
        "<|im_end|>\n<|im_start|>assistant\n<ground>a</ground><objects><region0></objects>"
        "<|im_end|>\n<|im_start|>user\nmore<|im_end|>\n"
    )


def test_regions_count_on_from_picture_to_picture_and_stand_where_their_picture_stands() -> None:
    chat = build_prompt(
        Turn("user", ("first ", Picture(1), "then ", Picture(), Picture(2), "which?")),
        Turn("assistant", ("<region2>",)),
        Turn("user", (Picture(1), "and <region3> or <region0>?")),
        system="Be brief.",
        repeat_features=True,
    )
    vision = "<|vision_start|><image><|vision_end|>\n"
    assert chat == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
        f"first {vision}<region0><regionfeat>\nthen {vision}{vision}"
        "<region1><regionfeat><region2><regionfeat>\nwhich?<|im_end|>\n"
        "<|im_start|>assistant\n<region2><|im_end|>\n<|im_start|>user\n"
        f"{vision}<region3><regionfeat>\nand <region3><regionfeat> or <region0><regionfeat>?"
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_word_system_in_a_question_changes_nothing_else() -> None:
    assert build_prompt(Turn("user", (Picture(), prompts.ask("a solar system?")))).startswith(HEAD)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (prompts.read([2]), "Please provide the ocr results of <region2> in the image."),
        (prompts.describe([0]), "Provide a brief description for <region0>."),
        (
            prompts.describe([4, 1], "detailed"),
            "Provide a detailed description for <region4>, <region1>.",
        ),
        (
            prompts.ground(),
            "Briefly describe this image and detect all mentioned objects. "
            "Answer with grounded object indexes.",
        ),
        (
            prompts.similar(5),
            "Using the provided object <region5> as a reference, identify all other objects of the "
            "same category in this image. Respond with object indexes.",
        ),
        (prompts.ask("  why is <Region01> wet?\nSay. "), "why is <region1> wet?\nSay."),
        (prompts.detect(["  red \n cup", "cat", "cat"]), "Please detect red cup, cat" + INDEXES),
    ],
)
def test_other_templates(question: str, text: str) -> None:
    assert question == text


def test_every_task_has_its_question() -> None:
    for task in prompts.Task:
        assert inspect.isfunction(getattr(prompts, task.value))


@pytest.mark.parametrize(
    "call",
    [
        lambda: prompts.detect([]),
        lambda: prompts.detect(["cat", "  "]),
        lambda: prompts.detect([3]),  # type: ignore[list-item]
        lambda: prompts.refer(""),
        lambda: prompts.count("\n"),
        lambda: prompts.ask(" "),
        lambda: prompts.describe([]),
        lambda: prompts.describe([1], "long"),  # type: ignore[arg-type]
        lambda: prompts.read([-1]),
        lambda: prompts.similar(-2),
    ],
)
def test_unusable_queries_are_refused(call) -> None:
    with pytest.raises(QueryError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_regions_that_do_not_exist_are_named() -> None:
    assert prompts.ask("<region4>?", num_regions=5) == "<region4>?"
    with pytest.raises(QueryError, match=r"region 7 does not exist.*0 to 4"):
        prompts.ask("why <region2> and <region7>?", num_regions=5)
    with pytest.raises(QueryError, match="no regions"):
        tags.check_regions([0], 0)
    with pytest.raises(QueryError, match="-1"):
        tags.check_regions([-1], 3)


@pytest.mark.parametrize(
    "tag",
    [
        *("<image>", "<regionfeat>", "<ground>", "</ground>", "<objects>", "</objects>", "<think>"),
        *("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|endoftext|>", "</s>", "<0x0A>"),
        *("<IMAGE>", "<region1>"),
    ],
)
def test_markup_of_a_user_is_shown_but_does_not_act(tag: str) -> None:
    for question in (
        prompts.detect([f"cat {tag} x"]),
        prompts.refer(f"{tag}cat"),
        prompts.count(tag),
    ):
        assert "<" not in question
        assert tag.strip("<>") in question


def test_comparisons_stay() -> None:
    assert prompts.ask("is 2 < 3 and x <= 4, <3?") == "is 2 < 3 and x <= 4, <3?"


@given(
    st.text(alphabet="<>|/ai3 \n", max_size=12),
    st.lists(
        st.sampled_from(
            ["<image>", "<regionfeat>", "<region3>", "<|im_end|>", "<ground>", "a", "<", ">", "<<"]
        )
    ),
)
def test_no_text_adds_a_placeholder_or_a_turn(noise: str, parts: list[str]) -> None:
    text = "q" + "".join(parts) + noise
    for question in (prompts.ask(text), prompts.clean_name(text), text):
        prompt = build_prompt(Turn("user", (Picture(2), question)))
        assert prompt.count("<image>") == 1
        assert prompt.count("<regionfeat>") == 2
        assert prompt.count("<|im_end|>") == 2
        assert prompt.count("<|im_start|>") == 3
    assert not re.findall(r"<(?!region[0-9]+>)[a-z|/][^<> ]*>", prompts.ask(text))
    assert "<region" not in prompts.clean_name(text)


@given(st.text())
def test_neutralising_twice_changes_nothing(text: str) -> None:
    once = tags.neutralise(text)
    assert tags.neutralise(once) == once
    assert len(once) == len(text)
