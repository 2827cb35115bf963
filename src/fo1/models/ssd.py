"""SSD-MobileNetV2: a 300 px detector of 23 Open Images classes, as plain torch modules.

Source: SSD, arXiv 1512.02325; MobileNetV2, arXiv 1801.04381; weights from the MediaPipe Objectron
package (Apache-2.0). Batch norms are folded into the convolutions.

Here its boxes serve as proposals without their classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fo1.models.efficientnet import SameConv
from fo1.models.frames import channels_last

FRAME = 300
"""Side in pixels of the square frame; the picture is stretched to it."""

PIXEL_MEAN = (127.5, 127.5, 127.5)
PIXEL_STD = (127.5, 127.5, 127.5)
"""Red, green, blue on the scale 0-255."""

GRIDS = (19, 10, 5, 3, 2, 1)
"""Cells per side of the six maps the predictors see."""

_SMALLEST, _LARGEST = 0.2, 0.95
_SHAPES = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)
_CENTRE_SCALE, _SIZE_SCALE = 10.0, 5.0

# inputs, outputs, expansion, stride of the 17 inverted residuals.
_BLOCKS = (
    (32, 16, 1, 1),
    (16, 24, 6, 2),
    (24, 24, 6, 1),
    (24, 32, 6, 2),
    *((32, 32, 6, 1),) * 2,
    (32, 64, 6, 2),
    *((64, 64, 6, 1),) * 3,
    (64, 96, 6, 1),
    *((96, 96, 6, 1),) * 2,
    (96, 160, 6, 2),
    *((160, 160, 6, 1),) * 2,
    (160, 320, 6, 1),
)
# The first predictor reads the expanded map inside this block, before it halves the grid.
_TAPPED_BLOCK = 13
# inputs, bottleneck, outputs of the four maps appended to the backbone.
_EXTRAS = ((1280, 256, 512), (512, 128, 256), (256, 128, 256), (256, 64, 128))


class SSDMobileNetV2(nn.Module):
    """The detector: pixels to boxes and class probabilities, one row per anchor.

    Args:
        num_classes: classes of the weights without the background.
    """

    anchors: Tensor

    def __init__(self, num_classes: int = 23) -> None:
        super().__init__()
        self.stem = ConvAct(3, 32, kernel=3, stride=2)
        self.blocks = nn.ModuleList(InvertedResidual(*block) for block in _BLOCKS)
        self.top = ConvAct(_BLOCKS[-1][1], 1280)
        self.extras = nn.ModuleList(
            nn.Sequential(ConvAct(inputs, middle), ConvAct(middle, outputs, kernel=3, stride=2))
            for inputs, middle, outputs in _EXTRAS
        )
        inputs, _, expansion, _ = _BLOCKS[_TAPPED_BLOCK]
        channels = (inputs * expansion, 1280, *(outputs for _, _, outputs in _EXTRAS))
        shapes = [len(sizes) for sizes in anchor_sizes()]
        self.predictors = nn.ModuleList(
            Predictor(inputs, count, num_classes + 1)
            for inputs, count in zip(channels, shapes, strict=True)
        )
        self.register_buffer("anchors", torch.tensor(anchor_boxes()), persistent=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and class probabilities of all anchors.

        Args:
            pixels: (B, 3, 300, 300) float32, RGB normalised with `PIXEL_MEAN` and `PIXEL_STD`.

        Returns:
            boxes: (B, 1917, 4) xyxy pixels of the frame, not clipped.
            probabilities: (B, 1917, num_classes), the background left out.

        Raises:
            ValueError: the pixels are not 300 x 300.
        """
        encodings, logits = self.raw(pixels)
        return decode(encodings, self.anchors), logits[..., 1:].sigmoid()

    def raw(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return box encodings (B, 1917, 4) and logits (B, 1917, 1 + num_classes)."""
        if pixels.shape[-2:] != (FRAME, FRAME):
            height, width = pixels.shape[-2:]
            raise ValueError(f"frame of {height} x {width} px, not {FRAME} x {FRAME}: stretch it")
        outputs = [
            predictor(features)
            for predictor, features in zip(self.predictors, self.maps(pixels), strict=True)
        ]
        return (
            torch.cat([encodings for encodings, _ in outputs], 1),
            torch.cat([logits for _, logits in outputs], 1),
        )

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Return the six maps (B, C, g, g) the predictors see, one per size in `GRIDS`."""
        features: Tensor = self.stem(channels_last(pixels))
        maps: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            features, expanded = block(features)
            if index == _TAPPED_BLOCK:
                maps.append(expanded)
        maps.append(self.top(features))
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps


def anchor_sizes() -> list[list[tuple[float, float]]]:
    """Return (width, height) of the anchors of each map, as fractions of the frame.

    The finest map has three, the others one per shape and a square between two scales.
    """
    steps = len(GRIDS) - 1
    scales = [_SMALLEST + (_LARGEST - _SMALLEST) * step / steps for step in range(steps + 1)]
    first = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
    layers = [first]
    for scale, following in zip(scales[1:], [*scales[2:], 1.0], strict=True):
        layers.append([*((scale, shape) for shape in _SHAPES), (math.sqrt(scale * following), 1.0)])
    return [
        [(scale * math.sqrt(shape), scale / math.sqrt(shape)) for scale, shape in layer]
        for layer in layers
    ]


def anchor_boxes() -> list[tuple[float, float, float, float]]:
    """Return the 1917 anchors as (cx, cy, width, height), fractions of the frame.

    Map by map, row by row, cell by cell, then the sizes of the cell.
    """
    return [
        ((column + 0.5) / grid, (row + 0.5) / grid, width, height)
        for grid, sizes in zip(GRIDS, anchor_sizes(), strict=True)
        for row in range(grid)
        for column in range(grid)
        for width, height in sizes
    ]


def decode(encodings: Tensor, anchors: Tensor) -> Tensor:
    """Return (B, M, 4) boxes, xyxy pixels of the frame, not clipped.

    Args:
        encodings: (B, M, 4) as ty, tx, th, tw relative to the anchors.
        anchors: (M, 4) as cx, cy, width, height in fractions of the frame.
    """
    ty, tx, th, tw = encodings.unbind(-1)
    cx, cy, width, height = anchors.unbind(-1)
    x, y = cx + tx / _CENTRE_SCALE * width, cy + ty / _CENTRE_SCALE * height
    half_width = width * (tw / _SIZE_SCALE).exp() / 2
    half_height = height * (th / _SIZE_SCALE).exp() / 2
    corners = [x - half_width, y - half_height, x + half_width, y + half_height]
    return torch.stack(corners, -1) * FRAME


class ConvAct(nn.Sequential):
    """A convolution and a ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            SameConv(inputs, outputs, kernel=kernel, stride=stride, groups=groups),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvAct(inputs, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = ConvAct(hidden, hidden, kernel=3, stride=stride, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output (B, outputs, ceil(h / stride), ...) and the widened input."""
        expanded: Tensor = self.expand(features)
        output: Tensor = self.project(self.depthwise(expanded))
        return output.add_(features) if self.adds else output, expanded


class Predictor(nn.Module):
    """One map's encodings (B, cells anchors, 4) and logits (B, cells anchors, classes)."""

    def __init__(self, inputs: int, num_anchors: int, num_logits: int) -> None:
        super().__init__()
        self.num_logits = num_logits
        self.boxes = nn.Conv2d(inputs, num_anchors * 4, 1)
        self.classes = nn.Conv2d(inputs, num_anchors * num_logits, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return one row per cell and anchor, cells row by row."""
        boxes = self.boxes(features).permute(0, 2, 3, 1)
        classes = self.classes(features).permute(0, 2, 3, 1)
        batch = len(features)
        return boxes.reshape(batch, -1, 4), classes.reshape(batch, -1, self.num_logits)
