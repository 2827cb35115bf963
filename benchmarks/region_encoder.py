"""Prints what region embeddings cost at the published widths, ours against a plain form, in one run.

    OMP_NUM_THREADS=1 python benchmarks/region_encoder.py [--quick] [--boxes 100] [--repeats 5]

Both sides get the host's map (1280 channels, 54 x 54 cells of a 756 x 756 picture), the auxiliary encoder's four stages
of the same picture at 768 x 768 (256, 512, 1024, 2048 channels at 1/4 ... 1/32), the same boxes (sides log-uniform from
1/32 of the picture to all of it) and the same weights, float32. Both return (N, 2048) region embeddings. The encoders
themselves are not part of it.

ours     the package's own pyramid, pooling, box embedding and projector.
plain    the strongest simple form: the pyramid from torch's modules, its norms between two permutes; stages
         interpolated and concatenated to 3840 channels; RoIAlign as one `embedding_bag` (from
         benchmarks/region_pooling.py), mean over bins.
usual    the same with norms written by hand over dimension 1 and RoIAlign that gathers corners: what is mostly seen.

Times are medians of alternating runs; "best" divides the best of each. "Usual" runs once.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from region_pooling import AUXILIARY, BINS, KERNELS, upsample
from torch import Tensor, nn

from fo1.models.pooling import box_embedding, pool_regions, pool_upsampled
from fo1.models.pyramid import SimplePyramid
from fo1.models.region_encoder import make_projector

CELLS, STRIDE = 54, 14
HOST_WIDTH, PYRAMID_WIDTH, LANGUAGE_WIDTH = 1280, 512, 2048
TOLERANCE = 1e-3
PARTS = ("pyramid", "pooling", "projector")


@dataclass(frozen=True)
class Task:
    """Maps (C, H, W) and boxes (N, 4) in each encoder's frame."""

    host: Tensor
    stages: list[Tensor]
    host_boxes: Tensor
    auxiliary_boxes: Tensor


@dataclass(frozen=True)
class Way:
    """One way to make region embeddings."""

    pyramid: Callable[[Tensor], tuple[Tensor, ...]]
    pool: Callable[[Task, tuple[Tensor, ...]], Tensor]


class PermutedNorm(nn.LayerNorm):
    """Layer norm over channels between two permutes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class HandWrittenNorm(nn.LayerNorm):
    """Layer norm over dimension 1, step by step."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def plain_pyramid(
    own: SimplePyramid, norm: type[nn.LayerNorm], channels: int, width: int
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return the pyramid from torch's modules, with the weights of ours."""
    half, quarter = channels // 2, channels // 4
    up4 = nn.Sequential(
        nn.ConvTranspose2d(channels, half, 2, stride=2),
        norm(half, eps=1e-6),
        nn.GELU(),
        nn.ConvTranspose2d(half, quarter, 2, stride=2),
    )
    up2 = nn.ConvTranspose2d(channels, half, 2, stride=2)
    plain = nn.Module()
    plain.resample = nn.ModuleList([up4, up2, nn.Identity(), nn.MaxPool2d(2)])
    plain.smooth = nn.ModuleList(
        nn.Sequential(
            nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), norm(width, eps=1e-6)),
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width, eps=1e-6)),
        )
        for inputs in (quarter, half, channels, channels)
    )
    plain.load_state_dict(own.state_dict())
    branches = [nn.Sequential(*pair) for pair in zip(plain.resample, plain.smooth, strict=True)]
    return lambda x: tuple(branch(x) for branch in branches)


def our_pooling(task: Task, levels: tuple[Tensor, ...]) -> Tensor:
    """Return (N, C): the package's own."""
    pooled = [pool_upsampled(task.stages, task.auxiliary_boxes, AUXILIARY[3][0], BINS)]
    for level, scale in zip(levels, SimplePyramid.scales, strict=True):
        pooled.append(pool_regions(level[0], task.host_boxes, STRIDE / scale, BINS))
    return torch.cat(pooled, dim=1)


def plain_pooling(kernel: str) -> Callable[[Task, tuple[Tensor, ...]], Tensor]:
    """Return RoIAlign and mean over up-sampled, concatenated stages."""
    align = KERNELS[kernel]

    def pool(task: Task, levels: tuple[Tensor, ...]) -> Tensor:
        fine = upsample(task.stages)
        pooled = [align(fine, task.auxiliary_boxes, 1 / AUXILIARY[3][0]).mean((2, 3))]
        for level, scale in zip(levels, SimplePyramid.scales, strict=True):
            pooled.append(align(level[0], task.host_boxes, scale / STRIDE).mean((2, 3)))
        return torch.cat(pooled, dim=1)

    return pool


def make_task(boxes: int, shrink: int) -> Task:
    """Return random maps, with widths divided by `shrink`, and boxes."""
    generator = torch.Generator().manual_seed(boxes)
    width, height, channels, strides = AUXILIARY
    sides = 32 ** -torch.rand(boxes, 2, generator=generator)
    corner = torch.rand(boxes, 2, generator=generator) * (1 - sides)
    unit = torch.cat([corner, corner + sides], dim=1)
    return Task(
        torch.randn(1, HOST_WIDTH // shrink, CELLS, CELLS, generator=generator),
        [
            torch.randn(c // shrink, height // s, width // s, generator=generator)
            for c, s in zip(channels, strides, strict=True)
        ],
        unit * CELLS * STRIDE,
        unit * width,
    )


def measure(way: Way, task: Task, projector: nn.Module) -> tuple[Tensor, list[float]]:
    """Return (N, D) embeddings and the seconds of each part."""
    clock = [time.perf_counter()]
    levels = way.pyramid(task.host)
    clock.append(time.perf_counter())
    features = way.pool(task, levels)
    clock.append(time.perf_counter())
    frame = (CELLS * STRIDE, CELLS * STRIDE)
    result = projector(features + box_embedding(task.host_boxes, frame, features.shape[1]))
    clock.append(time.perf_counter())
    return result, [end - begin for begin, end in pairwise(clock)]


def compare(boxes: int, shrink: int, repeats: int) -> None:
    """Print the table."""
    torch.manual_seed(0)
    channels, width = HOST_WIDTH // shrink, PYRAMID_WIDTH // shrink
    own = SimplePyramid(channels, width)
    task = make_task(boxes, shrink)
    features = sum(map(len, task.stages)) + 4 * width
    projector = make_projector("mlp2x_gelu", features, LANGUAGE_WIDTH // shrink)
    ours = Way(own, our_pooling)
    plain = Way(plain_pyramid(own, PermutedNorm, channels, width), plain_pooling("bag"))
    usual = Way(plain_pyramid(own, HandWrittenNorm, channels, width), plain_pooling("gather"))
    mine, other = measure(ours, task, projector)[0], measure(plain, task, projector)[0]
    difference = float((mine - other).abs().max())
    if difference > TOLERANCE:
        raise SystemExit(f"the two ways differ by {difference:g}; they must agree")
    times: list[tuple[list[float], list[float]]] = [
        (measure(ours, task, projector)[1], measure(plain, task, projector)[1])
        for _ in range(repeats)
    ]
    weak = measure(usual, task, projector)[1]
    for row in (weak, *(row for pair in times for row in pair)):
        row.append(sum(row))
    print(
        "| part | ours ms | plain ms | times | best | usual ms | times |\n|---|---|---|---|---|---|---|"
    )
    for index, part in enumerate((*PARTS, "whole")):
        fast, slow = ([1000 * row[index] for row in side] for side in zip(*times, strict=True))
        quick, long, once = statistics.median(fast), statistics.median(slow), 1000 * weak[index]
        print(
            f"| {part} | {quick:,.1f} | {long:,.1f} | {long / quick:.2f} | {min(slow) / min(fast):.2f} "
            f"| {once:,.1f} | {once / quick:.2f} |"
        )
    spread = float(other.std())
    print(f"\nlargest difference of an embedding {difference:.1e}, their spread {spread:.2f}")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boxes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="1/8 of the channels, one repeat")
    options = parser.parse_args()
    shrink, repeats = (8, 1) if options.quick else (1, options.repeats)
    sys.stdout.write(
        f"{datetime.date.today()}, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32, {options.boxes} boxes, "
        f"median of {repeats}{', 1/8 of the channels' if options.quick else ''}\n\n"
    )
    with torch.inference_mode():
        compare(options.boxes, shrink, repeats)


if __name__ == "__main__":
    main()
