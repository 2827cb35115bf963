"""Pooling under masks: the mean that RoIAlign takes over a box, taken over the part of it that a mask covers.

RoIAlign reads a box at a grid of samples, each of which stands for one piece of the box. Under a mask a sample counts
by the share of its piece that the mask covers, and the sum is divided by the share of the box that it covers. A mask is
given over its own box, as M x M parts of it, so it means the same in the frame of every encoder. Where w[n, p, y] are
the weights of a box's rows told apart by part (`roi_align.part_weights`), and likewise of its columns,

    pooled[n, c] = sum_yx ( sum_pq  w_y[n, p, y] * mask[n, p, q] * w_x[n, q, x] ) * map[c, y, x] / mean_pq mask[n, p, q]

which is linear in the map, needs no compiled operator, and is the pooling of the box where the mask is all ones.

Legend: N regions, M parts per axis, C channels, H W map size, R bins per axis (`output_size`).
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fo1.models.roi_align import part_weights, upsampling_matrix

MAX_WEIGHT_ELEMENTS = (
    1 << 25
)  # regions are chunked so that one (N, H W) weight matrix stays under 128 MiB in float32

Axes = tuple[Tensor, Tensor]
"""Row weights (N, M, H) and column weights (N, M, W)."""


def pool_masked(
    maps: Sequence[Tensor], boxes: Tensor, masks: Tensor, stride: float, output_size: int
) -> Tensor:
    """Return (N, sum C) float32: `pooling.pool_upsampled` over what the masks cover; 0 where one covers nothing.

    Args:
        maps: (C_l, H_l, W_l) each; the first, finest one defines the grid.
        boxes: (N, 4) xyxy, pixels of the encoder's input.
        masks: (N, M, M) in [0, 1], the share of each part of its box that a region covers.
        stride: pixels per cell of the first map.
        output_size: R, bins per axis.
    """
    flat = [m.permute(1, 2, 0).flatten(0, 1).float() for m in maps]  # (H W, C)
    parts: list[Tensor] = []
    for levels, own in _chunks(maps, boxes, masks, stride, output_size):
        pooled = [
            (rows.transpose(1, 2) @ own @ columns).flatten(1) @ cells  # (N, H W) @ (H W, C)
            for (rows, columns), cells in zip(levels, flat, strict=True)
        ]
        parts.append(torch.cat(pooled, dim=-1))
    return torch.cat(parts)


def masked_axes(
    maps: Sequence[Tensor], boxes: Tensor, masks: Tensor, stride: float, output_size: int
) -> list[Axes]:
    """Return per map (N, H_l) and (N, W_l): how much each row and each column counts; arguments as in `pool_masked`."""
    found = [
        [
            (
                (rows.transpose(1, 2) @ (own @ columns.sum(-1, keepdim=True)))[..., 0],
                (columns.transpose(1, 2) @ (own.mT @ rows.sum(-1, keepdim=True)))[..., 0],
            )
            for rows, columns in levels
        ]
        for levels, own in _chunks(maps, boxes, masks, stride, output_size)
    ]
    return [
        (torch.cat([r for r, _ in level]), torch.cat([c for _, c in level]))
        for level in zip(*found, strict=True)
    ]


def quarter_masks(masks: Tensor) -> Tensor:
    """Return (4 N, M/2, M/2): masks (N, M, M) over the quarters of their boxes, in the order of `pooling.quarters`."""
    half = masks.shape[-1] // 2
    rows = masks[:, :half], masks[:, half:]
    return torch.cat([part for own in rows for part in (own[..., :half], own[..., half:])])


def cover(masks: Tensor) -> Tensor:
    """Return (N,) the share of its box that each mask (N, M, M) covers."""
    return masks.mean((1, 2))


@torch.no_grad()
def _chunks(
    maps: Sequence[Tensor], boxes: Tensor, masks: Tensor, stride: float, output_size: int
) -> Iterator[tuple[list[Axes], Tensor]]:
    """Yield, for some regions at a time, the weights of each map and the masks, scaled so that they weigh 1."""
    height, width = maps[0].shape[-2:]
    device = maps[0].device
    boxes, masks = boxes.to(device), masks.to(device).float()
    masks = masks / cover(masks).clamp(min=1e-12)[:, None, None]
    parts, longest = masks.shape[-1], max(height, width)
    chunk = max(1, MAX_WEIGHT_ELEMENTS // max(height * width, 2 * longest * parts))
    # Without regions there is one chunk of none, so that what is made of it has its widths.
    for own, some in zip(masks.split(chunk), boxes.split(chunk), strict=True):
        rows = part_weights(some[:, 1], some[:, 3], height, 1 / stride, output_size, parts)
        columns = part_weights(some[:, 0], some[:, 2], width, 1 / stride, output_size, parts)
        levels = []
        for feature_map in maps:
            h, w = feature_map.shape[-2:]
            if (h, w) == (height, width):
                levels.append((rows, columns))
            else:
                up = upsampling_matrix(height, h, device), upsampling_matrix(width, w, device)
                levels.append((rows @ up[0], columns @ up[1]))
        yield levels, own
