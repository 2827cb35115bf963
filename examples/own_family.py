"""A host family of your own, outside the package: import this file before models of it are made or loaded.

    import own_family
    model, processor = FO1ForConditionalGeneration.from_vlm(FOLDER, tokenizer=..., image_processor=...)

What is here is what the host does in its own way: where its maps come from, which pictures it reads and how many tokens
these take. `tests/models/test_families.py` holds it to the contract of the package's own families.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from fo1 import InputError
from fo1.models import HostFeatures, HostMaps, PlainFamily, register_family

CLASS_TOKENS = 1  # stand before the patches; the language model does not read them


class VipLlava(PlainFamily):
    """Adapter for `VipLlavaForConditionalGeneration`: one square frame, several layers of a CLIP tower."""

    model_type = "vipllava"

    def region_layers(self, config: Any) -> tuple[int, ...]:
        """Return the blocks that the host reads, deepest last; it counts what goes into the first one as 0."""
        count = config.vision_config.num_hidden_layers
        chosen = [layer % (count + 1) - 1 for layer in config.vision_feature_layer]
        return tuple(sorted(block for block in chosen if block >= 0))

    def check_image_processor(self, image_processor: Any) -> None:
        """Check that nothing is cut off."""
        if image_processor.do_center_crop or not image_processor.do_resize:
            raise InputError("the image processor crops; make it with do_center_crop=False")

    def fit_image_processor(self, image_processor: Any, config: Any) -> Any:
        """Return a copy that makes squares of the one size that the tower reads, and knows its patches."""
        self.check_image_processor(image_processor)
        fitted, side = copy.deepcopy(image_processor), config.vision_config.image_size
        fitted.size = {"height": side, "width": side}
        fitted.patch_size = config.vision_config.patch_size
        return fitted

    def texts(
        self, image_processor: Any, pictures: Mapping[str, Any], image_token: str
    ) -> list[str]:
        """Return one token per patch."""
        count, _, height, width = pictures["pixel_values"].shape
        patch = image_processor.patch_size
        return [image_token * ((height // patch) * (width // patch))] * count

    def encode_images(self, vlm: Any, inputs: Mapping[str, Any]) -> HostFeatures:
        """Return tokens and maps of one pass."""
        pixels, patch = inputs["pixel_values"], vlm.config.vision_config.patch_size
        seen = vlm.get_image_features(pixels, output_hidden_states=True, return_dict=True)
        height, width = pixels.shape[-2:]
        layers = [
            seen.hidden_states[block + 1][:, CLASS_TOKENS:]
            .transpose(1, 2)
            .unflatten(-1, (height // patch, width // patch))
            for block in self.region_layers(vlm.config)
        ]
        maps = (HostMaps(own, (width, height)) for own in zip(*layers, strict=True))
        return HostFeatures(tokens=tuple(seen.pooler_output), maps=tuple(maps))

    def for_host(self, config: Any, features: HostFeatures) -> BaseModelOutputWithPooling:
        """Return the tokens in one tensor, which this host asks for."""
        tokens = torch.stack(features.tokens)
        return BaseModelOutputWithPooling(pooler_output=tokens)  # type: ignore[arg-type]


register_family(VipLlava())
