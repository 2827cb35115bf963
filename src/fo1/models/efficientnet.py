"""EfficientNet-Lite: the small frozen image encoder behind the embedded model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fo1.models.frames import channels_last

BATCH_NORM_EPSILON = 1e-3
PIXEL_MEAN = 127.0
PIXEL_SCALE = 128.0


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """One run of inverted residual blocks of equal width; only the first block strides."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int
    is_level: bool = False
    """Whether the last block's output is one of the maps that `forward` returns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EfficientNetLiteConfig:
    """Shape of the network; the defaults are Lite0.

    Source: EfficientNet (arXiv 1905.11946), table 1; Lite leaves out squeeze-excite and has ReLU6.
    """

    stem_channels: int = 32
    stages: tuple[StageConfig, ...] = (
        StageConfig(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
        StageConfig(repeats=2, kernel=3, stride=2, expansion=6, channels=24, is_level=True),
        StageConfig(repeats=2, kernel=5, stride=2, expansion=6, channels=40, is_level=True),
        StageConfig(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
        StageConfig(repeats=3, kernel=5, stride=1, expansion=6, channels=112, is_level=True),
        StageConfig(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
        StageConfig(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
    )
    head_channels: int = 1280
    num_classes: int = 1000

    @property
    def levels(self) -> tuple[tuple[int, int], ...]:
        """(stride, channels) of each map that `forward` returns, finest first."""
        stride = 2
        levels: list[tuple[int, int]] = []
        for stage in self.stages:
            stride *= stage.stride
            if stage.is_level:
                levels.append((stride, stage.channels))
        return (*levels, (stride, self.head_channels))


def cell_offset(stride: int) -> float:
    """Return how far a map cell looks to the lower right of its own square, in pixels of the input.

    Cell (i, j) of the map at `stride` is centred at ((j + 0.5) * stride + offset, (i + 0.5) *
    stride + offset), because "same" padding puts the odd pixel at the bottom right each time the
    map halves. Exact where both input sides are multiples of 32; at other sizes some halvings are
    symmetric and the offset is smaller. Subtract it from boxes before pooling.
    """
    return (stride - 1) / 2


def fold_batch_norm(
    weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that equals bias-free convolution then batch norm.

    Args:
        weight: (C, I, K, K), the convolution before the norm.
        scale: (C,), the norm's weight.
        shift: (C,), the norm's bias.
        mean: (C,), running.
        variance: (C,), running.
    """
    gain = scale / torch.sqrt(variance + BATCH_NORM_EPSILON)
    return weight * gain[:, None, None, None], shift - mean * gain


class SameConv(nn.Conv2d):
    """Convolution whose map has ceil(H / stride) rows: TensorFlow's "same" padding.

    Parity: the pad depends on the input size and its odd pixel goes to the bottom and right.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        # With stride 1 the pad is symmetric and left to the convolution itself.
        pad = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, pad, groups=groups)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (B, C, ceil(H / stride), ceil(W / stride)) from (B, I, H, W)."""
        border = self.border(maps)
        return super().forward(F.pad(maps, border) if any(border) else maps)

    def behind(self, before: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
        """Return the same of `before(maps)`, whose cells do not look at each other.

        Where nothing is learned, the border is put around what goes in, which has fewer channels, and cleared in what
        comes out.
        """
        left, right, top, bottom = border = self.border(maps)
        # A graph that is exported would fix the sizes of what is cleared.
        if torch.is_grad_enabled() or torch.compiler.is_exporting() or not any(border):
            return self(before(maps))
        wide = before(F.pad(maps, border))
        for axis, first, last in ((2, top, bottom), (3, left, right)):
            wide.narrow(axis, 0, first).zero_()
            wide.narrow(axis, wide.shape[axis] - last, last).zero_()
        return super().forward(wide)

    def border(self, maps: Tensor) -> tuple[int, int, int, int]:
        """Return how many cells of zeros (left, right, top, bottom) the convolution does not add by itself."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride == 1:
            return 0, 0, 0, 0
        height, width = maps.shape[-2:]
        return *_same_padding(width, kernel, stride), *_same_padding(height, kernel, stride)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    steps = -(-size // stride)
    total = max((steps - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class InvertedResidual(nn.Module):
    """Expand (1x1), filter each channel (k x k), project (1x1); a shortcut where shapes agree."""

    def __init__(self, inputs: int, stage: StageConfig, *, stride: int) -> None:
        super().__init__()
        width = inputs * stage.expansion
        # The published weights leave out the expansion where the factor is 1.
        self.expand = SameConv(inputs, width) if stage.expansion != 1 else None
        self.depthwise = SameConv(width, width, kernel=stage.kernel, stride=stride, groups=width)
        self.project = SameConv(width, stage.channels)
        self.is_residual = stride == 1 and inputs == stage.channels

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (B, C, ceil(H / stride), ceil(W / stride)) from (B, I, H, W)."""
        hidden = self.depthwise.behind(self._widen, maps)
        hidden = self.project(F.relu6(hidden, inplace=True))
        return hidden.add_(maps) if self.is_residual else hidden

    def _widen(self, maps: Tensor) -> Tensor:
        return maps if self.expand is None else F.relu6(self.expand(maps), inplace=True)


class EfficientNetLite(nn.Module):
    """Feature maps at several strides, and class logits, of normalised pictures.

    Batch norms are folded, so there is nothing to freeze and train and eval mode are equal.

    B pictures, H x W pixels, C channels of a level.
    """

    def __init__(self, config: EfficientNetLiteConfig | None = None) -> None:
        super().__init__()
        self.config = config or EfficientNetLiteConfig()
        self.stem = SameConv(3, self.config.stem_channels, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        channels = self.config.stem_channels
        for stage in self.config.stages:
            blocks = nn.Sequential()
            for index in range(stage.repeats):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, stage, stride=stride))
                channels = stage.channels
            self.stages.append(blocks)
        self.head = SameConv(channels, self.config.head_channels)
        self.classifier = nn.Linear(self.config.head_channels, self.config.num_classes)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return maps (B, C, ceil(H / stride), ceil(W / stride)), one per entry of `config.levels`.

        Args:
            pixels: (B, 3, H, W) RGB, normalised: (value in 0..255 - PIXEL_MEAN) / PIXEL_SCALE.
        """
        return tuple(self._levels(pixels))

    def logits(self, pixels: Tensor) -> Tensor:
        """Return (B, num_classes) class logits of whole pictures; `pixels` as in `forward`."""
        return self.classifier(self(pixels)[-1].mean(dim=(2, 3)))

    def _levels(self, pixels: Tensor) -> Iterator[Tensor]:
        maps = F.relu6(self.stem(channels_last(pixels)), inplace=True)
        for stage, blocks in zip(self.config.stages, self.stages, strict=True):
            maps = blocks(maps)
            if stage.is_level:
                yield maps
        yield F.relu6(self.head(maps), inplace=True)
