"""Gemma 3 as a host: one square frame, and the tokens of a picture see each other in both directions.

Region tokens are text: each sees what stands before it. Pan-and-scan is refused, since its crops show no box twice.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput

from fo1.errors import InputError
from fo1.models.families.base import HostFeatures
from fo1.models.families.llava import Llava, check_side


class Gemma3(Llava):
    """Adapter for `Gemma3ForConditionalGeneration`."""

    model_type = "gemma3"

    def region_layers(self, config: Any) -> tuple[int, ...]:
        """Return the last block."""
        return (config.vision_config.num_hidden_layers - 1,)

    def check_image_processor(self, image_processor: Any) -> None:
        """Check that pictures are squashed to one size, and not cropped beside that."""
        super().check_image_processor(image_processor)
        if getattr(image_processor, "do_pan_and_scan", False):
            raise InputError(
                "do_pan_and_scan adds crops of a picture, in which boxes have no place; set it to False"
            )

    def fit_image_processor(self, image_processor: Any, config: Any) -> Any:
        """Return a copy that knows the tokens of a picture."""
        self.check_image_processor(image_processor)
        check_side(image_processor, config.vision_config.image_size)
        fitted = copy.deepcopy(image_processor)
        fitted.tokens_per_picture = config.mm_tokens_per_image
        return fitted

    def texts(
        self, image_processor: Any, pictures: Mapping[str, Any], image_token: str
    ) -> list[str]:
        """Return equally many tokens for every picture; reads `pixel_values`."""
        return [image_token * image_processor.tokens_per_picture] * len(pictures["pixel_values"])

    def for_host(self, config: Any, features: HostFeatures) -> ModelOutput:
        """Return the tokens in one tensor."""
        tokens = torch.stack(features.tokens)
        return BaseModelOutputWithPooling(pooler_output=tokens)  # type: ignore[arg-type]

    def attention(
        self, config: Any, input_ids: Tensor, attention_mask: Tensor
    ) -> dict[str, Tensor]:
        """Return the mask, and where pictures stand: marked for the host, or opened in a mask that is drawn already."""
        image = input_ids == self.image_token_id(config)
        if attention_mask.ndim == 2:
            return {"attention_mask": attention_mask, "token_type_ids": image.long()}
        starts = image & ~F.pad(image, (1, 0))[:, :-1]
        picture = torch.where(image, starts.cumsum(-1), 0)  # (B, T), counted from 1
        same = (picture[:, :, None] == picture[:, None]) & image[:, None]
        return {"attention_mask": attention_mask | same[:, None]}
