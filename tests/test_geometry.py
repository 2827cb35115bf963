import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fo1.errors import BoxError, InputError
from fo1.geometry import (
    AUXILIARY_RESIZES,
    Size,
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

SIZE = (480, 640)


@st.composite
def box_arrays(draw: st.DrawFn, most: int = 8) -> np.ndarray:
    count = draw(st.integers(0, most))
    numbers = st.floats(-500, 1500, width=32)
    corners = draw(hnp.arrays(np.float32, (count, 2, 2), elements=numbers))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


@pytest.mark.parametrize("empty", [[], (), np.zeros((0, 4)), [[]], np.array([])])
def test_no_boxes_are_fine(empty: object) -> None:
    assert check_boxes(empty, SIZE).shape == (0, 4)  # type: ignore[arg-type]


def test_values_are_kept_and_the_caller_s_array_is_not_shared() -> None:
    given_boxes = np.array([[-12.5, -8, 80, 520.5], [10, 10, 10, 20]], dtype=np.float32)
    checked = check_boxes(given_boxes, SIZE)
    np.testing.assert_array_equal(checked, given_boxes)
    assert checked.dtype == np.float32
    checked[0, 0] = 99
    assert given_boxes[0, 0] == -12.5


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[0, 0, 5, 5], [40, 0, 10, 5]], ["row 1", "x2 = 10", "x1 = 40", "xywh_to_xyxy"]),
        ([[0, 50, 5, 5]], ["row 0", "y2 = 5", "y1 = 50"]),
        ([[0, 0, 5, 5], [0, 0, np.nan, 5]], ["row 1", "not finite"]),
        ([[0, 0, np.inf, 5]], ["row 0", "not finite"]),
        ([[0, 0, 1e300, 5]], ["row 0", "not finite"]),
        ([[0, 0, 5, 5], [700, 10, 720, 20]], ["row 1", "outside", "640", "480"]),
        ([[-20, 10, -5, 20]], ["row 0", "outside"]),
        ([[-3, 10, -1, 20]], ["row 0", "outside"]),
        ([[-20, 10, 0, 20]], ["row 0", "outside"]),
        ([[10, 480, 20, 500]], ["row 0", "outside"]),
        ([[0, 0, 5, 5], [1, 2, 3]], ["row 1", "got 3 numbers", "need 4"]),
        ([[0, 0, 5, 5], ["a", 0, 1, 1]], ["row 1", "not four numbers"]),
        ([1, 2, 3, 4], ["wrap it"]),
        ([[1, 2, 3]], ["(1, 3)", "(N, 4)"]),
        (np.zeros((1, 2, 4)), ["(1, 2, 4)", "(N, 4)"]),
        ("boxes.json", ["str"]),
        (None, ["NoneType"]),
        ([{"box": 1}], ["row 0"]),
        (7, ["int"]),
    ],
)
def test_bad_boxes_name_row_and_cure(boxes: object, words: list[str]) -> None:
    with pytest.raises(BoxError) as caught:
        check_boxes(boxes, SIZE, where="b.json")  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith("b.json")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_box_of_no_size_on_the_border_is_inside() -> None:
    check_boxes([[0, 0, 0, 10], [640, 0, 640, 480], [310, 40, 310, 90]], SIZE)


@given(box_arrays())
def test_clipping_twice_changes_nothing_and_stays_inside(boxes: np.ndarray) -> None:
    clipped = clip_boxes(boxes, SIZE)
    np.testing.assert_array_equal(clip_boxes(clipped, SIZE), clipped)
    assert (clipped >= 0).all()
    assert (clipped <= [640, 480, 640, 480]).all()
    assert (box_area(clipped) <= box_area(boxes) + 1e-3).all()


@given(box_arrays(), st.tuples(st.integers(1, 3000), st.integers(1, 3000)))
def test_scaling_there_and_back(boxes: np.ndarray, size: tuple[int, int]) -> None:
    back = scale_boxes(scale_boxes(boxes, SIZE, size), size, SIZE)
    np.testing.assert_allclose(back, boxes, rtol=1e-5, atol=1e-3)


def test_scaling_keeps_x_with_width_and_refuses_an_empty_frame() -> None:
    scaled = scale_boxes(np.array([[10, 10, 20, 20]], np.float32), (100, 200), (300, 200))
    assert scaled.tolist() == [[10, 30, 20, 60]]
    assert scaled.dtype == np.float32
    with pytest.raises(InputError, match="0"):
        scale_boxes(scaled, (0, 10), (10, 10))


def placed(box: list[float], size: Size, capped: Size, frame: Size) -> list[float]:
    """Return a box step by step in Python's own floats."""
    numbers = []
    for number, side in zip(box, (1, 0, 1, 0), strict=True):
        moved = number * (capped[side] / size[side])
        numbers.append(max(0, min(capped[side], moved)) * frame[side] / capped[side])
    return numbers


@given(
    st.lists(st.lists(st.floats(-50, 3000), min_size=4, max_size=4), max_size=5),
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.sampled_from(AUXILIARY_RESIZES),
)
def test_placed_boxes_are_exact(boxes: list[list[float]], size: Size, resize: str) -> None:
    capped = cap_size(size)
    frame = auxiliary_size(capped, resize)
    found = place_boxes(boxes, size, capped, frame)
    expected = [placed(box, size, capped, frame) for box in boxes]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32).reshape(-1, 4))


def test_a_box_over_the_whole_picture_ends_on_the_frame_to_the_last_bit() -> None:
    short = 0
    for width in range(28, 3000, 7):
        size = (width // 2 + 30, width)
        capped, full = cap_size(size), [[0, 0, width, width // 2 + 30]]
        assert place_boxes(full, size, capped, (768, 768)).tolist() == [[0, 0, 768, 768]]
        single = scale_boxes(np.array(full, np.float32), size, (768, 768))
        short += single.tolist() != [[0, 0, 768, 768]]
    assert short, "a float32 ratio would do as well"


@pytest.mark.parametrize(
    ("size", "side"),
    [
        ((28, 28), 384),
        ((300, 451), 384),
        ((512, 512), 512),
        ((1365, 2048), 1792),
        ((2048, 2048), 2048),
        ((416, 416), 384),
        ((1, 174080), 384),  # as far from 384 squared as from 448 squared
        ((1, 174081), 448),
    ],
)
def test_nearest_square(size: Size, side: int) -> None:
    assert auxiliary_size(size, "dynamic_square") == (side, side)


def test_other_resizes() -> None:
    assert auxiliary_size((300, 451), "dynamic") == (300, 451)
    assert auxiliary_size((300, 451), "squash") == (768, 768)
    with pytest.raises(InputError, match=r"'pad' is unknown; use one of dynamic, squash"):
        auxiliary_size((300, 451), "pad")


@given(box_arrays())
def test_xywh_and_back(boxes: np.ndarray) -> None:
    np.testing.assert_allclose(xywh_to_xyxy(xyxy_to_xywh(boxes)), boxes, atol=1e-3)


def test_xywh_example() -> None:
    assert xywh_to_xyxy([[10, 20, 5, 6]]).tolist() == [[10, 20, 15, 26]]
    assert xywh_to_xyxy([]).shape == (0, 4)


def test_iou_by_hand() -> None:
    first = as_boxes([[0, 0, 10, 10], [5, 5, 5, 9]])
    second = as_boxes([[5, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30], [5, 5, 5, 9]])
    expected = [[1 / 3, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(box_iou(first, second), expected, rtol=1e-6)
    assert box_iou(first, as_boxes([])).shape == (2, 0)


@given(box_arrays(), box_arrays())
def test_iou_is_symmetric_and_bounded(first: np.ndarray, second: np.ndarray) -> None:
    iou = box_iou(first, second)
    np.testing.assert_allclose(iou, box_iou(second, first).T, atol=1e-6)
    assert ((iou >= 0) & (iou <= 1 + 1e-5)).all()


def test_nms_keeps_the_best_and_the_order_of_equals() -> None:
    boxes = as_boxes([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [0, 0, 10, 10]])
    assert nms(boxes, np.array([0.5, 0.9, 0.5, 0.5]), 0.5).tolist() == [1, 2]
    assert nms(boxes, np.array([0.5, 0.5, 0.5, 0.5]), 1.0).tolist() == [0, 1, 2, 3]
    assert nms(as_boxes([]), np.zeros(0), 0.5).tolist() == []
    with pytest.raises(InputError, match="4 boxes but 1 scores"):
        nms(boxes, np.ones(1), 0.5)


@settings(max_examples=50)
@given(box_arrays(), st.floats(0, 1), st.data())
def test_nms_subset_has_no_pair_above_the_threshold(
    boxes: np.ndarray, threshold: float, data: st.DataObject
) -> None:
    scores = np.array(
        data.draw(st.lists(st.floats(0, 1), min_size=len(boxes), max_size=len(boxes)))
    )
    kept = nms(boxes, scores, threshold)
    assert len(set(kept.tolist())) == len(kept)
    assert (np.diff(scores[kept]) <= 0).all()
    iou = box_iou(boxes[kept], boxes[kept])
    assert (iou[~np.eye(len(kept), dtype=bool)] <= threshold).all()
    dropped = sorted(set(range(len(boxes))) - set(kept.tolist()))
    for row in dropped:
        assert (box_iou(boxes[[row]], boxes[kept]) > threshold).any()


@pytest.mark.parametrize(
    ("size", "capped"),
    [
        ((300, 451), (300, 451)),
        ((1600, 2400), (1365, 2048)),  # 1365.33 is cut
        ((24, 60), (28, 60)),
        ((10, 10), (28, 28)),
        ((2048, 2048), (2048, 2048)),
        ((2, 5000), (28, 2048)),  # raised to 28, shrunk under it, raised again
        ((1, 1), (28, 28)),
    ],
)
def test_size_limits_of_the_reference(size: tuple[int, int], capped: tuple[int, int]) -> None:
    assert cap_size(size) == capped
    assert cap_size(size[::-1]) == capped[::-1]


@given(st.tuples(st.integers(1, 20000), st.integers(1, 20000)))
def test_capped_sides_are_within_limits_and_stay_there(size: tuple[int, int]) -> None:
    capped = cap_size(size)
    assert min(capped) >= 28
    assert max(capped) <= 2048
    assert cap_size(capped) == capped


def test_box_containment_is_one_where_a_box_holds_the_other() -> None:
    boxes = np.float32([[0, 0, 10, 10], [2, 2, 4, 4], [5, 5, 15, 15], [3, 3, 3, 8]])
    found = box_containment(boxes, boxes)
    np.testing.assert_allclose(found[0], [1, 1, 0.25, 0])
    np.testing.assert_allclose(found, found.T)


def test_nms_drops_parts_and_surroundings_when_asked() -> None:
    boxes = np.float32([[20, 20, 60, 60], [0, 0, 100, 100], [25, 25, 35, 35], [80, 0, 100, 20]])
    scores = np.float32([0.9, 0.8, 0.7, 0.6])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1, 2, 3]
    assert nms(boxes, scores, 0.5, 0.85).tolist() == [0, 3]
