"""The weights of mean-pooled RoIAlign along one axis (Source: arXiv 1703.06870), and those of linear up-sampling.

Legend: N regions, L length of one axis of a map, R bins per axis (`output_size`), S samples of a bin, at most,
M parts of a box per axis.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class AxisSamples:
    """Where RoIAlign reads a map along one axis, (N, R, S) each; regions that need fewer samples have unused ones.

    Attributes:
        lower: int64, the cell below the sample.
        upper: int64, the cell above it.
        fraction: how far the sample lies towards the upper one, in [0, 1].
        share: of the sample in the mean over the bins; 0 where it is unused or beyond the map.
        samples: (N,) how many a bin has.
    """

    lower: Tensor
    upper: Tensor
    fraction: Tensor
    share: Tensor
    samples: Tensor


def axis_weights(
    low: Tensor,
    high: Tensor,
    length: int,
    scale: float,
    output_size: int,
    most: int | None = None,
) -> Tensor:
    """Return the (N, L) float32 weights of mean-pooled RoIAlign along one axis.

    The rules are those of the compiled kernel with its default flags: no half-pixel shift, at least one cell wide,
    an adaptive number of samples per bin, samples beyond [-1, L] count as zero, the rest is clamped to the map.

    Args:
        low: (N,) lower box edges, in pixels of the frame that `scale` maps to the map.
        high: (N,) upper box edges, same frame.
        length: L, number of cells of the map along this axis.
        scale: cells per pixel, 1 / stride.
        output_size: R, bins per axis.
        most: samples that no bin exceeds; asked of the boxes if not given, which a traced graph cannot.
    """
    at = axis_samples(low, high, length, scale, output_size, most)
    weights = torch.zeros(low.shape[0], length, device=low.device)
    weights.scatter_add_(1, at.lower.flatten(1), (at.share * (1 - at.fraction)).flatten(1))
    weights.scatter_add_(1, at.upper.flatten(1), (at.share * at.fraction).flatten(1))
    return weights


def axis_samples(
    low: Tensor,
    high: Tensor,
    length: int,
    scale: float,
    output_size: int,
    most: int | None = None,
) -> AxisSamples:
    """Return where RoIAlign reads along one axis; arguments as in `axis_weights`."""
    low, high = low.float(), high.float()
    # parity: float32 and the kernel's own order of operations decide samples that lie exactly on -1 or L.
    start = low * scale
    size = (high * scale - start).clamp(min=1.0)
    bin_size = size / output_size
    samples = torch.ceil(bin_size).clamp(min=1.0)  # per bin, (N,)
    if most is None:
        most = int(samples.max().item()) if len(samples) else 1

    device = low.device
    bins = torch.arange(output_size, device=device, dtype=torch.float32)[None, :, None]
    steps = torch.arange(most, device=device, dtype=torch.float32)[None, None, :]
    position = (
        start[:, None, None]
        + bins * bin_size[:, None, None]
        + (steps + 0.5) * bin_size[:, None, None] / samples[:, None, None]
    )  # (N, R, most)
    used = (steps < samples[:, None, None]) & (position >= -1.0) & (position <= length)
    position = position.clamp(min=0.0)
    lower = position.long().clamp(max=length - 1)
    upper = (lower + 1).clamp(max=length - 1)
    fraction = torch.where(lower >= length - 1, torch.zeros_like(position), position - lower)
    share = used / (samples[:, None, None] * output_size)
    return AxisSamples(lower, upper, fraction, share, samples)


def part_weights(
    low: Tensor, high: Tensor, length: int, scale: float, output_size: int, parts: int
) -> Tensor:
    """Return (N, M, L) float32: `axis_weights`, told apart by the part of the box that each sample stands for.

    The samples cut the side of a box into equal pieces, M parts do so as well; a sample counts for every part by how
    much of its piece lies there. The sum over the parts is `axis_weights`.

    Args:
        low: as in `axis_weights`, as are all others but the last.
        high: see there.
        length: see there.
        scale: see there.
        output_size: see there.
        parts: M.
    """
    at = axis_samples(low, high, length, scale, output_size)
    device = at.share.device
    bins = torch.arange(output_size, device=device, dtype=torch.float32)[None, :, None]
    steps = torch.arange(at.share.shape[2], device=device, dtype=torch.float32)[None, None, :]
    pieces = at.samples[:, None, None] * output_size  # along the whole side
    begin = ((bins * at.samples[:, None, None] + steps) * parts / pieces)[..., None]  # in parts
    width = (parts / pieces)[..., None]
    edges = torch.arange(parts, device=device, dtype=torch.float32)
    inside = torch.minimum(begin + width, edges + 1) - torch.maximum(begin, edges)
    inside = inside.clamp(min=0).flatten(1, 2)  # (N, R S, M)
    # Their sum is 1 but for rounding, and shall be: a whole mask weighs what its box weighs.
    share = at.share.flatten(1)[..., None] * inside / inside.sum(-1, keepdim=True).clamp(min=1e-12)
    weights = torch.zeros(len(low), length, parts, device=device)
    for cell, near in ((at.lower, 1 - at.fraction), (at.upper, at.fraction)):
        index = cell.flatten(1)[..., None].expand_as(share)
        weights.scatter_add_(1, index, share * near.flatten(1)[..., None])
    return weights.transpose(1, 2)


def upsampling_matrix(fine: int, coarse: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the (fine, coarse) matrix of linear up-sampling without corner alignment along one axis."""
    identity = torch.eye(coarse, device=device)[None]  # (1, coarse channels, coarse cells)
    return F.interpolate(identity, size=fine, mode="linear", align_corners=False)[0].T
