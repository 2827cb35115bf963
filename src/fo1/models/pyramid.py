"""Simple feature pyramid: one map of a plain vision transformer becomes four (Source: ViTDet, arXiv 2203.16527).

Channels stand last throughout, so that a norm reads neighbours and every step but the 3 x 3 convolutions is a matrix
product per cell: a transposed convolution of kernel and stride 2 makes a block of 2 x 2 cells of each cell, and the
1 x 1 convolution behind it is folded into its weights. Blocks are put in their places once, before the 3 x 3 one.

Legend: B images, C channels in, P channels out, H W size of the incoming map.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from fo1.models import winograd


class ConvNorm(nn.Sequential):
    """Convolution without bias and a layer norm over the channels of each cell."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2, bias=False),
            nn.LayerNorm(channels_out, eps=1e-6),
        )

    def forward(self, cells: Tensor) -> Tensor:
        """Return cells (B, H, W, P) from (B, H, W, C)."""
        conv, norm = cast(nn.Conv2d, self[0]), self[1]
        if conv.kernel_size == (1, 1):
            return norm(F.linear(cells, conv.weight.flatten(1)))
        if winograd.pays(cells, conv.weight):
            return norm(winograd.convolve(cells, conv.weight))
        return norm(conv(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class SimplePyramid(nn.Module):
    """Four maps at 4, 2, 1 and 1/2 times the resolution of the incoming one."""

    scales = (4.0, 2.0, 1.0, 0.5)

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        half, quarter = channels_in // 2, channels_in // 4
        up4 = nn.Sequential(
            nn.ConvTranspose2d(channels_in, half, 2, stride=2),
            nn.LayerNorm(half, eps=1e-6),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        )
        up2 = nn.ConvTranspose2d(channels_in, half, 2, stride=2)
        self.resample = nn.ModuleList([up4, up2, nn.Identity(), nn.MaxPool2d(2)])
        self.smooth = nn.ModuleList(
            nn.Sequential(
                ConvNorm(channels, channels_out, 1), ConvNorm(channels_out, channels_out, 3)
            )
            for channels in (quarter, half, channels_in, channels_in)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return four maps (B, P, 4H, 4W), (B, P, 2H, 2W), (B, P, H, W), (B, P, H//2, W//2) from (B, C, H, W).

        In memory their channels stand last.
        """
        up4, up2, _, halve = self.resample
        first, norm, gelu, second = cast(nn.Sequential, up4)
        blocks = [cast(nn.Sequential, smooth) for smooth in self.smooth]
        cells = x.permute(0, 2, 3, 1).contiguous()
        halves = gelu(norm(_split(cells, first)))  # (B, H, W, 2 x 2, C/2)
        quarters = _split_and_mix(halves, second, blocks[0][0])  # (B, H, W, 2 x 2, 2 x 2, P)
        levels = [
            blocks[0][1](_place(quarters)),
            blocks[1][1](_place(_split_and_mix(cells, up2, blocks[1][0]))),
            blocks[2](cells),
            blocks[3](halve(x).permute(0, 2, 3, 1)),
        ]
        return tuple(level.permute(0, 3, 1, 2) for level in levels)


def _split(cells: Tensor, up: nn.Module) -> Tensor:
    """Return the 2 x 2 cells (..., 2, 2, C_out) that a transposed convolution makes of each cell (..., C_in)."""
    weight, bias = cast(Tensor, up.weight), cast(Tensor, up.bias)  # (C_in, C_out, 2, 2), (C_out,)
    made = F.linear(cells, weight.permute(2, 3, 1, 0).flatten(0, 2), bias.repeat(4))
    return made.unflatten(-1, (2, 2, -1))


def _split_and_mix(cells: Tensor, up: nn.Module, mix: nn.Module) -> Tensor:
    """Return (..., 2, 2, P): the same, then a 1 x 1 convolution and its norm."""
    conv, norm = cast(nn.Sequential, mix)
    weight, bias = cast(Tensor, up.weight), cast(Tensor, up.bias)
    # Products of copies: of weights as they lie in a file, the last bit depends on where they lie.
    mixing = cast(Tensor, conv.weight).flatten(1).T.contiguous()  # (C_out, P)
    folded = weight.permute(0, 2, 3, 1).contiguous() @ mixing  # (C_in, 2, 2, P)
    mixed = F.linear(cells, folded.flatten(1).T, (bias.clone() @ mixing).repeat(4))
    return norm(mixed.unflatten(-1, (2, 2, -1)))


def _place(blocks: Tensor) -> Tensor:
    """Return cells (B, s H, s W, P) from blocks (B, H, W, 2, 2, ..., P), each pair halving the ones before it."""
    pairs = (blocks.dim() - 4) // 2
    down = [3 + 2 * pair for pair in range(pairs)]
    across = [4 + 2 * pair for pair in range(pairs)]
    placed = blocks.permute(0, 1, *down, 2, *across, blocks.dim() - 1)
    batch, height, width, scale = *blocks.shape[:3], 2**pairs
    return placed.reshape(batch, scale * height, scale * width, blocks.shape[-1])
