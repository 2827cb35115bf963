"""NanoDet-g: a 3.8 M parameter detector of the 80 COCO classes, as plain torch modules.

Source: RangiLyu/nanodet (Apache-2.0), configuration ``nanodet-g`` (upstream table: 22.9 mAP at
416 px). The network is a CSP backbone with LeakyReLU, a path-aggregation neck without convolutions
of its own, and one small head per stride. Batch norms are folded into the convolutions.

Here it serves twice: its boxes, without their classes, are proposals, and its dense class maps are
evidence about what is where.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fo1.models.frames import channels_last

STRIDES = (8, 16, 32)
"""Pixels of the frame per cell, finest first."""

FRAME = 416
"""Side in pixels of the square frame the published weights were trained on."""

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Red, green, blue on the scale 0-255. (Upstream feeds blue first; the first kernel is flipped.)"""


class DenseDetections(NamedTuple):
    """What a dense detector says about every cell, one tensor per stride, finest first."""

    probabilities: tuple[Tensor, ...]
    """(B, classes, h, w) in [0, 1]; classes are independent, so they need not add up to one."""
    distances: tuple[Tensor, ...]
    """(B, 4, h, w) pixels of the frame from the cell's centre to left, top, right, bottom."""


class NanoDet(nn.Module):
    """The detector: pixels to class and distance maps.

    Args:
        num_classes: number of class maps.
        width: channels of the first stage; the stages have 1, 2, 4 and 8 times as many.
        neck_channels: channels of the three maps the heads see.
        num_bins: bins per side; a distance is an expectation over 0 ... num_bins - 1 strides.
    """

    def __init__(
        self, num_classes: int = 80, width: int = 32, neck_channels: int = 128, num_bins: int = 11
    ) -> None:
        super().__init__()
        self.backbone = CSPBackbone(width)
        self.neck = PathAggregation(self.backbone.channels, neck_channels)
        self.heads = nn.ModuleList(Head(neck_channels, num_classes, num_bins) for _ in STRIDES)

    def forward(self, pixels: Tensor) -> DenseDetections:
        """Return probabilities and box distances for every cell.

        Args:
            pixels: (B, 3, H, W) float32, RGB normalised with `PIXEL_MEAN` and `PIXEL_STD`;
                H and W are multiples of 32, as published both `FRAME`.

        Raises:
            ValueError: H or W is not a multiple of 32.
        """
        height, width = pixels.shape[-2:]
        if height % STRIDES[-1] or width % STRIDES[-1]:
            raise ValueError(
                f"frame of {height} x {width} px, sides are no multiples of {STRIDES[-1]}: pad it"
            )
        outputs = [
            head(features)
            for head, features in zip(self.heads, self.neck(self.backbone(pixels)), strict=True)
        ]
        return DenseDetections(
            tuple(probabilities for probabilities, _ in outputs),
            tuple(
                distances * stride for (_, distances), stride in zip(outputs, STRIDES, strict=True)
            ),
        )


def decode(detections: DenseDetections) -> tuple[Tensor, Tensor]:
    """Return boxes and class probabilities of all cells in one list.

    Cells are ordered stride by stride, finest first, row by row; M is the sum of h w.

    Returns:
        boxes: (B, M, 4) xyxy pixels of the frame, not clipped.
        probabilities: (B, M, classes).
    """
    boxes = [
        boxes_of_cells(distances, stride)
        for distances, stride in zip(detections.distances, STRIDES, strict=True)
    ]
    probabilities = [maps.flatten(2).transpose(1, 2) for maps in detections.probabilities]
    return torch.cat(boxes, 1), torch.cat(probabilities, 1)


def boxes_of_cells(distances: Tensor, stride: int) -> Tensor:
    """Return (B, h w, 4) xyxy pixels of the frame from (B, 4, h, w) distances."""
    height, width = distances.shape[-2:]
    y, x = torch.meshgrid(
        (torch.arange(height, device=distances.device) + 0.5) * stride,
        (torch.arange(width, device=distances.device) + 0.5) * stride,
        indexing="ij",
    )
    left, top, right, bottom = distances.unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], -1).flatten(1, 2)


class ConvAct(nn.Sequential):
    """A convolution that keeps the grid (or halves it) and a LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.LeakyReLU(0.1, inplace=True)
        )


class HalfResidual(nn.Module):
    """Two convolutions at half the channels, joined again: (B, C, h, w) to (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvAct(channels, channels // 2)
        self.second = ConvAct(channels // 2, channels // 2)

    def forward(self, features: Tensor) -> Tensor:
        """Return the second convolution's channels followed by the first's."""
        first = self.first(features)
        return torch.cat([self.second(first), first], 1)


class CSPStage(nn.Module):
    """Cross-stage partial stage: (B, inputs, H, W) to (B, 2 channels, H / stride, W / stride).

    Source: CSPNet, arXiv 1911.11929.
    """

    def __init__(self, inputs: int, channels: int, depth: int, stride: int) -> None:
        super().__init__()
        self.enter = ConvAct(inputs, channels, stride)
        self.blocks = nn.Sequential(*(HalfResidual(channels) for _ in range(depth)))
        self.leave = ConvAct(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the processed channels followed by those that took the short way."""
        entered = self.enter(features)
        return torch.cat([self.leave(self.blocks(entered)), entered], 1)


class CSPBackbone(nn.Module):
    """Pixels (B, 3, H, W) to three maps at strides 8, 16 and 32 with `channels` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = (4 * width, 8 * width, 16 * width)
        self.stem = ConvAct(3, width, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stages = nn.ModuleList(
            [
                CSPStage(width, width, depth=1, stride=1),
                CSPStage(2 * width, 2 * width, depth=2, stride=2),
                CSPStage(4 * width, 4 * width, depth=2, stride=2),
                CSPStage(8 * width, 8 * width, depth=3, stride=2),
            ]
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of the last three stages, finest first."""
        features = self.stages[0](self.pool(self.stem(channels_last(pixels))))
        fine = self.stages[1](features)
        middle = self.stages[2](fine)
        return fine, middle, self.stages[3](middle)


class PathAggregation(nn.Module):
    """Mixes three maps from coarse to fine and back; all leave with the same channels.

    Source: PANet, arXiv 1803.01534, with bilinear resizing in place of its convolutions.
    """

    def __init__(self, channels: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(inputs, outputs, 1) for inputs in channels)

    def forward(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        """Return (B, outputs, h, w) per stride, finest first."""
        mixed = [lateral(features) for lateral, features in zip(self.laterals, maps, strict=True)]
        for level in range(len(mixed) - 1, 0, -1):
            mixed[level - 1] = mixed[level - 1] + _resize(mixed[level], 2.0)
        for level in range(len(mixed) - 1):
            mixed[level + 1] = mixed[level + 1] + _resize(mixed[level], 0.5)
        return mixed


def _resize(features: Tensor, scale: float) -> Tensor:
    """Return the map resized bilinearly (B, C, scale h, scale w)."""
    return functional.interpolate(
        features, scale_factor=scale, mode="bilinear", align_corners=False
    )


class Head(nn.Module):
    """One stride's classes and distances: (B, C, h, w) to (B, classes, h, w) and (B, 4, h, w)."""

    def __init__(self, channels: int, num_classes: int, num_bins: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = ConvAct(channels, channels)
        self.predict = nn.Conv2d(channels, num_classes + 4 * num_bins, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities, and distances in cells.

        Source: the distance as the mean of a distribution over bins, arXiv 2006.04388.
        """
        output = self.predict(self.conv(features))
        logits, bins = output.split([self.num_classes, output.shape[1] - self.num_classes], 1)
        weights = bins.unflatten(1, (4, -1)).softmax(2)
        # No buffer: `from_pretrained` leaves buffers that are not saved without values.
        cells = torch.arange(weights.shape[2], device=weights.device, dtype=weights.dtype)
        return logits.sigmoid(), torch.einsum("bskhw,k->bshw", weights, cells)
