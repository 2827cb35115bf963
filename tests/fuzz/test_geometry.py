"""Laws of boxes, against exact fractions and loops, up to the ends of float32."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fo1.errors import BoxError
from fo1.geometry import (
    SQUARE_SIDES,
    as_boxes,
    auxiliary_size,
    box_area,
    box_containment,
    box_iou,
    cap_size,
    check_boxes,
    clip_boxes,
    nms,
    place_boxes,
    scale_boxes,
    xywh_to_xyxy,
    xyxy_to_xywh,
)
from tests.fuzz.budget import assert_one_line, fuzz

LARGEST = float(np.finfo(np.float32).max)
DENORMAL = float(np.finfo(np.float32).smallest_subnormal)
HUGE, TINY = np.float32([[0, 0, 3e38, 3e38]]), np.float32([[0, 0, 1e-30, 1e-30]])
NUMBERS = st.one_of(
    st.integers(-3, 12).map(float),
    st.floats(-500, 1500, width=32),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from([-0.0, DENORMAL, -DENORMAL, 1e-30, 0.1, 2.0**24, 1e30, LARGEST, -LARGEST]),
)
SIZES = st.tuples(*[st.one_of(st.integers(1, 40), st.integers(1, 20_000))] * 2)


@st.composite
def some_boxes(draw: st.DrawFn, least: int = 0, most: int = 6) -> np.ndarray:
    """Return (N, 4) float32 boxes, none inverted."""
    count = draw(st.integers(least, most))
    numbers = [[draw(NUMBERS) for _ in range(4)] for _ in range(count)]
    corners = np.array(numbers, np.float32).reshape(count, 2, 2)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def exact(boxes: np.ndarray) -> list[list[Fraction]]:
    return [[Fraction(float(side)) for side in box] for box in boxes]


def area(box: list[Fraction]) -> Fraction:
    return max(box[2] - box[0], Fraction(0)) * max(box[3] - box[1], Fraction(0))


def shared(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return area([*map(max, a[:2], b[:2]), *map(min, a[2:], b[2:])])


@fuzz(some_boxes(), some_boxes())
@example(HUGE, HUGE)
@example(TINY, TINY)
def test_overlap_is_the_exact_fraction(first: np.ndarray, second: np.ndarray) -> None:
    iou, held = box_iou(first, second), box_containment(first, second)
    assert iou.dtype == held.dtype == np.float32
    assert iou.shape == held.shape == (len(first), len(second))
    for row, a in enumerate(exact(first)):
        for column, b in enumerate(exact(second)):
            both, union = shared(a, b), area(a) + area(b) - shared(a, b)
            smaller = min(area(a), area(b))
            expected = float(both / union) if union else 0.0
            assert math.isclose(iou[row, column], expected, rel_tol=1e-6, abs_tol=1e-40)
            expected = float(both / smaller) if smaller else 0.0
            assert math.isclose(held[row, column], expected, rel_tol=1e-6, abs_tol=1e-40)


@fuzz(some_boxes(), some_boxes())
@example(HUGE, TINY)
def test_overlap_is_symmetric_bounded_and_one_with_itself(
    first: np.ndarray, second: np.ndarray
) -> None:
    for overlap in (box_iou, box_containment):
        there, back = overlap(first, second), overlap(second, first)
        np.testing.assert_array_equal(there, back.T)
        assert ((there >= 0) & (there <= 1)).all()
        own = overlap(first, first).diagonal()
        filled = (first[:, 2:] > first[:, :2]).all(axis=1)
        np.testing.assert_array_equal(own, filled)


@fuzz(some_boxes())
@example(HUGE)
@example(TINY)
def test_area_is_the_exact_product(boxes: np.ndarray) -> None:
    found = box_area(boxes)
    assert found.shape == (len(boxes),)
    for value, box in zip(found, exact(boxes), strict=True):
        assert math.isclose(value, float(area(box)), rel_tol=1e-14)


@fuzz(some_boxes(), st.floats(0, 1), st.floats(0, 1), st.data())
def test_nms_is_the_greedy_loop(
    boxes: np.ndarray, most: float, containment: float, data: st.DataObject
) -> None:
    scores = np.array([data.draw(st.sampled_from([0.0, 0.5, 0.7, 1.0])) for _ in boxes])
    iou, held = box_iou(boxes, boxes), box_containment(boxes, boxes)
    expected: list[int] = []
    for row in sorted(range(len(boxes)), key=lambda row: -scores[row]):
        if all(
            iou[row, kept] <= most and (containment == 1 or held[row, kept] <= containment)
            for kept in expected
        ):
            expected.append(row)
    assert nms(boxes, scores, most, containment).tolist() == expected


@fuzz(some_boxes(), SIZES)
def test_clipping_moves_each_number_to_the_nearest_inside(
    boxes: np.ndarray, size: tuple[int, int]
) -> None:
    before, clipped = boxes.copy(), clip_boxes(boxes, size)
    assert clipped.dtype == np.float32
    limits = (size[1], size[0]) * 2
    for old, new in zip(boxes.tolist(), clipped.tolist(), strict=True):
        assert new == [min(max(side, 0), limit) for side, limit in zip(old, limits, strict=True)]
    np.testing.assert_array_equal(clip_boxes(clipped, size), clipped)
    np.testing.assert_array_equal(boxes, before)


@fuzz(some_boxes(), SIZES, SIZES)
@example(HUGE, (1, 1), (2, 2))
def test_scaling_is_the_exact_product(
    boxes: np.ndarray, old: tuple[int, int], new: tuple[int, int]
) -> None:
    scaled = scale_boxes(boxes, old, new)
    assert scaled.dtype == np.float32
    assert np.isfinite(scaled).all()
    assert (scaled[:, 2:] >= scaled[:, :2]).all()
    ratios = (Fraction(new[1], old[1]), Fraction(new[0], old[0])) * 2
    for box, found in zip(exact(boxes), scaled.tolist(), strict=True):
        for side, ratio, value in zip(box, ratios, found, strict=True):
            expected = min(max(side * ratio, Fraction(-LARGEST)), Fraction(LARGEST))
            assert math.isclose(value, expected, rel_tol=3e-7, abs_tol=20_000 * DENORMAL)
    np.testing.assert_array_equal(scale_boxes(boxes, old, old), boxes)


@fuzz(some_boxes(least=1), SIZES)
def test_a_box_is_accepted_when_it_touches_the_picture(
    boxes: np.ndarray, size: tuple[int, int]
) -> None:
    height, width = size

    def outside(box: list[float]) -> bool:
        x1, y1, x2, y2 = box
        before = (x1 < 0 and x2 <= 0) or (y1 < 0 and y2 <= 0)
        return before or (x1 >= width and x2 > width) or (y1 >= height and y2 > height)

    wrong = [row for row, box in enumerate(boxes.tolist()) if outside(box)]
    if not wrong:
        np.testing.assert_array_equal(check_boxes(boxes, size), boxes)
        clipped = clip_boxes(boxes, size)
        assert (clipped[:, 2:] >= clipped[:, :2]).all()
        return
    with pytest.raises(BoxError, match=f"row {wrong[0]}: .* outside") as caught:
        check_boxes(boxes, size)
    assert_one_line(caught.value)


@fuzz(some_boxes(least=1), SIZES, st.integers(0, 5), st.booleans())
def test_an_inverted_box_is_named(
    boxes: np.ndarray, size: tuple[int, int], row: int, vertical: bool
) -> None:
    row, side = row % len(boxes), int(vertical)
    assume(boxes[row, side] < boxes[row, side + 2])
    boxes[row, [side, side + 2]] = boxes[row, [side + 2, side]]
    with pytest.raises(BoxError, match=f"row {row}: {'xy'[side]}2 = .* is less than"):
        check_boxes(boxes, size)


@fuzz(some_boxes())
@example(np.float32([[-3e38, -3e38, 3e38, 3e38]]))
def test_both_notations_say_the_same(boxes: np.ndarray) -> None:
    small = boxes[(abs(boxes) < 1e6).all(axis=1)]
    back = xywh_to_xyxy(xyxy_to_xywh(small))
    largest = abs(small).max(axis=1, initial=0, keepdims=True)
    assert (abs(back - small) <= 2e-7 * largest).all()
    for convert in (xywh_to_xyxy, xyxy_to_xywh):
        try:
            assert np.isfinite(convert(boxes)).all()
        except BoxError as error:
            assert abs(boxes).max() > LARGEST / 4
            assert_one_line(error)


REAL = hnp.scalar_dtypes().filter(lambda dtype: dtype.kind != "c")
COMPLEX = hnp.arrays(hnp.complex_number_dtypes(), hnp.array_shapes(max_side=4))
THINGS = COMPLEX | st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**400, -(10**400)]),
        st.floats(),
        st.complex_numbers(),
        st.text(max_size=4),
        st.binary(max_size=4),
        st.dates(),
        st.fractions(),
        st.decimals(),
        hnp.arrays(REAL, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, min_size=4, max_size=4),
        st.tuples(inner, inner, inner, inner),
        st.dictionaries(st.integers(), inner, max_size=2),
        st.sets(st.integers(), max_size=4),
    ),
    max_leaves=12,
)


@fuzz(THINGS, examples=150)
@example([[10**400, 0, 1, 1]])
@example(10**400)
@example(np.ones((1, 4), np.complex64))
@example([[1j, 0, 1, 1], [1e300, 0, 1, 1]])
def test_anything_is_boxes_or_one_line(thing: object) -> None:
    try:
        boxes = as_boxes(thing, where="b")  # type: ignore[arg-type]
    except BoxError as error:
        assert_one_line(error)
        return
    assert boxes.dtype == np.float32
    assert boxes.ndim == 2
    assert boxes.shape[1] == 4
    assert np.isfinite(boxes).all()


@fuzz(SIZES, st.integers(1, 3000), st.integers(1, 100))
def test_capped_sizes_keep_limits_and_proportions(
    size: tuple[int, int], most: int, least: int
) -> None:
    assume(least <= most)
    capped = cap_size(size, most, least)
    assert least <= min(capped)
    assert max(capped) <= most
    assert cap_size(capped, most, least) == capped
    assert cap_size(size[::-1], most, least) == capped[::-1]
    if least <= min(size) and max(size) <= most:
        assert capped == size
    if min(size) >= least:
        factor = min(1.0, most / max(size))
        for side, cut in zip(size, capped, strict=True):
            assert cut == least or side * factor - 1 - 1e-9 <= cut <= side * factor + 1e-9


@fuzz(some_boxes(), SIZES, st.sampled_from(["dynamic", "squash", "dynamic_square"]))
def test_placed_boxes_are_cut_and_scaled_exactly(
    boxes: np.ndarray, size: tuple[int, int], resize: str
) -> None:
    capped = cap_size(size)
    frame = auxiliary_size(capped, resize)
    placed = place_boxes(boxes, size, capped, frame)
    assert placed.dtype == np.float32
    assert (placed[:, 2:] >= placed[:, :2]).all()
    for box, found in zip(exact(boxes), placed.tolist(), strict=True):
        for side, value, old, new in zip(box, found, size[::-1] * 2, frame[::-1] * 2, strict=True):
            expected = min(max(side, Fraction(0)), Fraction(old)) * new / old
            assert math.isclose(value, float(expected), rel_tol=2e-7, abs_tol=1e-35)
            assert (value == new) or side < old


@fuzz(SIZES)
def test_no_other_square_is_nearer_in_area(size: tuple[int, int]) -> None:
    area = size[0] * size[1]
    side, same = auxiliary_size(size, "dynamic_square")
    assert side == same
    assert abs(side**2 - area) == min(abs(other**2 - area) for other in SQUARE_SIDES)
    assert auxiliary_size(size, "dynamic") == size
