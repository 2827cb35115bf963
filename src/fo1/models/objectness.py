"""Objectness: boxes of things of any kind from maps that a frozen classifier has made anyway.

    maps at strides 8, 16, 32 --1x1--> C channels --coarse to fine--> two depthwise blocks --> quality, 4 distances

The same head reads the maps of every size at which the picture is seen, so large things are found on small pictures and
small things on large ones. The quality of a cell is the IoU that its box is expected to have with a thing.

Source: FCOS, arXiv 1904.01355 (distances from cells), with its quality as one number, arXiv 2006.04388; class-agnostic
proposals that generalise, OLN, arXiv 2108.06753 (localisation quality in place of "is it one of the classes").

Legend: B pictures, C channels, M cells of all strides, h w cells of a map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fo1.models.efficientnet import cell_offset
from fo1.models.nanodet import boxes_of_cells

STRIDES = (8, 16, 32)
"""Pixels of the classifier's input per cell, finest first."""


class ObjectnessHead(nn.Module):
    """Maps of one size of a picture to boxes and their expected quality.

    Args:
        channels: of the classifier's maps at `STRIDES`.
        width: C.
    """

    def __init__(self, channels: tuple[int, ...], width: int = 64):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in channels)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(2))
        self.predict = nn.Conv2d(width, 5, 1)
        assert self.predict.bias is not None
        # A distance is exp(scale * x + 1) strides: each stride learns its own.
        self.scales = nn.Parameter(torch.ones(len(STRIDES)))
        with torch.no_grad():
            self.predict.weight.mul_(0.1)
            self.predict.bias.copy_(torch.tensor([-4.0, 0, 0, 0, 0]))  # few cells lie on a thing

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return (B, M) quality logits and (B, M, 4) boxes, xyxy pixels of the classifier's input, not clipped.

        Args:
            maps: (B, channels, h, w) per stride, finest first.
        """
        mixed = [lateral(own) for lateral, own in zip(self.laterals, maps, strict=True)]
        for level in range(len(mixed) - 1, 0, -1):
            size = mixed[level - 1].shape[-2:]
            mixed[level - 1] = mixed[level - 1] + F.interpolate(mixed[level], size=size)
        logits, boxes = [], []
        for stride, scale, features in zip(STRIDES, self.scales, mixed, strict=True):
            for block in self.blocks:
                features = block(features)
            found = self.predict(features)
            distances = stride * (scale * found[:, 1:] + 1).clamp(max=6).exp()
            logits.append(found[:, 0].flatten(1))
            boxes.append(boxes_of_cells(distances, stride) + cell_offset(stride))
        return torch.cat(logits, 1), torch.cat(boxes, 1)


class _Block(nn.Module):
    """A depthwise and a pointwise convolution around a group norm, added to what goes in."""

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.GroupNorm(8, width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.pointwise(F.gelu(self.norm(self.depthwise(features))))


def cell_centres(
    shapes: tuple[tuple[int, int], ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return (M, 2) the middle (x, y) of every cell in pixels of the input, and (M,) its stride.

    Args:
        shapes: (h, w) per stride.
        device: of the result.
    """
    centres, strides = [], []
    for stride, (height, width) in zip(STRIDES, shapes, strict=True):
        nothing = torch.zeros(1, 4, height, width, device=device)
        centres.append((boxes_of_cells(nothing, stride) + cell_offset(stride))[0, :, :2])
        strides.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)
