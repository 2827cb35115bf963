"""Region pooling as two matrix products.

The method mean-pools every RoIAlign output (Source: arXiv 2509.25916; RoIAlign: arXiv 1703.06870). A mean over bins of
a mean over bilinear samples is a linear functional of the map, and its weights separate into a row and a column factor:

    pooled[n, c] = sum_yx  w_y[n, y] * w_x[n, x] * map[c, y, x]

so no (N, C, 7, 7) tensor and no compiled operator is needed. On a CPU the map is taken in tiles, since most regions
reach into few of them. Up-sampling a coarser map is linear and separable as
well, so its matrix is folded into the weights and each map is pooled at its own resolution.

Legend: N regions, C channels, H W map size, L length of one axis, R bins per axis (`output_size`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fo1.models.mask_pooling import (
    MAX_WEIGHT_ELEMENTS,
    cover,
    masked_axes,
    pool_masked,
    quarter_masks,
)
from fo1.models.roi_align import axis_weights, upsampling_matrix

TILE = 32
"""Cells along a side of a tile, which is multiplied with the regions that reach into it alone."""


def apply_weights(feature_map: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (N, C) float32: the map summed under the outer product of each region's row and column weights.

    Args:
        feature_map: (C, H, W).
        rows: (N, H) float32.
        columns: (N, W) float32.
    """
    height, width = feature_map.shape[-2:]
    if feature_map.device.type != "cpu" or height * width <= TILE**2 or not len(rows):
        return _apply_to_tile(feature_map, rows, columns)
    # Most regions reach few tiles. Elsewhere than on a CPU, asking which would wait for the device.
    pooled = rows.new_zeros(len(rows), len(feature_map))
    # Where channels stand last a tile is cheap to gather; else it is whole rows, which need no gathering.
    across = TILE if feature_map.stride(0) == 1 else width
    down = -(-(TILE**2) // across)
    columns_of = [(own, own.any(1)) for own in columns.split(across, dim=1)]
    for strip, high in zip(feature_map.split(down, dim=1), rows.split(down, dim=1), strict=True):
        reach = high.any(1)
        for tile, (wide, inside) in zip(strip.split(across, dim=2), columns_of, strict=True):
            chosen = (reach & inside).nonzero().flatten()
            if len(chosen):
                pooled.index_add_(0, chosen, _apply_to_tile(tile, high[chosen], wide[chosen]))
    return pooled


def _apply_to_tile(feature_map: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the same by one matrix product, a chunk of regions at a time."""
    channels, height, width = feature_map.shape
    # (C, H, W) -> (H W, C), a view whether channels stand first or last in memory
    flat = feature_map.permute(1, 2, 0).flatten(0, 1).float()
    chunk = max(1, MAX_WEIGHT_ELEMENTS // max(1, height * width))
    parts = [
        (y[:, :, None] * x[:, None, :]).flatten(1) @ flat
        for y, x in zip(rows.split(chunk), columns.split(chunk), strict=True)
    ]
    return torch.cat(parts) if parts else flat.new_zeros(0, channels)


def pool_regions(
    feature_map: Tensor,
    boxes: Tensor,
    stride: float,
    output_size: int,
    masks: Tensor | None = None,
) -> Tensor:
    """Return (N, C) float32: RoIAlign of each box followed by the mean over its bins.

    Args:
        feature_map: (C, H, W), any float type; weights and sum stay float32.
        boxes: (N, 4) xyxy, pixels of the encoder's input.
        stride: pixels per cell.
        output_size: R, bins per axis.
        masks: (N, M, M), what counts of each box, see `mask_pooling`; all of it if not given.
    """
    return pool_upsampled([feature_map], boxes, stride, output_size, masks)


def pool_upsampled(
    maps: Sequence[Tensor],
    boxes: Tensor,
    stride: float,
    output_size: int,
    masks: Tensor | None = None,
) -> Tensor:
    """Return (N, sum C): every map up-sampled to the first one, concatenated and mean-pooled by RoIAlign.

    Only the weights are up-sampled, never the maps.

    Args:
        maps: (C_l, H_l, W_l) each; the first, finest one defines the grid.
        boxes: (N, 4) xyxy, pixels of the encoder's input.
        stride: pixels per cell of the first map.
        output_size: R, bins per axis.
        masks: as in `pool_regions`.
    """
    # Mixed precision would otherwise round weights and sums to 8 bits.
    with torch.autocast(maps[0].device.type, enabled=False):
        if masks is not None:
            return pool_masked(maps, boxes, masks, stride, output_size)
        weights = level_weights(maps, boxes, stride, output_size)
        pooled = [apply_weights(m, *own) for m, own in zip(maps, weights, strict=True)]
        return torch.cat(pooled, dim=-1)


def pool_contrasts(
    feature_map: Tensor,
    boxes: Tensor,
    stride: float,
    output_size: int,
    masks: Tensor | None = None,
) -> Tensor:
    """Return (N, 3 C) float32: how the halves of each box differ, left from right, top from bottom, and crosswise.

    A mean over a box forgets where in it things lie; these three keep the coarsest of it (the details of a Haar
    transform of the box's quarters).

    Args:
        feature_map: (C, H, W), any float type; weights and sum stay float32.
        boxes: (N, 4) xyxy, pixels of the encoder's input.
        stride: pixels per cell.
        output_size: R, bins per axis of a quarter.
        masks: as in `pool_regions`; M is even. A quarter that a mask leaves out counts as the mean of the region, so
            that shapes alone make no contrast.
    """
    if masks is None:
        return haar(pool_regions(feature_map, quarters(boxes), stride, output_size))
    parts = quarter_masks(masks)
    pooled = pool_regions(feature_map, quarters(boxes), stride, output_size, parts)
    whole = pool_regions(feature_map, boxes, stride, output_size, masks).repeat(4, 1)
    return haar(torch.where((cover(parts) > 0)[:, None].to(pooled.device), pooled, whole))


def quarters(boxes: Tensor) -> Tensor:
    """Return (4 N, 4) xyxy: first the upper left quarters of all boxes, then upper right, lower left, lower right."""
    low, high = boxes[:, :2], boxes[:, 2:]
    middle = (low + high) / 2
    x, y = (torch.stack([low, middle, high])[..., axis] for axis in (0, 1))
    corners = [(x[i], y[j], x[i + 1], y[j + 1]) for j in (0, 1) for i in (0, 1)]
    return torch.cat([torch.stack(one, dim=-1) for one in corners])


def haar(pooled: Tensor) -> Tensor:
    """Return (N, 3 C): the differences of what `quarters` gave, (4 N, C)."""
    one, two, three, four = pooled.chunk(4)
    left, top, slanting = (
        one + three - two - four,
        one + two - three - four,
        one + four - two - three,
    )
    return torch.cat([left, top, slanting], dim=-1) / 4


def pool_map_embedding(
    maps: Sequence[Tensor],
    boxes: Tensor,
    stride: float,
    output_size: int,
    masks: Tensor | None = None,
) -> Tensor:
    """Return (N, sum C) float32: what a sine embedding of each cell's place adds to `pool_upsampled`.

    The first half of a map's channels holds the row alone, the second the column alone, so no map is built.
    Arguments as in `pool_upsampled`; every C_l is a multiple of 4.
    """
    parts = []
    with torch.autocast(maps[0].device.type, enabled=False):
        axes = (
            level_weights(maps, boxes, stride, output_size)
            if masks is None
            else masked_axes(maps, boxes, masks, stride, output_size)
        )
        for feature_map, (rows, columns) in zip(maps, axes, strict=True):
            channels, height, width = feature_map.shape
            both = [
                (rows, place_embedding(height, channels // 2, rows.device), columns),
                (columns, place_embedding(width, channels // 2, rows.device), rows),
            ]
            for along, places, across in both:
                # Under a mask the one already holds how much of the other there is.
                mass = across.sum(1, keepdim=True) if masks is None else 1
                parts.append((along @ places) * mass)
    return torch.cat(parts, dim=-1)


@torch.no_grad()
def level_weights(
    maps: Sequence[Tensor], boxes: Tensor, stride: float, output_size: int
) -> list[tuple[Tensor, Tensor]]:
    """Return per map its row weights (N, H_l) and column weights (N, W_l); arguments as in `pool_upsampled`."""
    height, width = maps[0].shape[-2:]
    boxes = boxes.to(maps[0].device)
    rows = axis_weights(boxes[:, 1], boxes[:, 3], height, 1 / stride, output_size)
    columns = axis_weights(boxes[:, 0], boxes[:, 2], width, 1 / stride, output_size)
    weights = []
    for feature_map in maps:
        h, w = feature_map.shape[-2:]
        own_rows, own_columns = rows, columns
        if (h, w) != (height, width):
            own_rows = rows @ upsampling_matrix(height, h, rows.device)
            own_columns = columns @ upsampling_matrix(width, w, columns.device)
        weights.append((own_rows, own_columns))
    return weights


def place_embedding(length: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the (length, width) float32 sine embedding of the places 0 ... length - 1 along one axis.

    Parity: cell i lies at i / length, without half a cell; sine and cosine of one frequency stand side by side;
    temperature 10000; scale 2 pi.

    Args:
        length: cells along the axis.
        width: length of the embedding, an even number.
        device: where to make it.
    """
    places = torch.arange(length, device=device, dtype=torch.float32) / length
    index = torch.arange(width // 2, device=device, dtype=torch.float32)
    divisor = 10000 ** (2 * torch.div(index, 2, rounding_mode="floor") / (width // 2))
    angle = places[:, None] * (2 * torch.pi) / divisor
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def box_embedding(boxes: Tensor, frame: tuple[float, float], width: int) -> Tensor:
    """Return the (N, width) float32 sine embedding of each box's centre and size.

    Parity: blocks stand in the order cy, cx, w, h; sine on even and cosine on odd places;
    temperature 10000; scale 2 pi.

    Args:
        boxes: (N, 4) xyxy pixels.
        frame: (width, height) in the same pixels; the box is divided by it.
        width: length of the embedding, a multiple of 4.
    """
    if width % 4:
        raise ValueError(
            f"box embedding of width {width} cannot be split in 4 equal parts; use a multiple of 4"
        )
    boxes = boxes.float()
    frame_width, frame_height = frame
    x1, y1, x2, y2 = boxes.unbind(-1)
    centre_x, centre_y = (x1 + x2) / 2 / frame_width, (y1 + y2) / 2 / frame_height
    box_width, box_height = (x2 - x1) / frame_width, (y2 - y1) / frame_height
    part = width // 4
    index = torch.arange(part, device=boxes.device, dtype=torch.float32)
    divisor = 10000 ** (2 * torch.div(index, 2, rounding_mode="floor") / part)
    blocks = []
    for value in (centre_y, centre_x, box_width, box_height):
        angle = value[:, None] * (2 * torch.pi) / divisor  # (N, part)
        blocks.append(torch.where(index.long() % 2 == 0, angle.sin(), angle.cos()))
    return torch.cat(blocks, dim=-1)
