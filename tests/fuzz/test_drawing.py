"""Any detections can be drawn on any picture, and nothing else changes."""

import io

import numpy as np
from hypothesis import example
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fo1.results import Detections
from fo1.visualize import draw
from tests.fuzz.budget import fuzz
from tests.fuzz.test_geometry import some_boxes
from tests.fuzz.texts import HOSTILE

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 240))
LABELS = st.one_of(HOSTILE, st.sampled_from(["", "cat", "x" * 400, "\n", "\ud800", "a\tb"]))
SCORES = st.floats(0, 1, width=32)


def detections(
    boxes: np.ndarray, size: tuple[int, int], labels: list[str], scores: list[float]
) -> Detections:
    count = len(boxes)
    names = [labels[place % len(labels)] for place in range(count)]
    values = [scores[place % len(scores)] for place in range(count)]
    return Detections(boxes, tuple(names), np.float32(values), np.arange(count), size)


@fuzz(
    some_boxes(most=12),
    st.tuples(SIDES, SIDES),
    st.lists(LABELS, min_size=1, max_size=4),
    st.lists(SCORES, min_size=1, max_size=4),
    st.booleans(),
    examples=25,
)
@example(np.float32([[0, 0, 5, 5]]), (9, 9), ["\ud800"], [0.5], True)
def test_anything_can_be_drawn(
    boxes: np.ndarray,
    size: tuple[int, int],
    labels: list[str],
    scores: list[float],
    show_scores: bool,
) -> None:
    height, width = size
    picture = Image.new("RGB", (width, height), (120, 130, 140))
    before = picture.tobytes()
    found = detections(boxes, size, labels, scores)
    drawn = draw(picture, found, show_scores=show_scores)
    assert drawn.size == picture.size
    assert drawn.mode == "RGB"
    assert picture.tobytes() == before
    assert (drawn.tobytes() == before) == (not len(boxes))
    assert draw(picture, found, show_scores=show_scores).tobytes() == drawn.tobytes()
    drawn.save(io.BytesIO(), "PNG")


@fuzz(some_boxes(least=1, most=4), st.integers(30, 120), st.integers(30, 120), examples=25)
def test_far_from_boxes_nothing_changes(boxes: np.ndarray, height: int, width: int) -> None:
    """Without labels only the boxes and a thin edge around them are painted."""
    colours = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = detections(boxes, (height, width), [""], [0.5])
    drawn = np.asarray(draw(colours, found, show_scores=False))
    away = np.ones((height, width), dtype=bool)
    edge = 2
    for x1, y1, x2, y2 in boxes.clip(0, [width, height] * 2).tolist():
        x1, y1 = min(int(x1), width - 1), min(int(y1), height - 1)
        rows = slice(max(y1 - edge, 0), max(round(y2), y1 + 1) + edge)
        away[rows, max(x1 - edge, 0) : max(round(x2), x1 + 1) + edge] = False
    np.testing.assert_array_equal(drawn[away], colours[away])


@fuzz(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=30)))
def test_no_detections_give_the_picture(pixels: np.ndarray) -> None:
    pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    drawn = draw(pixels, Detections.empty(pixels.shape[:2]))
    np.testing.assert_array_equal(np.asarray(drawn), pixels)
