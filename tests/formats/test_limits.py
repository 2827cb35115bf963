import numpy as np
import pytest

from fo1.errors import InputError
from fo1.formats.limits import (
    COUNTS,
    NAME_LENGTH,
    QUESTION_LENGTH,
    SIDES,
    check_length,
    check_reach,
    check_whole,
    read_name,
)


def test_names_are_cleaned_and_may_be_1000_characters_long() -> None:
    assert read_name(" red\n cup ") == "red cup"
    assert read_name("x" * NAME_LENGTH) == "x" * 1000
    with pytest.raises(
        InputError, match=r"^the name has 1,001 characters; expected at most 1,000$"
    ):
        read_name("x" * (NAME_LENGTH + 1))
    with pytest.raises(InputError, match="need a string"):
        read_name(7)


def test_other_texts_have_their_own_limit() -> None:
    assert len(check_length("y" * 10_000, "'text'", QUESTION_LENGTH)) == 10_000
    with pytest.raises(InputError, match="'text' has 10,001 characters"):
        check_length("y" * 10_001, "'text'", QUESTION_LENGTH)
    assert check_length(None, "'text'") is None, "what is no text is for others to tell"


@pytest.mark.parametrize("value", [0, 100_001, 10**400, -1, True, 5.0, "5", None])
def test_sides_that_no_picture_has(value) -> None:
    with pytest.raises(InputError, match="expected a whole number from 1 to 100,000") as told:
        check_whole(value, "height", SIDES)
    assert len(str(told.value)) < 120


def test_whole_numbers_at_the_ends() -> None:
    assert [check_whole(n, "n", COUNTS) for n in (0, 1_000_000)] == [0, 1_000_000]
    assert check_whole(100_000, "width", SIDES) == 100_000


def test_boxes_out_of_reach() -> None:
    near = np.array([[0, 0, 5e8, 10]], np.float32)
    assert check_reach(near, "boxes") is near
    assert len(check_reach(near[:0], "boxes")) == 0
    with pytest.raises(InputError, match=r"boxes: a number is 2e\+09; expected pixels"):
        check_reach(near * -4, "boxes")
