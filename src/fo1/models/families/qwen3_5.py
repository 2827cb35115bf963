"""Qwen3.5 as a host: no windows in its vision encoder, layers with linear attention in its language model."""

from typing import Any

from torch import Tensor

from fo1.models.families.qwen2_5_vl import Qwen2_5_VL


class Qwen3_5(Qwen2_5_VL):
    """Adapter for `Qwen3_5ForConditionalGeneration`."""

    model_type = "qwen3_5"

    def region_layers(self, config: Any) -> tuple[int, ...]:
        """Return the last block."""
        return (config.vision_config.depth - 1,)

    def block_order(self, vlm: Any, grids: Tensor) -> Tensor | None:
        """Return None: blocks stand in rows already."""
        return None
