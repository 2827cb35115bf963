"""Worked examples of how alike two short texts are."""

import functools
import random

import pytest

from fo1.evaluation.metrics.text import (
    clean_answer,
    clean_category,
    edit_distance,
    edit_similarity,
    plain_characters,
    tokens,
    word_iou,
)


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("red cup", "cup red", 1.0),
        ("Red CUP", "red cup", 1.0),
        ("a red cup", "red cup", 2 / 3),
        ("cup", "red coffee cup", 1 / 3),
        ("cup cup cup", "cup", 1.0),
        ("cups", "cup", 0.0),
        ("", "cup", 0.0),
        ("", "", 0.0),
    ],
)
def test_words_are_compared_as_sets(answer: str, truth: str, expected: float) -> None:
    assert word_iou(answer, truth) == expected == word_iou(truth, answer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Coffee cup.", "Coffee cup"),
        ("category: coffee cup", "coffee cup"),
        ("category: cup: red", "cup"),  # only what is between the first two colons, as published
        ("cup, red", "cup  red"),
        ("", ""),
        (":", ""),
    ],
)
def test_answers_are_cleaned_as_published(text: str, expected: str) -> None:
    assert clean_answer(text) == expected


def test_categories_are_cleaned_as_published() -> None:
    assert clean_category("dog:front_leg") == "dog front leg"
    assert clean_category("bat_(animal)") == "bat (animal)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("St. Mary's", "stmarys"),
        (" STOP \n sign", "stopsign"),
        ("25%", "25"),
        ("&", "&"),
        ("- & -", "-&-"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("", ""),
    ],
)
def test_letters_and_digits_alone_are_compared(text: str, expected: str) -> None:
    assert plain_characters(text) == expected


def test_the_edit_distance_is_that_of_its_definition() -> None:
    def slow(text: str, other: str) -> int:
        @functools.cache
        def distance(i: int, j: int) -> int:
            if not i or not j:
                return i + j
            replaced = distance(i - 1, j - 1) + (text[i - 1] != other[j - 1])
            return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, replaced)

        return distance(len(text), len(other))

    drawn = random.Random(1)
    for _ in range(300):
        text, other = ("".join(drawn.choices("abc", k=drawn.randint(0, 8))) for _ in range(2))
        assert edit_distance(text, other) == slow(text, other), (text, other)
    assert edit_distance("stop", "x" * 50_000) == 50_000


def test_edit_similarity() -> None:
    assert edit_similarity("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert edit_similarity("stop", "stop") == edit_similarity("", "") == 1
    assert edit_similarity("", "stop") == 0


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [  # every line is what the Penn Treebank tokenizer of the COCO caption scorer gave
        ("A man's red shirt, standing next to the 2-story house.", None),
        ("woman w/ umbrella; it's 3:00 p.m.", "woman w / umbrella it 's 3:00 p.m."),
        ("The dog (brown) isn't running!", "the dog -lrb- brown -rrb- is n't running"),
        ('"STOP" sign -- left-most...', "stop sign left-most"),
        ("Mr. Smith's $5 hat & U.S. flag", "mr. smith 's $ 5 hat & u.s. flag"),
        ("cannot gonna can't won't they're", "can not gon na ca n't wo n't they 're"),
        ("10,000 people 1.5 m", "10,000 people 1.5 m"),
        ("'90s kid's toys", "'90s kid 's toys"),
        ("guy on far left with #12 jersey", "guy on far left with # 12 jersey"),
        ("St. Louis Cardinals' player", "st. louis cardinals player"),
        ("left/right side", "left/right side"),
        ("...", ""),
        ("", ""),
    ],
)
def test_captions_are_split_as_in_the_penn_treebank(sentence: str, expected: str | None) -> None:
    if expected is None:
        expected = "a man 's red shirt standing next to the 2-story house"
    assert " ".join(tokens(sentence)) == expected
