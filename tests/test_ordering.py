import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fo1.errors import InputError
from fo1.ordering import ORDERS, ROWS, region_order

SIZE = (120, 100)
BOXES = np.array([[60, 1, 90, 9], [0, 100, 90, 119], [5, 2, 15, 8], [0, 90, 10, 99]], np.float32)
SCORES = np.array([0.2, 0.9, 0.2, 0.5], np.float32)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("any", [0, 1, 2, 3]),
        ("raster", [2, 0, 3, 1]),
        ("area", [1, 0, 3, 2]),
        ("score", [1, 3, 0, 2]),
    ],
)
def test_each_policy_puts_first_what_it_names(policy: str, expected: list[int]) -> None:
    assert region_order(BOXES, SCORES, policy, SIZE).tolist() == expected


def test_raster_reads_a_row_from_the_left_though_its_boxes_are_not_level() -> None:
    row = SIZE[0] / ROWS
    boxes = np.array([[50, 1, 60, row - 1], [0, 2, 9, row], [0, row, 9, row + 4]], np.float32)
    assert region_order(boxes, np.ones(3), "raster", SIZE).tolist() == [1, 0, 2]


@pytest.mark.parametrize("policy", ORDERS)
def test_equal_boxes_keep_their_order(policy: str) -> None:
    boxes = np.repeat(BOXES[:1], 50, axis=0)
    assert region_order(boxes, np.ones(50), policy, SIZE).tolist() == list(range(50))


@pytest.mark.parametrize("policy", ORDERS)
def test_no_boxes_have_an_order(policy: str) -> None:
    assert len(region_order(np.zeros((0, 4), np.float32), np.zeros(0), policy, SIZE)) == 0


def test_another_policy_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match="any, raster, area, score"):
        region_order(BOXES, SCORES, "shuffled", SIZE)


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.sampled_from(ORDERS))
def test_an_order_is_a_permutation_that_needs_no_second_one(
    seed: int, count: int, policy: str
) -> None:
    rng = np.random.default_rng(seed)
    near = rng.uniform(0, 90, (count, 2))
    boxes = np.concatenate([near, near + rng.uniform(0, 9, (count, 2))], 1).astype(np.float32)
    scores = rng.random(count).round(1)
    order = region_order(boxes, scores, policy, SIZE)
    assert sorted(order.tolist()) == list(range(count))
    again = region_order(boxes[order], scores[order], policy, SIZE)
    assert again.tolist() == list(range(count))
