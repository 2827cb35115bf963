"""A 3 x 3 convolution with a quarter of the multiplications (Source: Winograd's F(4 x 4, 3 x 3), arXiv 1509.09308).

Each tile of 4 x 4 outputs depends on 6 x 6 inputs. Both are changed into a basis in which the convolution is one
product per place, so that the whole is 36 matrix products over channels: 36 multiplications for 16 outputs, not 144.
Rounding errors are about five times those of the direct sum, some 3e-6 of the outputs' spread.

Legend: H W map size, C channels in, P channels out, R = 6 places of a tile along one axis.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 4
"""Outputs of a tile along one axis."""

REACH = TILE + 2
"""Inputs of a tile along one axis."""

LEAST_CHANNELS = 128
"""Below that the changes of basis cost more than they save."""

LEAST_CELLS = 2048
"""Below that the change of the weights does."""

STRIP_ELEMENTS = 1 << 22
"""Changed inputs that are held at a time: 16 MiB, so that memory is used again and stays near the processor."""

_INPUTS = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
_WEIGHTS = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_OUTPUTS = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)


def pays(cells: Tensor, weight: Tensor) -> bool:
    """Return whether `convolve` is the faster way, and good enough: float32, nothing kept for a backward pass.

    Args:
        cells: (B, H, W, C).
        weight: (P, C, 3, 3).
    """
    return (
        cells.device.type == "cpu"
        and cells.dtype == weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and cells.shape[1] * cells.shape[2] >= LEAST_CELLS
    )


def convolve(cells: Tensor, weight: Tensor) -> Tensor:
    """Return the (B, H, W, P) map of a 3 x 3 convolution with a border of zeros.

    Args:
        cells: (B, H, W, C) float32.
        weight: (P, C, 3, 3) float32.
    """
    changed = _change_weights(weight)
    return torch.stack([_convolve_one(one, changed) for one in cells])


def _change_weights(weight: Tensor) -> Tensor:
    """Return (R R, C, P)."""
    basis = weight.new_tensor(_WEIGHTS)
    both = torch.einsum("ai,bj->abij", basis, basis).reshape(REACH**2, 9)
    outputs, inputs = weight.shape[:2]
    return (both @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(REACH**2, inputs, outputs)


def _convolve_one(cells: Tensor, weights: Tensor) -> Tensor:
    """Return (H, W, P) from (H, W, C) and changed weights."""
    height, width, channels = cells.shape
    down, across = -(-height // TILE), -(-width // TILE)
    padded = F.pad(cells, (0, 0, 1, across * TILE + 1 - width, 1, down * TILE + 1 - height))
    result = cells.new_empty(down * TILE, across * TILE, weights.shape[-1])
    step = max(1, STRIP_ELEMENTS // (across * REACH**2 * channels))
    for first in range(0, down, step):
        last = min(first + step, down)
        rows = slice(first * TILE, last * TILE)
        result[rows] = _convolve_strip(padded[rows.start : rows.stop + 2], weights)
    return result[:height, :width]


def _convolve_strip(padded: Tensor, weights: Tensor) -> Tensor:
    """Return (4 n, 4 m, P) from n rows of m tiles, (4 n + 2, 4 m + 2, C)."""
    channels = padded.shape[-1]
    down, across = padded.shape[0] // TILE, padded.shape[1] // TILE
    before, after = padded.new_tensor(_INPUTS), padded.new_tensor(_OUTPUTS)
    rows = padded.unfold(0, REACH, TILE)  # (n, 4 m + 2, C, R)
    rows = before @ rows.permute(0, 3, 1, 2).flatten(2)  # (n, R, (4 m + 2) C)
    tiles = rows.unflatten(2, (-1, channels)).unfold(2, REACH, TILE)  # (n, R, m, C, R)
    tiles = before @ tiles.transpose(3, 4)  # (n, R rows, m, R columns, C)
    tiles = tiles.permute(1, 3, 0, 2, 4).reshape(REACH**2, down * across, channels)
    products = (tiles @ weights).view(REACH, -1)  # (R rows, R columns n m P)
    outputs = after @ (after @ products).view(TILE, REACH, -1)  # (4 rows, 4 columns, n m P)
    outputs = outputs.view(TILE, TILE, down, across, -1).permute(2, 0, 3, 1, 4)
    return outputs.reshape(down * TILE, across * TILE, -1)
