"""Every form in which masks come says the same; what is none is told in one line."""

from typing import Any

import numpy as np
import pytest
import torch

from fo1 import InputError
from fo1.formats.masks import as_masks
from fo1.masks import Masks

SIZE = (6, 8)
MASK = np.zeros(SIZE, bool)
MASK[1:5, 2:7] = True
MASK[3:5, 4:7] = False  # an L
EXPECTED = Masks.from_array(MASK[None])
L_SHAPE = [2, 1, 7, 1, 7, 3, 4, 3, 4, 5, 2, 5]


@pytest.mark.parametrize(
    "given",
    [
        EXPECTED,
        MASK[None],
        MASK[None].astype(np.uint8),
        MASK[None].astype(np.float32),
        torch.from_numpy(MASK)[None],
        [MASK],
        MASK[None].tolist(),
        [torch.from_numpy(MASK)],
        EXPECTED.to_rle(),
        [{"size": [6, 8], "counts": EXPECTED.runs[0].tolist()}],
        [{"size": [6, 8], "counts": EXPECTED.to_rle()[0]["counts"].encode()}],
        [{"counts": EXPECTED.runs[0]}],
        [[L_SHAPE]],
        [[np.array(L_SHAPE).reshape(-1, 2)]],
        [[[2, 1, 7, 1, 7, 3, 2, 3], [2, 3, 4, 3, 4, 5, 2, 5]]],
        EXPECTED.to_polygons(),
    ],
)
def test_all_forms_say_the_same(given: Any) -> None:
    assert as_masks(given, SIZE) == EXPECTED


def test_none_and_several() -> None:
    assert len(as_masks([], SIZE)) == 0
    assert len(as_masks(np.zeros((0, 6, 8)), SIZE)) == 0
    mixed = as_masks([MASK, EXPECTED.to_rle()[0], [L_SHAPE]], SIZE)
    assert mixed == Masks.from_array(np.stack([MASK] * 3))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((1, *SIZE), bool), "row 0: it covers no pixel"),
        ([MASK, [[-9, -9, -5, -9, -5, -5]]], "row 1: it covers no pixel"),
        (MASK, "shape (6, 8), need (N, height, width)"),
        (MASK.T[None], "picture of 6 x 8, this one is 8 x 6"),
        ([MASK.T], "row 0: got shape (8, 6), need (6, 8)"),
        (MASK[None] * 0.5, "masks > 0.5"),
        (None, "NoneType"),
        ("mask.png", "str"),
        (5, "shape ()"),
        ([5], "shape ()"),
        (["mask.png"], "cannot read a str"),
        ([[5]], "1 numbers"),
        ([[[1, 2, 3, 4]]], "4 numbers"),
        ([[[1, 2, 3, 4, 5, 6, 7]]], "7 numbers"),
        ([[[1, 2, 3, 4, 5, float("nan")]]], "finite"),
        ([[["a", 2, 3, 4, 5, 6]]], "a polygon is"),
        ([{"size": [8, 6], "counts": [48]}], "size is [8, 6], the picture's [6, 8]"),
        ([{"size": [6, 8], "counts": [3, 4]}], "make 7 pixels, the picture has 48"),
        ([{"size": [6, 8], "counts": [-1, 49]}], "counts are [-1, 49]"),
        ([{"size": [6, 8], "counts": [24.5, 23.5]}], "counts are [24.5"),
        ([{"size": [6, 8], "counts": [10**30]}], "counts are"),
        ([{"size": [6, 8]}], "counts are None"),
        ([{"size": [6, 8], "counts": "o o"}], "run lengths hold ' '"),
        ([{"size": [6, 8], "counts": b"\xff"}], "run lengths"),
    ],
)
def test_what_is_no_mask(given: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        as_masks(given, SIZE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_masks_of_another_picture_are_refused() -> None:
    with pytest.raises(InputError, match="picture of 8 x 6, this one is 6 x 8"):
        as_masks(EXPECTED, (8, 6))
