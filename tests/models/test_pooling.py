"""Pooling as matrix products against RoIAlign as loops, against onnxruntime, and its properties."""

import math
import struct
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fo1.models import pooling
from fo1.models.pooling import (
    apply_weights,
    axis_weights,
    box_embedding,
    pool_contrasts,
    pool_regions,
    pool_upsampled,
    upsampling_matrix,
)
from tests.models.roi_align import odd_boxes, roi_align_weights

MAP_SIZES = [(9, 13), (1, 1), (2, 21)]
STRIDES = [4.0, 3.5, 14.0, 28.0]
TOLERANCE = {"atol": 2e-6, "rtol": 1e-5}


def random_map(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_boxes(count: int, height: float, width: float, seed: int = 1) -> Tensor:
    """Return (N, 4) proper boxes that reach up to a fifth beyond the picture."""
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * 1.4 - 0.2
    near, far = corners.amin(1), corners.amax(1)
    return torch.cat([near, far], dim=-1) * torch.tensor([width, height] * 2)


def by_loops(feature_map: Tensor, boxes: Tensor, stride: float, bins: int) -> Tensor:
    """Return (N, C) from the loops; float64 sums over the kernel's float32 coordinates."""
    weights = roi_align_weights(boxes.numpy(), *feature_map.shape[-2:], stride, bins)
    return torch.einsum("nhw,chw->nc", torch.from_numpy(weights), feature_map.double())


@pytest.mark.parametrize("bins", [7, 14, 1])
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", MAP_SIZES)
def test_odd_boxes_equal_the_loops(size: tuple[int, int], stride: float, bins: int) -> None:
    feature_map = random_map(3, *size).requires_grad_()
    boxes = torch.from_numpy(odd_boxes(*size, stride))
    pooled = pool_regions(feature_map, boxes, stride, bins)
    weights = torch.from_numpy(roi_align_weights(boxes.numpy(), *size, stride, bins))
    expected = torch.einsum("nhw,chw->nc", weights, feature_map.detach().double())
    torch.testing.assert_close(pooled, expected.float(), **TOLERANCE)

    upstream = random_map(*pooled.shape, seed=2)
    pooled.backward(upstream)
    gradient = torch.einsum("nc,nhw->chw", upstream.double(), weights)
    torch.testing.assert_close(feature_map.grad, gradient.float(), **TOLERANCE)


@pytest.mark.parametrize("bins", [7, 14])
@pytest.mark.parametrize("stride", STRIDES)
def test_random_boxes_equal_loops_in_float64(stride: float, bins: int) -> None:
    """No sample of these lies on a decision, so exact coordinates give the same."""
    height, width = 12, 17
    boxes = random_boxes(6, height * stride, width * stride)
    feature_map = random_map(2, height, width)
    weights = roi_align_weights(boxes.numpy(), height, width, stride, bins, number=np.float64)
    expected = torch.einsum("nhw,chw->nc", torch.from_numpy(weights), feature_map.double())
    pooled = pool_regions(feature_map, boxes, stride, bins)
    torch.testing.assert_close(pooled, expected.float(), atol=2e-5, rtol=1e-5)


def test_loops_see_the_border_rules() -> None:
    """The oracle itself, on cases small enough to do by hand."""
    inside, outside, clamped = roi_align_weights(
        [[1, 1, 2, 2], [-2.5, 0, -1.5, 1], [-1.4, 0, -0.4, 1]], 4, 4, 1.0, 1
    )
    assert inside[1:3, 1:3].tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert outside.sum() == 0
    assert clamped[:2, 0].tolist() == [0.5, 0.5]


# One RoiAlign node as a serialised ONNX model: the package that builds such files is not needed.
def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | float | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _attribute(name: str, value: int | float | str) -> bytes:
    place, kind = {int: (3, 2), float: (2, 1), str: (4, 3)}[type(value)]
    return _field(5, _field(1, name) + _field(place, value) + _field(20, kind))


def _value(place: int, name: str, element: int) -> bytes:
    return _field(place, _field(1, name) + _field(2, _field(1, _field(1, element))))


def onnx_roi_align(stride: float, bins: int) -> bytes:
    node = b"".join(_field(1, name) for name in ("map", "boxes", "batch"))
    node += _field(2, "out") + _field(4, "RoiAlign")
    node += _attribute("coordinate_transformation_mode", "output_half_pixel")
    node += _attribute("mode", "avg") + _attribute("sampling_ratio", 0)
    node += _attribute("output_height", bins) + _attribute("output_width", bins)
    node += _attribute("spatial_scale", 1 / stride)
    graph = _field(1, node) + _field(2, "g") + _value(11, "map", 1) + _value(11, "boxes", 1)
    graph += _value(11, "batch", 7) + _value(12, "out", 1)
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 16))


@pytest.mark.parametrize("bins", [7, 14, 1])
@pytest.mark.parametrize("stride", STRIDES)
def test_equals_onnxruntime(stride: float, bins: int) -> None:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(
        onnx_roi_align(stride, bins), providers=["CPUExecutionProvider"]
    )
    for height, width in [*MAP_SIZES, (40, 33)]:
        boxes = torch.cat(
            [
                torch.from_numpy(odd_boxes(height, width, stride)),
                random_boxes(30, height * stride, width * stride),
            ]
        )
        feature_map = random_map(4, height, width)
        feed = {
            "map": feature_map[None].numpy(),
            "boxes": boxes.numpy(),
            "batch": np.zeros(len(boxes), np.int64),
        }
        (aligned,) = session.run(None, feed)  # (N, C, bins, bins)
        pooled = pool_regions(feature_map, boxes, stride, bins)
        torch.testing.assert_close(
            pooled, torch.from_numpy(aligned).double().mean((-1, -2)).float(), **TOLERANCE
        )


@pytest.mark.parametrize(
    "sizes", [[(24, 20), (12, 10), (6, 5)], [(13, 19), (7, 10), (4, 5), (2, 3)]]
)
def test_upsampled_pooling_equals_interpolate_then_concatenate(
    sizes: list[tuple[int, int]],
) -> None:
    maps = [random_map(2 + i, *size, seed=i).requires_grad_() for i, size in enumerate(sizes)]
    boxes = torch.from_numpy(odd_boxes(*sizes[0], 4.0))
    pooled = pool_upsampled(maps, boxes, 4.0, 7)

    full = [m[None] for m in maps[:1]] + [
        F.interpolate(m[None], sizes[0], mode="bilinear", align_corners=False) for m in maps[1:]
    ]
    weights = roi_align_weights(boxes.numpy(), *sizes[0], 4.0, 7)
    expected = torch.einsum("nhw,chw->nc", torch.from_numpy(weights).float(), torch.cat(full, 1)[0])
    torch.testing.assert_close(pooled, expected, atol=5e-6, rtol=1e-5)

    upstream = random_map(*pooled.shape, seed=9)
    ours = torch.autograd.grad(pooled, maps, upstream)
    theirs = torch.autograd.grad(expected, maps, upstream)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("fine", "coarse"), [(8, 4), (7, 4), (5, 1), (3, 3), (75, 38)])
def test_upsampling_matrix_is_linear_interpolation(fine: int, coarse: int) -> None:
    matrix = upsampling_matrix(fine, coarse)
    signal = random_map(1, 1, coarse)
    expected = F.interpolate(signal, size=fine, mode="linear", align_corners=False)[0, 0]
    torch.testing.assert_close(matrix @ signal[0, 0], expected)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(fine))


def test_low_precision_map_keeps_float32_weights_and_sum() -> None:
    feature_map = random_map(3, 16, 16).bfloat16()
    boxes = random_boxes(8, 64, 64)
    pooled = pool_regions(feature_map, boxes, 4.0, 7)
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, pool_regions(feature_map.float(), boxes, 4.0, 7))


def test_autocast_does_not_reach_the_pooling() -> None:
    """Training in mixed precision must not round the weights to 8 bits."""
    maps = [random_map(3, 16, 16), random_map(3, 8, 8)]
    boxes = random_boxes(8, 64, 64)
    expected = pool_upsampled(maps, boxes, 4.0, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pool_upsampled(maps, boxes, 4.0, 7), expected)


def test_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    feature_map, boxes = random_map(3, 12, 15), random_boxes(11, 48, 60)
    whole = pool_regions(feature_map, boxes, 4.0, 7)
    monkeypatch.setattr(pooling, "MAX_WEIGHT_ELEMENTS", 12 * 15 * 2)
    torch.testing.assert_close(pool_regions(feature_map, boxes, 4.0, 7), whole)
    monkeypatch.setattr(pooling, "MAX_WEIGHT_ELEMENTS", 1)  # under one map: one region at a time
    torch.testing.assert_close(pool_regions(feature_map, boxes, 4.0, 7), whole)


@pytest.mark.parametrize("last", [False, True])
def test_tiles_give_the_same(last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to a backward pass, and where the map's sides are no multiples of a tile's."""
    feature_map, boxes = random_map(3, 21, 15), random_boxes(11, 84, 60)
    boxes[0] = torch.tensor([-500.0, -500.0, -400.0, -400.0])  # reaches no tile
    if last:
        feature_map = feature_map.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    feature_map.requires_grad_()
    whole = pool_regions(feature_map, boxes, 4.0, 7)
    (expected,) = torch.autograd.grad(whole.square().sum(), feature_map)
    for tile in (1, 4, 16):
        monkeypatch.setattr(pooling, "TILE", tile)
        pooled = pool_regions(feature_map, boxes, 4.0, 7)
        torch.testing.assert_close(pooled, whole, **TOLERANCE)
        (gradient,) = torch.autograd.grad(pooled.square().sum(), feature_map)
        torch.testing.assert_close(gradient, expected, **TOLERANCE)


def test_no_boxes() -> None:
    maps = [random_map(3, 8, 8).requires_grad_(), random_map(5, 4, 4)]
    pooled = pool_upsampled(maps, torch.zeros(0, 4), 4.0, 7)
    assert pooled.shape == (0, 8)
    assert pooled.dtype == torch.float32
    pooled.sum().backward()


def test_huge_box() -> None:
    """A box of a million cells costs samples along each axis, not over the area."""
    weights = axis_weights(torch.tensor([0.0]), torch.tensor([1e6]), 8, 1.0, 7)
    assert weights.shape == (1, 8)
    assert float(weights.sum()) <= 9e-6 * 1.01


edges = st.floats(-60, 120, width=32)
strides = st.sampled_from(STRIDES)
bin_counts = st.sampled_from([1, 7, 14])
lengths = st.integers(1, 30)


@settings(deadline=None)
@given(low=edges, high=edges, length=lengths, stride=strides, bins=bin_counts)
def test_weights_are_shares(low: float, high: float, length: int, stride: float, bins: int) -> None:
    weights = axis_weights(torch.tensor([low]), torch.tensor([high]), length, 1 / stride, bins)[0]
    assert float(weights.min()) >= 0
    assert float(weights.sum()) <= 1 + 1e-5
    start, end = low / stride, max(high / stride, low / stride + 1)
    if start > -1 and end < length:
        assert math.isclose(float(weights.sum()), 1, abs_tol=1e-5)
    cells = torch.arange(length)
    away = (cells < math.floor(max(start, 0)) - 1) | (cells > math.ceil(end) + 1)
    assert not weights[away].any()


@settings(deadline=None)
@given(
    steps=st.tuples(st.integers(0, 512), st.integers(0, 512)),
    shift=st.integers(1, 12),
    bins=bin_counts,
)
def test_weights_move_with_the_box(steps: tuple[int, int], shift: int, bins: int) -> None:
    """By whole cells inside the map.

    Coordinates are whole 64ths, so that no rounding moves a side over one of the lengths at which adaptive sampling
    takes a sample more: RoIAlign jumps there.
    """
    low, size = (step / 64 for step in steps)
    lows = torch.tensor([low, low + shift * 4])
    here, there = axis_weights(lows, lows + size, 32, 0.25, bins)
    torch.testing.assert_close(there[shift:], here[:-shift], atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), stride=strides, bins=bin_counts)
def test_pooling_is_linear_and_treats_boxes_alone(seed: int, stride: float, bins: int) -> None:
    a, b = random_map(2, 7, 9, seed=seed), random_map(2, 7, 9, seed=seed + 1)
    boxes = random_boxes(5, 7 * stride, 9 * stride, seed=seed)
    both = pool_regions(2 * a - 3 * b, boxes, stride, bins)
    apart = 2 * pool_regions(a, boxes, stride, bins) - 3 * pool_regions(b, boxes, stride, bins)
    torch.testing.assert_close(both, apart, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(
        pool_regions(a, boxes.flip(0), stride, bins), pool_regions(a, boxes, stride, bins).flip(0)
    )
    for row, box in enumerate(boxes):
        torch.testing.assert_close(
            pool_regions(a, box[None], stride, bins)[0], pool_regions(a, boxes, stride, bins)[row]
        )


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), bins=bin_counts)
def test_frame_and_stride_scale_together(seed: int, bins: int) -> None:
    feature_map, boxes = random_map(2, 7, 9, seed=seed), random_boxes(5, 28, 36, seed=seed)
    assert torch.equal(
        pool_regions(feature_map, boxes, 4.0, bins), pool_regions(feature_map, boxes * 2, 8.0, bins)
    )


def test_apply_weights_is_the_double_sum() -> None:
    feature_map, rows, columns = random_map(2, 4, 5), random_map(3, 4), random_map(3, 5, seed=1)
    expected = torch.zeros(3, 2)
    for n, c, y, x in np.ndindex(3, 2, 4, 5):
        expected[n, c] += rows[n, y] * columns[n, x] * feature_map[c, y, x]
    torch.testing.assert_close(apply_weights(feature_map, rows, columns), expected)


def test_contrasts_are_the_differences_of_the_halves() -> None:
    """Quarters one by one, by the loops; the halves' means are those of two quarters."""
    feature_map, boxes = random_map(3, 24, 30), random_boxes(7, 24 * 4.0, 30 * 4.0)
    found = pool_contrasts(feature_map, boxes, 4.0, 7)
    for box, row in zip(boxes, found, strict=True):
        x1, y1, x2, y2 = box.tolist()
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        parts = [(x1, y1, x, y), (x, y1, x2, y), (x1, y, x, y2), (x, y, x2, y2)]
        ul, ur, ll, lr = (by_loops(feature_map, torch.tensor([p]), 4.0, 7)[0] for p in parts)
        halves = [(ul + ll, ur + lr), (ul + ur, ll + lr), (ul + lr, ur + ll)]
        slow = torch.cat([(one - other) / 4 for one, other in halves])
        torch.testing.assert_close(row, slow.float(), atol=2e-5, rtol=1e-4)


def test_contrasts_see_where_and_not_how_much() -> None:
    """A brighter map changes nothing; on a ramp only left and right differ."""
    feature_map, box = random_map(2, 16, 16), torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    found = pool_contrasts(feature_map, box, 4.0, 7).view(3, 2)
    brighter = pool_contrasts(feature_map + 5, box, 4.0, 7).view(3, 2)
    torch.testing.assert_close(brighter, found, atol=1e-5, rtol=1e-4)
    ramp = torch.arange(16.0).expand(1, 16, 16)
    left, top, slanting = pool_contrasts(ramp, box, 4.0, 7).flatten().tolist()
    assert left == pytest.approx(
        -2.0, abs=1e-4
    )  # half of the 4 cells between the quarters' middles
    assert (top, slanting) == pytest.approx((0.0, 0.0), abs=1e-4)
    assert pool_contrasts(feature_map, box[:0], 4.0, 7).shape == (0, 6)


def slow_embedding(box: list[float], frame: tuple[float, float], width: int) -> list[float]:
    x1, y1, x2, y2 = box
    values = [
        (y1 + y2) / 2 / frame[1],
        (x1 + x2) / 2 / frame[0],
        (x2 - x1) / frame[0],
        (y2 - y1) / frame[1],
    ]
    out = []
    for value in values:
        for i in range(width // 4):
            angle = value * 2 * math.pi / 10000 ** (2 * (i // 2) / (width // 4))
            out.append(math.cos(angle) if i % 2 else math.sin(angle))
    return out


@pytest.mark.parametrize("width", [4, 12, 304, 5888])
def test_box_embedding_equals_the_loop(width: int) -> None:
    boxes = [[0, 0, 640, 400], [10.5, 20.25, 30, 300], [600, 399, 640, 400], [5, 5, 5, 5]]
    expected = torch.tensor([slow_embedding(box, (640, 400), width) for box in boxes])
    embedded = box_embedding(torch.tensor(boxes), (640, 400), width)
    assert embedded.shape == (4, width)
    torch.testing.assert_close(embedded, expected, atol=2e-6, rtol=0)
    assert box_embedding(torch.zeros(0, 4), (640, 400), width).shape == (0, width)


def test_box_embedding_tells_the_four_numbers_apart() -> None:
    """One number changes, one block changes: centre y, centre x, width, height."""
    base = torch.tensor([[100.0, 100, 200, 200]])
    moves = {
        0: [0, 20, 0, 20],
        1: [20, 0, 20, 0],
        2: [-10, 0, 10, 0],
        3: [0, -10, 0, 10],
    }
    for block, move in moves.items():
        change = box_embedding(base + torch.tensor(move), (640, 400), 64)[0]
        changed = (change - box_embedding(base, (640, 400), 64)[0]).abs() > 1e-4
        blocks = {int(index) // 16 for index in changed.nonzero()}
        assert blocks == {block}


def test_box_embedding_width_must_split_in_four() -> None:
    with pytest.raises(ValueError, match="width 302"):
        box_embedding(torch.zeros(1, 4), (10, 10), 302)


def test_odd_boxes_try_every_rule() -> None:
    """Guards the oracle's inputs: outside samples, zero sizes and inversions do occur."""
    boxes = odd_boxes(9, 13, 4.0)
    sums = roi_align_weights(boxes, 9, 13, 4.0, 7).sum((1, 2))
    assert (sums == 0).any()
    assert ((sums > 0.05) & (sums < 0.95)).any()
    assert (boxes[:, 2] < boxes[:, 0]).any()
    assert (boxes[:, 2] == boxes[:, 0]).any()
    assert all(a != b for a, b in pairwise(boxes.tolist()))
