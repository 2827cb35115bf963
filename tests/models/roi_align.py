"""RoIAlign written out as slow loops, the oracle of the pooling tests."""

import itertools
import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def roi_align_weights(
    boxes: npt.ArrayLike,
    height: int,
    width: int,
    stride: float,
    bins: int,
    number: type[np.floating] = np.float32,
    masks: npt.NDArray[np.floating] | None = None,
) -> Array:
    """Return the (N, H, W) share of every cell in the mean over all bins of RoIAlign.

    One bin after the other, one sample after the other, four corners each, with the rules of the
    compiled kernel's default flags.

    Args:
        boxes: (N, 4) xyxy pixels.
        height: H cells.
        width: W cells.
        stride: pixels per cell.
        bins: bins per axis.
        number: type in which coordinates are computed; the kernel's is float32.
        masks: (N, M, M) what counts of each box; a sample counts by how much of its piece of the box is covered.
    """
    scale = number(np.float32(1 / stride))
    shares = np.zeros((len(np.asarray(boxes)), height, width))
    rows = np.asarray(boxes, np.float32).astype(number)
    for place, (share, box) in enumerate(zip(shares, rows, strict=True)):
        mask = np.ones((1, 1)) if masks is None else np.asarray(masks[place], np.float64)
        x1, y1, x2, y2 = (edge * scale for edge in box)
        bin_width = max(number(x2 - x1), number(1)) / number(bins)
        bin_height = max(number(y2 - y1), number(1)) / number(bins)
        across, down = math.ceil(bin_width), math.ceil(bin_height)
        for row, column, i, k in itertools.product(
            range(bins), range(bins), range(down), range(across)
        ):
            y = y1 + number(row) * bin_height + number(i + 0.5) * bin_height / number(down)
            x = x1 + number(column) * bin_width + number(k + 0.5) * bin_width / number(across)
            covered = _mean_over(
                mask,
                ((row * down + i) / (bins * down), (row * down + i + 1) / (bins * down)),
                (
                    (column * across + k) / (bins * across),
                    (column * across + k + 1) / (bins * across),
                ),
            )
            _add_sample(share, y, x, covered / mask.mean() / (bins * bins * down * across))
    return shares


def _mean_over(mask: Array, down: tuple[float, float], across: tuple[float, float]) -> float:
    """Return the mean of a mask over a piece of its box, whose sides are given as shares of the box's."""
    total = 0.0
    height, width = mask.shape
    for row, column in itertools.product(range(height), range(width)):
        high = min(down[1], (row + 1) / height) - max(down[0], row / height)
        wide = min(across[1], (column + 1) / width) - max(across[0], column / width)
        total += mask[row, column] * max(high, 0) * max(wide, 0)
    return total / ((down[1] - down[0]) * (across[1] - across[0]))


def _add_sample(share: Array, y: np.floating, x: np.floating, weight: float) -> None:
    """Spread one sample over the four cells around it; one outside the map counts as zero."""
    height, width = share.shape
    if y < -1 or y > height or x < -1 or x > width:
        return
    y, x = max(y, type(y)(0)), max(x, type(x)(0))
    top, left = int(y), int(x)
    if top >= height - 1:
        top = height - 1
        y = type(y)(top)
    if left >= width - 1:
        left = width - 1
        x = type(x)(left)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = float(y - top), float(x - left)
    share[top, left] += weight * (1 - down) * (1 - across)
    share[top, right] += weight * (1 - down) * across
    share[bottom, left] += weight * down * (1 - across)
    share[bottom, right] += weight * down * across


def odd_boxes(height: int, width: int, stride: float) -> npt.NDArray[np.float32]:
    """Return (N, 4) boxes, in pixels, that try every rule of the kernel on an H x W map."""
    h, w = float(height), float(width)
    cells = [
        [0.3 * w, 0.2 * h, 0.8 * w, 0.7 * h],  # ordinary
        [0.31 * w, 0.2 * h, 0.31 * w, 0.7 * h],  # zero width
        [0.3 * w, 0.21 * h, 0.8 * w, 0.21 * h],  # zero height
        [0.4 * w, 0.4 * h, 0.4 * w, 0.4 * h],  # zero in both
        [0, 0, 0, 0],
        [w, h, w, h],
        [1.2, 1.3, 1.21, 1.31],  # tiny
        [0.7 * w, 0.7 * h, 0.2 * w, 0.9 * h],  # inverted in x
        [0.2 * w, 0.9 * h, 0.7 * w, 0.3 * h],  # inverted in y
        [0.9 * w, 0.9 * h, 0.1 * w, 0.1 * h],  # inverted in both
        [0, 0, w, h],  # full
        [0, 0, 0.5 * w, 0.5 * h],  # at the border
        [w - 1, h - 1, w, h],  # last cell
        [-0.5 * w, 0.2 * h, 0.5 * w, 0.6 * h],  # half outside
        [0.6 * w, -0.4 * h, 1.5 * w, 0.5 * h],
        [-3 * w - 3, -3 * h - 3, -2 * w - 3, -2 * h - 3],  # wholly outside
        [2 * w + 2, 0, 3 * w + 2, h],
        [-0.5, -0.5, 0.4, 0.4],  # between -1 and 0
        [-1, -1, 0, 0],  # from exactly -1
        [-1.5, -1.5, -0.5, -0.5],  # one sample at exactly -1 with one bin
        [-1.001, -1.001, -0.9, -0.9],  # from just below -1
        [w - 0.5, h - 0.5, w + 0.5, h + 0.5],  # one sample at exactly the far end
        [-w, -h, 2 * w, 2 * h],  # three times the map
        [0, 0.5 * h, w, 0.5 * h + 0.05],  # thin lines
        [0.5 * w, 0, 0.5 * w + 0.05, h],
        [0, 10, 0, 10],
    ]
    return (np.array(cells) * stride).astype(np.float32)
