"""Boxes that a model finds on the maps it sees regions with, so that they cost next to nothing."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fo1.errors import InputError
from fo1.geometry import Size
from fo1.models import FO1Processor
from fo1.models.light_encoder import LightEncoder
from fo1.proposals.base import DEFAULT_LIMIT, check_limit, rank_and_dedupe, unite
from fo1.results import Proposals

KEPT = 1000
"""Boxes of each source that are looked at."""


class OwnProposer:
    """The boxes of a light encoder: its detector's and its objectness head's take turns.

    Args:
        encoder: with a detector, an objectness head or both.
        processor: prepares its pixels.
        limit: the most boxes per picture.

    Raises:
        InputError: the limit is below 1, or the encoder finds no boxes.
    """

    name = "own"

    def __init__(
        self, encoder: LightEncoder, processor: FO1Processor, limit: int = DEFAULT_LIMIT
    ) -> None:
        if encoder.detector is None and encoder.objectness is None:
            raise InputError("this model finds no boxes of its own; choose another proposer")
        self.encoder = encoder
        self.processor = processor
        self.limit = check_limit(limit)

    def propose(self, image: Image.Image) -> Proposals:
        """Return at most `limit` boxes, best first; the whole picture if nothing was found."""
        device = self.encoder.feature_mean.device
        with torch.inference_mode():
            maps = self.encoder(self.processor.auxiliary_pixels(image)[None].to(device))
        return self.from_maps(maps, (image.height, image.width))

    def from_maps(self, maps: tuple[Tensor, ...], image_size: Size) -> Proposals:
        """Return the same from what the encoder made of a picture before.

        Args:
            maps: of one picture.
            image_size: (height, width) of that picture.
        """
        with torch.inference_mode():
            found = self.encoder.find(maps)
        seen = maps[-1].cpu().numpy()  # (width, height) of the encoder's input
        scale = np.tile(np.array(image_size[::-1], np.float32) / seen, 2)
        parts: list[Proposals] = []
        for boxes, scores in found:
            best = scores.topk(min(KEPT, len(scores)))
            placed = (boxes[best.indices].cpu().numpy() * scale).astype(np.float32)
            parts.append(
                rank_and_dedupe(
                    placed, best.values.cpu().numpy(), image_size, self.name, limit=self.limit
                )
            )
        return unite(parts, image_size, self.name, limit=self.limit)
