"""The region encoder written out: maps are built, up-sampled, joined and pooled cell by cell.

The oracle of `RegionEncoder`; the rules stand here once more, in the plainest form.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fo1.models.encoding import PictureEncoding
from tests.models.roi_align import roi_align_weights


def slow_features(
    model: Any, encoding: PictureEncoding, auxiliary_boxes: Tensor, host_boxes: Tensor
) -> Tensor:
    """Return the (N, C) region features of a model's first picture, before the projector."""
    encoder, config = model.region_encoder, model.region_encoder.config
    parts = []
    if config.use_auxiliary:
        maps = [m[0] for m in encoding.auxiliary[0]]
        if config.map_embedding:
            maps = [m + map_embedding(*m.shape) for m in maps]
        size = maps[0].shape[-2:]
        fine = [F.interpolate(m[None], size=size, mode="bilinear")[0] for m in maps]
        pooled = pool(torch.cat(fine), auxiliary_boxes, 4, config.output_size)
        parts.append(norm(pooled, encoder.auxiliary_norm) if config.layer_norm else pooled)
    if config.use_host:
        host = encoding.host.maps[0].maps
        if config.use_pyramid:
            levels = [level[0] for level in encoder.pyramid(host[-1][None])]
            strides = [3.5, 7, 14, 28]
        else:
            levels, strides = [torch.cat(list(host))], [14]
        pooled = torch.cat(
            [
                pool(m, host_boxes, stride, config.output_size)
                for m, stride in zip(levels, strides, strict=True)
            ],
            dim=1,
        )
        parts.append(norm(pooled, encoder.host_norm) if config.layer_norm else pooled)
    features = sum(parts) / len(parts) if config.combination == "mean" else torch.cat(parts, dim=1)
    if not config.box_embedding:
        return features
    boxes, (width, height) = host_boxes, encoding.host.maps[0].frame
    if config.box_frame == "auxiliary":
        boxes = auxiliary_boxes
        height, width = (4 * length for length in encoding.auxiliary[0][0].shape[-2:])
    rows = [box_embedding(box, width, height, features.shape[1]) for box in boxes.tolist()]
    return features + torch.tensor(rows)


def pool(feature_map: Tensor, boxes: Tensor, stride: float, bins: int) -> Tensor:
    """Return (N, C): the mean over the bins of RoIAlign."""
    shares = roi_align_weights(boxes.numpy(), *feature_map.shape[-2:], stride, bins)
    return torch.from_numpy(np.einsum("nyx,cyx->nc", shares, feature_map.double())).float()


def norm(features: Tensor, module: torch.nn.LayerNorm) -> Tensor:
    """Return the layer norm of (N, C)."""
    rows = []
    for row in features:
        centred = row - row.mean()
        rows.append(centred / ((centred**2).mean() + 1e-5).sqrt() * module.weight + module.bias)
    return torch.stack(rows)


def map_embedding(channels: int, height: int, width: int) -> Tensor:
    """Return (C, H, W): first half by row, second by column, sine and cosine side by side."""
    half = channels // 2
    cells = torch.zeros(channels, height, width)
    for channel in range(half):
        frequency, wave = channel // 2, (math.sin, math.cos)[channel % 2]
        divisor = 10000 ** (2 * (frequency // 2) / (half // 2))
        for y in range(height):
            cells[channel, y, :] = wave(2 * math.pi * y / height / divisor)
        for x in range(width):
            cells[half + channel, :, x] = wave(2 * math.pi * x / width / divisor)
    return cells


def box_embedding(box: list[float], width: float, height: float, length: int) -> list[float]:
    """Return the embedding of one box: cy, cx, w, h, sine on even and cosine on odd places."""
    x1, y1, x2, y2 = box
    values = [(y1 + y2) / 2 / height, (x1 + x2) / 2 / width, (x2 - x1) / width, (y2 - y1) / height]
    part = length // 4
    return [
        (math.sin, math.cos)[i % 2](2 * math.pi * value / 10000 ** (2 * (i // 2) / part))
        for value in values
        for i in range(part)
    ]
