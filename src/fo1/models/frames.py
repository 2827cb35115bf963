"""Puts a picture of any size into the square frame a network expects, and boxes back.

Legend: a frame is S x S pixels. Boxes are (N, 4) float32 xyxy, in pixels of the original picture or
of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fo1.geometry import Boxes

Triple: TypeAlias = tuple[float, float, float]
"""One number each for red, green, blue, on the scale 0-255."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in its frame.

    Args:
        scale: frame pixels per picture pixel, along x and along y.
        offset: the picture's left upper corner in pixels of the frame, x and y.
    """

    scale: tuple[float, float]
    offset: tuple[int, int]

    def to_frame(self, boxes: Boxes) -> Boxes:
        """Return boxes of the picture in pixels of the frame."""
        return boxes * _numbers(self.scale * 2) + _numbers(self.offset * 2)

    def to_picture(self, boxes: Boxes) -> Boxes:
        """Return boxes of the frame in pixels of the picture, not clipped."""
        return (boxes - _numbers(self.offset * 2)) / _numbers(self.scale * 2)


def letterbox(image: Image.Image, side: int, mean: Triple, std: Triple) -> tuple[Tensor, Placement]:
    """Return the picture at its own aspect ratio, centred between black bars.

    Returns:
        pixels: (1, 3, side, side) float32, RGB, normalised.
        placement: where the picture lies in them.
    """
    longest = max(image.size)
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    left, top = (side - width) // 2, (side - height) // 2
    frame = Image.new("RGB", (side, side))
    frame.paste(_resize(image, width, height), (left, top))
    placement = Placement((width / image.width, height / image.height), (left, top))
    return _normalise(frame, mean, std), placement


def stretch(image: Image.Image, side: int, mean: Triple, std: Triple) -> tuple[Tensor, Placement]:
    """Return the picture pulled to fill the frame, its aspect ratio lost.

    Returns:
        pixels: (1, 3, side, side) float32, RGB, normalised.
        placement: where the picture lies in them.
    """
    placement = Placement((side / image.width, side / image.height), (0, 0))
    return _normalise(_resize(image, side, side), mean, std), placement


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)


def _normalise(image: Image.Image, mean: Triple, std: Triple) -> Tensor:
    values = (np.asarray(image, dtype=np.float32) - _numbers(mean)) / _numbers(std)
    return torch.from_numpy(values.transpose(2, 0, 1)[None].copy())


def _numbers(values: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def channels_last(pixels: Tensor) -> Tensor:
    """Return the same (B, C, H, W) pixels with channels last in memory on a CPU, which the maps behind them keep.

    Convolutions are faster so: 1.3 to 1.6 times (benchmarks/arithmetic.py). Other devices were not measured.
    """
    on_cpu = pixels.device.type == "cpu"
    return pixels.contiguous(memory_format=torch.channels_last) if on_cpu else pixels
