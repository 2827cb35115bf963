"""DaViT auxiliary encoder, from the vision parts of Florence-2 in transformers (Source: arXiv 2204.03645, 2311.06242).

The library's backbone returns its last map only; its public stages are run here one by one so that all four come out.
"""

from typing import Any, cast

from torch import Tensor
from transformers import Florence2VisionConfig
from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

from fo1.models.pooling import pool_upsampled


class DaViT(Florence2VisionBackbone):
    """Encoder of strides 4, 8, 16 and 32."""

    strides = (4, 8, 16, 32)

    def __init__(self, config: Florence2VisionConfig):
        super().__init__(config)
        self.channels = tuple(config.embed_dim)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Return four maps (B, C_l, H_l, W_l), finest first, from pixels (B, 3, H, W)."""
        x = pixel_values.to(self.dtype)
        maps = []
        for embed, blocks in zip(self.convs, cast(Any, self.blocks), strict=True):
            x = embed(x)
            for block in blocks:
                x = block(x)
            maps.append(x)
        return tuple(maps)

    @property
    def width(self) -> int:
        """Width of a pooled feature."""
        return sum(self.channels)

    def pool(
        self,
        maps: tuple[Tensor, ...],
        boxes: Tensor,
        output_size: int,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Return (N, width) float32 features; all maps count as up-sampled to the first (parity: stride exactly 4)."""
        return pool_upsampled([m[0] for m in maps], boxes, self.strides[0], output_size, masks)

    def frame(self, maps: tuple[Tensor, ...]) -> tuple[int, int]:
        """Return (width, height) in pixels of the picture that the finest map covers (parity: in whole cells)."""
        height, width = maps[0].shape[-2:]
        return width * self.strides[0], height * self.strides[0]
