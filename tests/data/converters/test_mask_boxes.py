import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fo1.data.converters.mask_boxes import box_of_mask, unpack_runs
from fo1.errors import InputError

SIZE = (4, 5)


def pack(runs: list[int]) -> str:
    """Return runs as COCO packs them."""
    letters = ""
    for place, run in enumerate(runs):
        left = run - (runs[place - 2] if place > 2 else 0)
        while True:
            bits, left = left & 31, left >> 5
            more = left != (-1 if bits & 16 else 0)
            letters += chr((bits | (32 if more else 0)) + 48)
            if not more:
                break
    return letters


@given(st.lists(st.integers(0, 10**7), max_size=20))
def test_packed_runs(runs: list[int]) -> None:
    assert unpack_runs(pack(runs)) == runs


def test_packed_runs_of_the_official_tool() -> None:
    # pycocotools of a 4 x 5 mask whose rows 1 and 2 of columns 1 to 3 are set
    assert unpack_runs("5220003") == [5, 2, 2, 2, 2, 2, 5]


@pytest.mark.parametrize("seed", range(20))
def test_boxes_of_masks_are_those_of_the_official_tool(seed: int) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 50), np.uint8)
    mask[5:35, 3:44] = rng.random((30, 41)) < rng.choice([0.001, 0.5, 0.99])
    mask[20, 20] = 1
    packed = coco.encode(np.asfortranarray(mask))
    x, y, width, height = map(float, coco.toBbox(packed))
    for counts in (packed["counts"], packed["counts"].decode()):
        found = box_of_mask({"size": [40, 50], "counts": counts}, (40, 50))
        assert found == (x, y, x + width, y + height)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("runs", "box"),
    [
        ([5, 2, 2, 2, 2, 2, 5], (1, 1, 4, 3)),
        ([0, 1, 19], (0, 0, 1, 1)),
        ([19, 1], (4, 3, 5, 4)),
        ([3, 2, 15], (0, 0, 2, 4)),
        ([0, 20], (0, 0, 5, 4)),
        ([1, 1, 0, 1, 17], (0, 1, 1, 3)),
    ],
)
def test_boxes_of_runs(runs: list[int], box: tuple[int, ...], packed: bool) -> None:
    counts = pack(runs) if packed else runs
    assert box_of_mask({"size": [4, 5], "counts": counts}, SIZE) == box


def test_boxes_of_polygons() -> None:
    assert box_of_mask([[1, 1, 3, 1, 3, 2.5], [0, 2, 1, 2, 1, 3]], SIZE) == (0, 1, 3, 3)
    assert box_of_mask([1, 1, 3, 1, 3, 2.5], SIZE) == (1, 1, 3, 2.5)


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (None, "expected polygons or runs"),
        ([], "expected polygons or runs"),
        ([[1, 1, 2, 2]], "a polygon is"),
        ([[1, 1, 2, 2, 3]], "a polygon is"),
        ([["a"] * 6], "a polygon is"),
        ({"size": [5, 4], "counts": [20]}, "the picture's"),
        ({"counts": [20]}, "the picture's"),
        ({"size": [4, 5], "counts": [20]}, "the mask is empty"),
        ({"size": [4, 5], "counts": [10, 0, 10]}, "the mask is empty"),
        ({"size": [4, 5], "counts": [2, 3]}, "the runs hold 5 pixels"),
        ({"size": [4, 5], "counts": [30, -10]}, "a run of -10"),
        ({"size": [4, 5], "counts": [1.5, 18.5]}, "expected runs"),
        ({"size": [4, 5], "counts": "P"}, "ends too early"),
        ({"size": [4, 5], "counts": "P" * 99}, "'counts' has 'P'"),
        ({"size": [4, 5], "counts": "5 "}, "'counts' has ' '"),
    ],
)
def test_what_is_no_mask(mask: object, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        box_of_mask(mask, SIZE)
