"""Pooling equals the loops, and another runtime's operator, for maps and boxes of any kind."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fo1.models.pooling import axis_weights, box_embedding, pool_regions, pool_upsampled
from tests.fuzz.budget import fuzz
from tests.models.roi_align import roi_align_weights
from tests.models.test_pooling import onnx_roi_align, random_map, slow_embedding

SIDES = st.integers(1, 12)
STRIDES = st.sampled_from([1.0, 4.0, 3.5, 14.0, 28.0]) | st.floats(0.5, 40, width=32)
BINS = st.sampled_from([1, 2, 7, 14])
TOLERANCE = {"atol": 5e-6, "rtol": 1e-5}


@st.composite
def cells_boxes(draw: st.DrawFn, height: int, width: int, stride: float, most: int) -> Tensor:
    """Return (N, 4) boxes in pixels, inside, across and outside the map, some inverted."""

    def edges(length: int) -> st.SearchStrategy[float]:
        return st.one_of(
            st.floats(-length - 2, 2 * length + 2, width=32),
            st.integers(-2, length + 2).map(float),
            st.integers(-4, 2 * length + 4).map(lambda half: half / 2),
            st.sampled_from([-1.0, 0.0, length - 1.0, float(length), 1e-6, length - 1e-6]),
        )

    rows = st.tuples(edges(width), edges(height), edges(width), edges(height))
    boxes = draw(st.lists(rows, max_size=most))
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * stride


def far_from_decisions(boxes: Tensor, height: int, width: int, stride: float, bins: int) -> bool:
    """Return whether no rounding can move a sample over a border or change how many there are."""
    cells = boxes.numpy().astype(np.float64) * (1 / stride)
    for near, far, length in ((0, 2, width), (1, 3, height)):
        size = np.maximum(cells[:, far] - cells[:, near], 1) / bins
        count = np.ceil(size)
        if (np.abs(size - np.rint(size)) < 1e-4).any():
            return False
        for start, one, samples in zip(cells[:, near], size, count, strict=True):
            places = start + (np.arange(bins * samples) + 0.5) * one / samples
            if (np.abs(places + 1) < 1e-4).any() or (np.abs(places - length) < 1e-4).any():
                return False
    return True


@fuzz(st.data(), SIDES, SIDES, STRIDES, BINS, st.integers(0, 1000), examples=25)
def test_pooling_equals_the_loops(
    data: st.DataObject, height: int, width: int, stride: float, bins: int, seed: int
) -> None:
    boxes = data.draw(cells_boxes(height, width, stride, 3))
    feature_map = random_map(3, height, width, seed=seed)
    weights = torch.from_numpy(roi_align_weights(boxes.numpy(), height, width, stride, bins))
    expected = torch.einsum("nhw,chw->nc", weights, feature_map.double()).float()
    torch.testing.assert_close(
        pool_regions(feature_map, boxes, stride, bins), expected, **TOLERANCE
    )


@cache
def session(stride: float, bins: int) -> Any:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(
        onnx_roi_align(stride, bins), options, providers=["CPUExecutionProvider"]
    )


@fuzz(
    st.data(),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1.0, 4.0, 3.5, 7.3, 14.0, 28.0, 0.75]),
    BINS,
    st.integers(0, 1000),
    examples=40,
)
def test_pooling_equals_onnxruntime(
    data: st.DataObject, height: int, width: int, stride: float, bins: int, seed: int
) -> None:
    boxes = data.draw(cells_boxes(height, width, stride, 8))
    assume(len(boxes))
    assume(far_from_decisions(boxes, height, width, stride, bins))
    feature_map = random_map(4, height, width, seed=seed)
    feed = {
        "map": feature_map[None].numpy(),
        "boxes": boxes.numpy(),
        "batch": np.zeros(len(boxes), np.int64),
    }
    (aligned,) = session(stride, bins).run(None, feed)
    expected = torch.from_numpy(aligned).double().mean((-1, -2)).float()
    torch.testing.assert_close(
        pool_regions(feature_map, boxes, stride, bins), expected, **TOLERANCE
    )


@fuzz(
    st.data(),
    st.tuples(SIDES, SIDES),
    st.lists(st.tuples(SIDES, SIDES), max_size=3),
    STRIDES,
    BINS,
    examples=25,
)
def test_coarse_maps_are_pooled_as_if_upsampled(
    data: st.DataObject,
    size: tuple[int, int],
    others: list[tuple[int, int]],
    stride: float,
    bins: int,
) -> None:
    sizes = [size, *(tuple(map(min, size, other)) for other in others)]
    maps = [random_map(2 + place, *each, seed=place) for place, each in enumerate(sizes)]
    boxes = data.draw(cells_boxes(*size, stride, 3))
    full = [
        F.interpolate(each[None], size, mode="bilinear", align_corners=False)[0] for each in maps
    ]
    weights = torch.from_numpy(roi_align_weights(boxes.numpy(), *size, stride, bins))
    expected = torch.einsum("nhw,chw->nc", weights, torch.cat(full).double()).float()
    pooled = pool_upsampled(maps, boxes, stride, bins)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)


@fuzz(st.data(), st.integers(1, 40), STRIDES, BINS)
def test_weights_are_shares_that_do_not_depend_on_other_boxes(
    data: st.DataObject, length: int, stride: float, bins: int
) -> None:
    boxes = data.draw(cells_boxes(length, length, stride, 6))
    weights = axis_weights(boxes[:, 0], boxes[:, 2], length, 1 / stride, bins)
    assert weights.shape == (len(boxes), length)
    assert (weights >= 0).all()
    assert (weights.sum(1) <= 1 + 1e-5).all()
    for row, box in enumerate(boxes):
        alone = axis_weights(box[None, 0], box[None, 2], length, 1 / stride, bins)[0]
        assert torch.equal(alone, weights[row])


@fuzz(
    st.lists(st.tuples(*[st.floats(-50, 700, width=32)] * 4), min_size=1, max_size=4),
    st.tuples(st.floats(1, 2000, width=32), st.floats(1, 2000, width=32)),
    st.integers(1, 16).map(lambda part: 4 * part),
    examples=25,
)
def test_box_embedding_equals_the_loop(
    boxes: list[tuple[float, ...]], frame: tuple[float, float], width: int
) -> None:
    expected = torch.tensor([slow_embedding(list(box), frame, width) for box in boxes])
    # Float32 angles are as far off as their size; a box of the frame has angles up to 2 pi.
    turns = max(abs(side) for box in boxes for side in box) / min(frame)
    embedded = box_embedding(torch.tensor(boxes), frame, width)
    torch.testing.assert_close(embedded, expected, atol=5e-6 * (1 + turns), rtol=0)
