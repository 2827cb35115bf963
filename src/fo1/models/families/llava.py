"""LLaVA as a host: one square frame for every picture, positions in one dimension.

The vision tower is CLIP or SigLIP; the language model is whatever the config names. A tower reads one size only, so
a picture of any shape is squashed to it: nothing is cut off, and boxes are scaled along each axis on its own.
"""

import copy
from collections.abc import Mapping
from typing import Any

from fo1.errors import CheckpointError, InputError
from fo1.models.families.base import HostFeatures
from fo1.models.families.plain import PlainFamily
from fo1.models.families.tiles import tower_maps
from fo1.models.region_encoder import HostMaps

CLASS_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}
"""Per kind of vision tower, how many tokens stand before those of the patches."""


class Llava(PlainFamily):
    """Adapter for `LlavaForConditionalGeneration`."""

    model_type = "llava"

    def region_layers(self, config: Any) -> tuple[int, ...]:
        """Return the blocks that the language model's own image tokens are made of.

        Raises:
            CheckpointError: a layer that the tower does not have, or what goes into its first block.
        """
        count = config.vision_config.num_hidden_layers
        chosen = config.vision_feature_layer
        layers = [chosen] if isinstance(chosen, int) else list(chosen)
        # The host counts what goes into the first block as 0, and from the end below that.
        blocks = [(layer if layer >= 0 else count + 1 + layer) - 1 for layer in layers]
        if not blocks or any(not 0 <= block < count for block in blocks):
            raise CheckpointError(
                f"vision_feature_layer is {chosen}, but the vision tower has {count} blocks; "
                "name outputs of them: 1 is the first, -1 the last"
            )
        return tuple(blocks)

    def check_image_processor(self, image_processor: Any) -> None:
        """Check that pictures are squashed to one size, not cropped."""
        size = getattr(image_processor, "size", None) or {}
        whole = getattr(image_processor, "do_resize", False) and all(
            isinstance(_side(size, name), int) for name in ("height", "width")
        )
        if getattr(image_processor, "do_center_crop", False) or not whole:
            raise InputError(
                f"{type(image_processor).__name__} does not bring the whole picture to one size, and boxes at its "
                "border would be lost; make it with do_resize=True, do_center_crop=False, "
                'size={"height": S, "width": S}'
            )

    def fit_image_processor(self, image_processor: Any, config: Any) -> Any:
        """Return a copy that knows the tower's patches; the tower has to be of a kind with one frame.

        One that crops the picture's middle, as LLaVA's published ones do, is made to squash the whole of it to
        the same size: boxes at the border would be lost.
        """
        vision = config.vision_config
        first = class_tokens(vision)
        if getattr(image_processor, "do_center_crop", False):
            side = vision.image_size
            whole = {
                "do_resize": True,
                "do_center_crop": False,
                "size": {"height": side, "width": side},
            }
            image_processor = type(image_processor).from_dict(
                {**image_processor.to_dict(), **whole}
            )
        self.check_image_processor(image_processor)
        check_side(image_processor, vision.image_size)
        dropped = config.vision_feature_select_strategy == "default"
        if dropped and not first:
            raise CheckpointError(
                f"a {vision.model_type} has no class token, but vision_feature_select_strategy 'default' "
                "drops one; set it to 'full'"
            )
        fitted = copy.deepcopy(image_processor)
        fitted.patch_size = vision.patch_size
        fitted.num_additional_image_tokens = 0 if dropped else first
        return fitted

    def texts(
        self, image_processor: Any, pictures: Mapping[str, Any], image_token: str
    ) -> list[str]:
        """Return one token per patch, and one more where the class token stays; reads `pixel_values`."""
        count, _, height, width = pictures["pixel_values"].shape
        patch = image_processor.patch_size
        patches = (height // patch) * (width // patch)
        return [image_token * (patches + image_processor.num_additional_image_tokens)] * count

    def encode_images(self, vlm: Any, inputs: Mapping[str, Any]) -> HostFeatures:
        """Return tokens and maps; reads `pixel_values` (B, 3, S, S)."""
        pixels, config = inputs["pixel_values"], vlm.config
        outputs = vlm.get_image_features(pixels, output_hidden_states=True, return_dict=True)
        height, width = pixels.shape[-2:]
        vision = config.vision_config
        grid = height // vision.patch_size, width // vision.patch_size
        layers = tower_maps(
            outputs.hidden_states, self.region_layers(config), class_tokens(vision), grid
        )
        maps = tuple(
            HostMaps(maps=tuple(layer[number] for layer in layers), frame=(width, height))
            for number in range(len(pixels))
        )
        return HostFeatures(tokens=tuple(outputs.pooler_output), maps=maps)


def class_tokens(vision: Any) -> int:
    """Return how many tokens of the tower stand before those of the patches.

    Raises:
        CheckpointError: the tower is of an unknown kind.
    """
    if vision.model_type not in CLASS_TOKENS:
        raise CheckpointError(
            f"vision tower {vision.model_type!r} is unknown here; use a host with one of {', '.join(CLASS_TOKENS)}"
        )
    return CLASS_TOKENS[vision.model_type]


def check_side(image_processor: Any, need: int) -> None:
    """Check that an image processor makes squares of the one size that a vision tower reads.

    Raises:
        InputError: it does not.
    """
    found = image_processor.size
    if (_side(found, "height"), _side(found, "width")) != (need, need):
        raise InputError(
            f"the image processor makes pictures of {_side(found, 'width')} x {_side(found, 'height')} pixels, "
            f"but the vision tower reads {need} x {need}; "
            f'give it size={{"height": {need}, "width": {need}}}'
        )


def _side(size: Any, name: str) -> Any:
    """Return a side of an image processor's size, None where it sets none."""
    return size.get(name) if hasattr(size, "get") else getattr(size, name, None)
