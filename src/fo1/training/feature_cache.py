"""What a frozen auxiliary encoder says of a sample's regions, computed once and kept on the disk.

Legend: N regions of all pictures of a sample, C channels.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fo1.data.sample import Sample
from fo1.errors import InputError
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.processing import FO1Processor


class FeatureCache:
    """Features of regions by the name of their sample.

    Args:
        model: whose auxiliary encoder is frozen; called where a sample is new.
        processor: makes its pixels.
        folder: what was computed is kept there, one file per name.
    """

    def __init__(
        self,
        model: Callable[[], FO1ForConditionalGeneration],
        processor: FO1Processor,
        folder: Path,
    ):
        self.model, self.processor, self.folder = model, processor, folder

    def __call__(self, name: str, sample: Sample) -> Tensor:
        """Return (N, C) float32 features of a sample's regions."""
        file = self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.safetensors"
        if file.exists():
            stored = load_file(file)["features"]
            if len(stored) == sample.num_regions:
                return stored.float()
        found = self._pool(sample)
        self.folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        save_file({"features": found.half().contiguous()}, part)
        part.replace(file)
        # What a run sees first and what it sees after a restart are the same bits.
        return found.half().float()

    @torch.no_grad()
    def _pool(self, sample: Sample) -> Tensor:
        encoder = self.model().region_encoder
        fresh = getattr(encoder.auxiliary, "learned", ())
        if any(getattr(encoder.auxiliary, part, None) is not None for part in fresh):
            raise InputError(
                "the auxiliary encoder has a part that learns, so what it says cannot be kept; train without cache"
            )
        made = self.processor.prepare_pictures(sample.images, sample.boxes)
        device = next(encoder.parameters()).device
        pooled = [
            encoder.pool_auxiliary(encoder.auxiliary(pixels[None].to(device)), boxes.to(device))
            for pixels, boxes in zip(
                made["auxiliary_pixel_values"], made["auxiliary_boxes"], strict=True
            )
        ]
        return torch.cat(pooled).float().cpu()
