"""Prints what pooling all regions of a picture costs, ours against the textbook way, in one run.

    python benchmarks/region_pooling.py [--quick] [--threads 2] [--boxes 1 20 100]

Both sides get the same maps at the published widths: an auxiliary encoder's four stages of a
768 x 768 picture (256, 512, 1024, 2048 channels at 1/4, 1/8, 1/16, 1/32) and a host's pyramid of a
1008 x 700 one (4 levels of 512 channels at strides 3.5, 7, 14, 28), float32, and the same boxes
(sides log-uniform from 1/32 of the picture to all of it). Both return (N, 3840 + 2048); the largest
difference is printed. The encoders themselves are not part of it.

ours      row and column weights of every box (`fo1.models.pooling`), two matrix products a map,
          each map at its own resolution.
textbook  interpolate stages 2-4 to the first (bilinear) and concatenate to 3840 channels; RoIAlign
          to 7 x 7 bins with the adaptive number of samples (ceil(bin) a side); mean over the bins.
          RoIAlign is written for all boxes at once and as strong as plain torch allows: maps with
          channels last, all four corners of all samples of a bin summed by one fused
          `embedding_bag`, so that no sample is ever stored. `--kernel gather` is the usual form
          (index, weigh, add, mean; boxes of equal grid together, chunked), which is slower here.

Operations counted, a multiplication or an addition each 1 (N boxes, C channels, H W map, h w the
map that a stage has by itself, S_n samples of box n):

ours      per stage   2 N (H h + W w)  if up-sampled  +  N h w  +  2 N h w C  (fewer on a CPU: tiles)
textbook  upsampling  7 H W C per up-sampled stage (3 lerps of 2, one weight)
          RoIAlign    8 C sum S_n  (4 corners, multiply and add)  +  N 49 C  (mean)

GFLOP/s is each side's own count over its own time, so it says how busy the cores were, not who
wins; the ratio of times does. "Times faster" compares medians, "best of each" the fastest repeat of
either side, which another load on the machine distorts less: quote the first only if they agree.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fo1.models.pooling import pool_regions, pool_upsampled

BINS = 7
AUXILIARY = (768, 768, (256, 512, 1024, 2048), (4, 8, 16, 32))
HOST = (1008, 700, 512, (3.5, 7.0, 14.0, 28.0))
TOLERANCE = 1e-4
CHUNK = 1 << 26  # floats that the gathering kernel may hold at a time


@dataclass(frozen=True)
class Task:
    """Maps (C, H, W) and boxes (N, 4) in each encoder's frame."""

    stages: list[Tensor]
    levels: list[Tensor]
    auxiliary_boxes: Tensor
    host_boxes: Tensor


def make_task(boxes: int, shrink: int) -> Task:
    """Return random maps, with widths divided by `shrink`, and boxes."""
    generator = torch.Generator().manual_seed(boxes)
    width, height, channels, strides = AUXILIARY
    stages = [
        torch.randn(c // shrink, height // s, width // s, generator=generator)
        for c, s in zip(channels, strides, strict=True)
    ]
    host_width, host_height, host_channels, host_strides = HOST
    levels = [
        torch.randn(
            host_channels // shrink,
            int(host_height / s),
            int(host_width / s),
            generator=generator,
        )
        for s in host_strides
    ]
    sides = 32 ** -torch.rand(boxes, 2, generator=generator)
    corner = torch.rand(boxes, 2, generator=generator) * (1 - sides)
    unit = torch.cat([corner, corner + sides], dim=1)
    return Task(
        stages,
        levels,
        unit * torch.tensor([width, height] * 2),
        unit * torch.tensor([host_width, host_height] * 2),
    )


def ours(task: Task) -> Tensor:
    """Return (N, C): the package's own pooling."""
    pooled = [pool_upsampled(task.stages, task.auxiliary_boxes, AUXILIARY[3][0], BINS)]
    for level, stride in zip(task.levels, HOST[3], strict=True):
        pooled.append(pool_regions(level, task.host_boxes, stride, BINS))
    return torch.cat(pooled, dim=1)


def upsample(stages: Sequence[Tensor]) -> Tensor:
    """Return (sum C, H, W) in channels-last memory: every stage at the size of the first."""
    size = stages[0].shape[-2:]
    last = [stage[None].contiguous(memory_format=torch.channels_last) for stage in stages]
    same = [
        last[0],
        *(F.interpolate(s, size=size, mode="bilinear", align_corners=False) for s in last[1:]),
    ]
    return torch.cat(same, dim=1)[0]


def textbook(
    task: Task, kernel: Callable[[Tensor, Tensor, float], Tensor]
) -> tuple[Tensor, float, float]:
    """Return (N, C) and the seconds of interpolate + concat and of RoIAlign + mean."""
    start = time.perf_counter()
    fine = upsample(task.stages)
    middle = time.perf_counter()
    pooled = [kernel(fine, task.auxiliary_boxes, 1 / AUXILIARY[3][0]).mean((2, 3))]
    for level, stride in zip(task.levels, HOST[3], strict=True):
        pooled.append(kernel(level, task.host_boxes, 1 / stride).mean((2, 3)))
    result = torch.cat(pooled, dim=1)
    return result, middle - start, time.perf_counter() - middle


@dataclass(frozen=True)
class Grid:
    """Samples of boxes that share one adaptive grid.

    Attributes:
        boxes: (n,) indices of the boxes.
        y: (n, 7 gy) rows; x: (n, 7 gx) columns of the samples, clamped to the map.
        valid_y: (n, 7 gy) and valid_x (n, 7 gx) bool: near enough to the map to count.
        shape: (gy, gx) samples per bin.
    """

    boxes: Tensor
    y: Tensor
    x: Tensor
    valid_y: Tensor
    valid_x: Tensor
    shape: tuple[int, int]


def grids(boxes: Tensor, scale: float, height: int, width: int) -> Iterator[Grid]:
    """Yield the samples of all boxes, those of equal adaptive grid together."""
    scaled = boxes.float() * scale
    start, size = scaled[:, :2], (scaled[:, 2:] - scaled[:, :2]).clamp(min=1.0)
    bins = size / BINS
    counts = bins.ceil().clamp(min=1).long()  # (N, 2) for x, y
    for across, down in torch.unique(counts, dim=0).tolist():
        chosen = ((counts[:, 0] == across) & (counts[:, 1] == down)).nonzero().flatten()
        axes = []
        for axis, number, length in ((0, across, width), (1, down, height)):
            step = bins[chosen, axis, None, None]
            place = torch.arange(BINS)[None, :, None] * step
            place = place + (torch.arange(number) + 0.5)[None, None] * step / number
            place = (start[chosen, axis, None, None] + place).flatten(1)
            valid = (place >= -1) & (place <= length)
            axes.append((place.clamp(0, length - 1), valid))
        yield Grid(chosen, axes[1][0], axes[0][0], axes[1][1], axes[0][1], (down, across))


def corners(place: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return lower cell, upper cell and share of the upper one."""
    lower = place.long()
    return lower, (lower + 1).clamp(max=length - 1), place - lower


def weighted_corners(grid: Grid, height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield cell index and weight (n, 7 gy, 7 gx) of the four corners of each sample."""
    top, bottom, down = corners(grid.y, height)
    left, right, across = corners(grid.x, width)
    number = grid.shape[0] * grid.shape[1]
    for row, of_row in ((top, 1 - down), (bottom, down)):
        for column, of_column in ((left, 1 - across), (right, across)):
            weight = (of_row * grid.valid_y)[:, :, None] * (of_column * grid.valid_x)[:, None]
            yield row[:, :, None] * width + column[:, None], weight / number


def roi_align_bag(feature_map: Tensor, boxes: Tensor, scale: float) -> Tensor:
    """Return (N, C, 7, 7): one fused gather, weigh and sum per bin."""
    channels, height, width = feature_map.shape
    table = feature_map.permute(1, 2, 0).reshape(height * width, channels)
    result = torch.empty(len(boxes), BINS, BINS, channels)
    for grid in grids(boxes, scale, height, width):
        pairs = list(weighted_corners(grid, height, width))
        rows = [_by_bin(torch.stack([pair[part] for pair in pairs]), grid) for part in (0, 1)]
        pooled = F.embedding_bag(
            rows[0].contiguous(), table, per_sample_weights=rows[1].contiguous(), mode="sum"
        )
        result[grid.boxes] = pooled.view(-1, BINS, BINS, channels)
    return result.permute(0, 3, 1, 2)


def _by_bin(values: Tensor, grid: Grid) -> Tensor:
    """Return (n 49, 4 gy gx) from (4, n, 7 gy, 7 gx)."""
    down, across = grid.shape
    split = values.view(4, -1, BINS, down, BINS, across)
    return split.permute(1, 2, 4, 0, 3, 5).reshape(-1, 4 * down * across)


def roi_align_gather(feature_map: Tensor, boxes: Tensor, scale: float) -> Tensor:
    """Return (N, C, 7, 7): the usual vectorised form, a few boxes at a time."""
    channels, height, width = feature_map.shape
    table = feature_map.permute(1, 2, 0).reshape(height * width, channels)
    result = torch.empty(len(boxes), BINS, BINS, channels)
    for grid in grids(boxes, scale, height, width):
        down, across = grid.shape
        # A strip is one row of bins of one box: the most that a big box allows.
        pairs = [
            (index.view(-1, down * BINS * across), weight.view(-1, down * BINS * across))
            for index, weight in weighted_corners(grid, height, width)
        ]
        strips = max(1, CHUNK // (channels * down * BINS * across))
        parts = []
        for first in range(0, len(pairs[0][0]), strips):
            total = 0
            for index, weight in pairs:
                taken = table[index[first : first + strips]]
                total = taken.mul_(weight[first : first + strips, :, None]) + total
            parts.append(total.view(-1, down, BINS, across, channels).sum((1, 3)))
        result[grid.boxes] = torch.cat(parts).view(-1, BINS, BINS, channels)
    return result.permute(0, 3, 1, 2)


KERNELS = {"bag": roi_align_bag, "gather": roi_align_gather}


def operations(task: Task) -> tuple[float, float]:
    """Return the operations of our pooling and of the textbook way (see the docstring above)."""
    count = len(task.host_boxes)
    height, width = task.stages[0].shape[-2:]
    mine = other = 0.0
    for stage in task.stages:
        c, h, w = stage.shape
        mine += count * h * w * (1 + 2 * c)
        if (h, w) != (height, width):
            mine += 2 * count * (height * h + width * w)
            other += 7 * height * width * c
    channels = sum(len(stage) for stage in task.stages)
    other += roi_align_operations(task.auxiliary_boxes, 1 / AUXILIARY[3][0], channels)
    for level, stride in zip(task.levels, HOST[3], strict=True):
        c, h, w = level.shape
        mine += count * h * w * (1 + 2 * c)
        other += roi_align_operations(task.host_boxes, 1 / stride, c)
    return mine, other


def roi_align_operations(boxes: Tensor, scale: float, channels: int) -> float:
    """Return the operations of adaptive RoIAlign and the mean over its bins."""
    sides = ((boxes[:, 2:] - boxes[:, :2]) * scale).clamp(min=1.0) / BINS
    samples = float((BINS * sides.ceil().clamp(min=1)).prod(1).sum())
    return channels * (8 * samples + len(boxes) * BINS * BINS)


def median(times: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return 1000 * statistics.median(times)


def measure(boxes: int, shrink: int, repeats: int, kernel: str) -> str:
    """Return one row of the table."""
    task = make_task(boxes, shrink)
    mine, expected = ours(task), textbook(task, KERNELS[kernel])[0]
    difference = float((mine - expected).abs().max())
    if difference > TOLERANCE:
        raise SystemExit(f"{boxes} boxes: the two ways differ by {difference:g}; they must agree")
    fast, prepare, pool = [], [], []
    for _ in range(repeats):  # alternating, so that another load on the machine meets both
        start = time.perf_counter()
        ours(task)
        fast.append(time.perf_counter() - start)
        _, first, second = textbook(task, KERNELS[kernel])
        prepare.append(first)
        pool.append(second)
    own, other = operations(task)
    both = [a + b for a, b in zip(prepare, pool, strict=True)]
    slow, quick = median(both), median(fast)
    best = min(both) / min(fast)
    return (
        f"| {boxes} | {quick:.1f} | {own / quick / 1e6:.1f} | {own / 1e9:.2f} "
        f"| {median(prepare):.1f} + {median(pool):.1f} = {slow:.1f} | {other / slow / 1e6:.1f} "
        f"| {other / 1e9:.2f} | {slow / quick:.1f} | {best:.1f} | {difference:.1e} |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boxes", type=int, nargs="+", default=[1, 20, 100])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--kernel", choices=KERNELS, default="bag")
    parser.add_argument("--quick", action="store_true", help="1/8 of the channels, one repeat")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shrink, repeats = (8, 1) if options.quick else (1, options.repeats)
    sys.stdout.write(
        f"{datetime.date.today()}, {platform.machine()}, {torch.backends.cpu.get_cpu_capability()},"
        f" {options.threads} threads, torch {torch.__version__}, float32, median of {repeats}"
        f"{', 1/8 of the channels' if options.quick else ''}\n\n"
        "| boxes | ours ms | GFLOP/s | GFLOP "
        f"| interpolate + concat, RoIAlign ({options.kernel}) + mean ms | GFLOP/s | GFLOP "
        "| times faster | best of each | max difference |\n"
        f"{'|---' * 10}|\n"
    )
    with torch.inference_mode():
        for boxes in options.boxes:
            sys.stdout.write(measure(boxes, shrink, repeats, options.kernel) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
