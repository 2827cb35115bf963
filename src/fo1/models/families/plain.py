"""What most host families share: a vision tower with one square frame, positions in one dimension, causal attention."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput

from fo1.models.families.base import HostFeatures


class PlainFamily:
    """Parts of a `VLMFamily`; an adapter overrides what its host does otherwise."""

    image_inputs: tuple[str, ...] = ("pixel_values",)

    def map_width(self, config: Any) -> int:
        """Return the channels of one feature map."""
        return config.vision_config.hidden_size

    def map_stride(self, config: Any) -> int:
        """Return the pixels per cell of the feature maps."""
        return config.vision_config.patch_size

    def token_width(self, config: Any) -> int:
        """Return the width of an image token: the host's projector is part of its vision encoder here."""
        return config.text_config.hidden_size

    def image_token_id(self, config: Any) -> int:
        """Return the id of the image token."""
        return config.image_token_id

    def read_pictures(self, image_processor: Any, images: Sequence[Image.Image]) -> dict[str, Any]:
        """Return what the image processor makes of them, as far as the host reads it."""
        made = image_processor(list(images), return_tensors="pt")
        return {name: made[name] for name in self.image_inputs}

    def frames(self, image_processor: Any, pictures: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return the one (width, height) of all pictures, in pixels; reads `pixel_values` (B, 3, H, W)."""
        count, _, height, width = pictures["pixel_values"].shape
        return [(width, height)] * count

    def for_host(self, config: Any, features: HostFeatures) -> ModelOutput:
        """Return the tokens, one tensor per picture."""
        tokens: Any = features.tokens
        return BaseModelOutputWithPooling(pooler_output=tokens)

    def attention(
        self, config: Any, input_ids: Tensor, attention_mask: Tensor
    ) -> dict[str, Tensor]:
        """Return the mask as it is."""
        return {"attention_mask": attention_mask}

    def position_ids(
        self,
        vlm: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        inputs: Mapping[str, Any],
    ) -> Tensor:
        """Return (B, T) positions, counted from the first token that is no padding."""
        return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
