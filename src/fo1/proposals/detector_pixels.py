"""From a picture to the pixels that a detector of transformers takes, without torchvision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor
from transformers.image_processing_base import ImageProcessingMixin

from fo1.errors import CheckpointError

Pixels: TypeAlias = Callable[[Image.Image], dict[str, Tensor]]
"""From an RGB picture to a model's inputs by name, one picture in each."""

_WITHOUT_ANTIALIASING = "RfDetrImageProcessor"


def load_pixels(place: str) -> Pixels:
    """Return how a detector wants its pixels, from the settings in its folder or on the hub.

    Raises:
        ImportError: the processor needs a package that is not installed.
        CheckpointError: the settings ask for something that cannot be done.
        OSError: there are no settings.
    """
    settings, _ = ImageProcessingMixin.get_image_processor_dict(place)
    kind = str(settings.get("image_processor_type", ""))
    if kind.startswith(_WITHOUT_ANTIALIASING):
        return _PlainPixels(settings)
    processor = AutoImageProcessor.from_pretrained(place, backend="pil")

    def pixels(image: Image.Image) -> dict[str, Tensor]:
        return dict(processor(images=image, return_tensors="pt"))

    pixels(Image.new("RGB", (64, 64)))  # a missing package is told now, not at the first picture
    return pixels


class _PlainPixels:
    """Stretches pictures to one size by bilinear interpolation without antialiasing.

    Parity: RF-DETR was trained so, and transformers has its processor with torchvision alone.

    Args:
        settings: of its processor: `size`, `image_mean`, `image_std`.

    Raises:
        CheckpointError: they name no size of fixed height and width.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        size = settings.get("size") or {}
        if not (size.get("height") and size.get("width")):
            raise CheckpointError(
                f"its processor asks for pictures of size {size}; "
                "only a fixed height and width can be made without torchvision"
            )
        self.size = (int(size["height"]), int(size["width"]))
        self.mean, self.std = (
            torch.tensor(settings[key], dtype=torch.float32)[:, None, None]
            for key in ("image_mean", "image_std")
        )

    def __call__(self, image: Image.Image) -> dict[str, Tensor]:
        """Return pixel_values (1, 3, H, W)."""
        values = (
            torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float() / 255
        )
        values = torch.nn.functional.interpolate(values, self.size, mode="bilinear")
        return {"pixel_values": (values - self.mean) / self.std}
