"""Qwen3-VL as a host: deep vision features join the picture's tokens in early layers of the language model (DeepStack).

Region tokens are text to those layers: they add nothing to them.
"""

from typing import Any

from torch import Tensor
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.utils.generic import ModelOutput

from fo1.models.families.base import HostFeatures
from fo1.models.families.qwen3_5 import Qwen3_5


class Qwen3VL(Qwen3_5):
    """Adapter for `Qwen3VLForConditionalGeneration`."""

    model_type = "qwen3_vl"

    def region_layers(self, config: Any) -> tuple[int, ...]:
        """Return the blocks that DeepStack reads, and the last one."""
        vision = config.vision_config
        return tuple(sorted({*vision.deepstack_visual_indexes, vision.depth - 1}))

    def deep_features(self, outputs: Any) -> tuple[tuple[Tensor, ...], ...]:
        """Return per picture, layer by layer, what DeepStack adds to its tokens."""
        return tuple(zip(*outputs.deepstack_features, strict=True))

    def for_host(self, config: Any, features: HostFeatures) -> ModelOutput:
        """Return tokens and deep features, a list of pictures for every layer."""
        tokens: Any = features.tokens
        layers: Any = [list(layer) for layer in zip(*features.deep, strict=True)]
        return BaseModelOutputWithDeepstackFeatures(pooler_output=tokens, deepstack_features=layers)
