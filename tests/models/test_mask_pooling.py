"""Pooling under masks: against loops, against boxes, and as the weighted mean that it claims to be."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fo1.models import mask_pooling
from fo1.models.pooling import pool_contrasts, pool_map_embedding, pool_regions, pool_upsampled
from fo1.models.roi_align import axis_weights, part_weights
from tests.models.roi_align import odd_boxes, roi_align_weights
from tests.models.test_pooling import MAP_SIZES, STRIDES, TOLERANCE, random_boxes, random_map

PARTS = 6


def random_masks(count: int, parts: int = PARTS, seed: int = 3) -> Tensor:
    """Return (N, M, M) masks, half of whose parts are empty, some half covered."""
    drawn = torch.rand(count, parts, parts, generator=torch.Generator().manual_seed(seed))
    masks = (2 * drawn - 1).clamp(min=0)
    masks[:, 0, -1] = 1  # none covers nothing
    return masks


def corner(count: int, parts: int = PARTS) -> Tensor:
    """Return masks of the lower right quarter of each box."""
    masks = torch.zeros(count, parts, parts)
    masks[:, parts // 2 :, parts // 2 :] = 1
    return masks


@pytest.mark.parametrize("bins", [7, 1, 4])
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", MAP_SIZES)
def test_equals_the_loops(size: tuple[int, int], stride: float, bins: int) -> None:
    boxes = torch.from_numpy(odd_boxes(*size, stride))[::2]
    masks = random_masks(len(boxes), 3 if bins == 7 else PARTS)
    feature_map = random_map(3, *size).requires_grad_()
    weights = torch.from_numpy(
        roi_align_weights(boxes.numpy(), *size, stride, bins, masks=masks.numpy())
    )
    pooled = pool_regions(feature_map, boxes, stride, bins, masks)
    expected = torch.einsum("nhw,chw->nc", weights, feature_map.detach().double())
    torch.testing.assert_close(pooled, expected.float(), atol=1e-5, rtol=1e-5)
    upstream = random_map(*pooled.shape, seed=2)
    pooled.backward(upstream)
    gradient = torch.einsum("nc,nhw->chw", upstream.double(), weights)
    torch.testing.assert_close(feature_map.grad, gradient.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 6, 56])
@pytest.mark.parametrize("stride", STRIDES)
def test_a_whole_mask_is_its_box(stride: float, parts: int) -> None:
    """At any size, across the borders of the map and under one cell, with fractional edges, for all ways to pool."""
    maps = [random_map(8, 14, 19), random_map(4, 7, 10), random_map(4, 4, 5)]
    height, width = 14 * stride, 19 * stride
    boxes = torch.cat(
        [torch.from_numpy(odd_boxes(14, 19, stride)), random_boxes(20, height, width)]
    )
    ones = torch.ones(len(boxes), parts, parts)
    for bins in (1, 7):
        ways = [pool_upsampled, pool_map_embedding]
        for pool in ways:
            box, mask = pool(maps, boxes, stride, bins), pool(maps, boxes, stride, bins, ones)
            torch.testing.assert_close(mask, box, **TOLERANCE)
        if parts > 1:
            box = pool_contrasts(maps[0], boxes, stride, bins)
            mask = pool_contrasts(maps[0], boxes, stride, bins, ones)
            torch.testing.assert_close(mask, box, **TOLERANCE)


@pytest.mark.parametrize("stride", STRIDES)
def test_an_l_and_the_corner_that_it_lacks_make_the_box(stride: float) -> None:
    """Three quarters of what the L shows and one of what the corner shows are what the box shows."""
    feature_map = random_map(5, 14, 19)
    boxes = random_boxes(20, 14 * stride, 19 * stride)
    missing = corner(len(boxes))
    box, whole_l, part = (
        pool_regions(feature_map, boxes, stride, 7, masks) for masks in (None, 1 - missing, missing)
    )
    torch.testing.assert_close(0.75 * whole_l + 0.25 * part, box, **TOLERANCE)
    inside = (boxes[:, :2].amin(1) > 0) & (boxes[:, 3] < 14 * stride) & (boxes[:, 2] < 19 * stride)
    assert inside.sum() > 5
    assert ((whole_l - box).abs().amax(1) > 1e-3)[inside].all()


def test_an_l_does_not_see_what_lies_in_its_corner() -> None:
    boxes = torch.tensor([[8.0, 8.0, 88.0, 88.0]])
    lit = torch.zeros(1, 24, 24)
    lit[:, 14:20, 14:20] = 1  # well within the lower right quarter
    masks = 1 - corner(1, 56)
    assert pool_regions(lit, boxes, 4.0, 7) > 0.05
    assert pool_regions(lit, boxes, 4.0, 7, masks) == 0
    assert pool_regions(1 - lit, boxes, 4.0, 7, masks).sub(1).abs() < 1e-6


def test_a_mask_on_the_grid_is_the_box_around_it() -> None:
    """Where parts, samples and cells fall together, the lower right quarter is that quarter's own box."""
    feature_map = random_map(4, 32, 32)
    boxes = torch.tensor(
        [[16.0, 16.0, 72.0, 72.0]]
    )  # 14 cells: 7 bins of 2 samples; quarters of 7 cells
    quarter = torch.tensor([[44.0, 44.0, 72.0, 72.0]])
    masked = pool_regions(feature_map, boxes, 4.0, 7, corner(1, 56))
    torch.testing.assert_close(masked, pool_regions(feature_map, quarter, 4.0, 7), **TOLERANCE)


def test_maps_are_upsampled_in_the_weights() -> None:
    maps = [random_map(2, 12, 16), random_map(3, 6, 8), random_map(2, 3, 5)]
    boxes, masks = random_boxes(9, 48, 64), random_masks(9)
    fine = [F.interpolate(m[None], size=(12, 16), mode="bilinear")[0] for m in maps]
    expected = pool_regions(torch.cat(fine), boxes, 4.0, 7, masks)
    torch.testing.assert_close(pool_upsampled(maps, boxes, 4.0, 7, masks), expected, **TOLERANCE)


def test_map_embedding_is_that_of_the_embedded_map() -> None:
    from tests.models.slow_region_encoder import map_embedding

    maps = [torch.zeros(8, 12, 16), torch.zeros(4, 6, 8)]
    boxes, masks = random_boxes(9, 48, 64), random_masks(9)
    places = [map_embedding(*m.shape) for m in maps]
    expected = pool_upsampled(places, boxes, 4.0, 7, masks)
    torch.testing.assert_close(
        pool_map_embedding(maps, boxes, 4.0, 7, masks), expected, atol=1e-5, rtol=1e-5
    )


def test_contrasts_compare_what_is_covered() -> None:
    flat = torch.full((3, 20, 20), 2.0)
    boxes, masks = torch.tensor([[8.0, 8.0, 72.0, 72.0]]), 1 - corner(1)
    assert pool_contrasts(flat, boxes, 4.0, 7, masks).abs().max() < 1e-6  # a shape alone makes none
    feature_map = random_map(3, 20, 20)
    left, right = (random_masks(1), random_masks(1, seed=4))
    parts = [pool_contrasts(feature_map, boxes, 4.0, 7, m) for m in (left, right)]
    assert (parts[0] - parts[1]).abs().max() > 1e-3


def test_parts_add_up_to_the_axis() -> None:
    low, high = torch.tensor([0.0, -9.0, 3.3, 60.0]), torch.tensor([64.0, 20.0, 3.4, 99.0])
    whole = axis_weights(low, high, 16, 0.25, 7)
    parts = part_weights(low, high, 16, 0.25, 7, 56)
    assert parts.shape == (4, 56, 16)
    torch.testing.assert_close(parts.sum(1), whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(parts[0].sum(1), torch.full((56,), 1 / 56), atol=1e-6, rtol=1e-6)


def test_chunks_none_and_low_precision_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, boxes, masks = [random_map(3, 12, 15)], random_boxes(11, 48, 60), random_masks(11)
    whole = pool_upsampled(maps, boxes, 4.0, 7, masks)
    embedded = pool_map_embedding([random_map(4, 12, 15)], boxes, 4.0, 7, masks)
    monkeypatch.setattr(mask_pooling, "MAX_WEIGHT_ELEMENTS", 12 * 15 * 4)
    torch.testing.assert_close(pool_upsampled(maps, boxes, 4.0, 7, masks), whole, **TOLERANCE)
    again = pool_map_embedding([random_map(4, 12, 15)], boxes, 4.0, 7, masks)
    torch.testing.assert_close(again, embedded, **TOLERANCE)
    assert pool_upsampled(maps, boxes[:0], 4.0, 7, masks[:0]).shape == (0, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = pool_upsampled(maps, boxes, 4.0, 7, masks)
    torch.testing.assert_close(low, whole, **TOLERANCE)
