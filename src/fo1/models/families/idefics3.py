"""Idefics3 and SmolVLM as hosts: a picture is stretched over tiles, each marked with its place in the prompt."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from fo1.errors import InputError
from fo1.models.families.base import HostFeatures
from fo1.models.families.plain import PlainFamily
from fo1.models.families.tiles import tiled_features, tiled_frames, tower_maps

AROUND, WHOLE = "<fake_token_around_image>", "<global-img>"


class Idefics3(PlainFamily):
    """Adapter for `Idefics3ForConditionalGeneration`."""

    model_type = "idefics3"
    image_inputs = ("pixel_values", "tilings")

    def region_layers(self, config: Any) -> tuple[int, ...]:
        """Return the last block."""
        return (config.vision_config.num_hidden_layers - 1,)

    def check_image_processor(self, image_processor: Any) -> None:
        """Check that it stretches pictures over tiles; it never crops."""
        if not hasattr(image_processor, "max_image_size"):
            raise InputError(
                f"{type(image_processor).__name__} has no max_image_size; "
                "give this host its own image processor"
            )

    def fit_image_processor(self, image_processor: Any, config: Any) -> Any:
        """Return a copy that knows the tokens of a tile."""
        self.check_image_processor(image_processor)
        need, found = (
            config.vision_config.image_size,
            image_processor.max_image_size["longest_edge"],
        )
        if need != found:
            raise InputError(
                f"the image processor cuts tiles of {found} pixels, but the vision tower reads {need}; "
                f'give it max_image_size={{"longest_edge": {need}}}'
            )
        fitted = copy.deepcopy(image_processor)
        cells = need // config.vision_config.patch_size
        fitted.tokens_per_tile = (cells // config.scale_factor) ** 2
        return fitted

    def read_pictures(self, image_processor: Any, images: Sequence[Image.Image]) -> dict[str, Any]:
        """Return `pixel_values` (1, tiles of all pictures, 3, S, S) and `tilings` (B, 2), rows and columns."""
        made = image_processor(list(images), return_tensors="pt", return_row_col_info=True)
        tilings = torch.tensor([made["rows"][0], made["cols"][0]]).T.clamp(min=1)
        return {"pixel_values": made["pixel_values"], "tilings": tilings}

    def frames(self, image_processor: Any, pictures: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return (width, height) in pixels; reads `tilings` (B, 2)."""
        return tiled_frames(pictures["tilings"], image_processor.max_image_size["longest_edge"])

    def texts(
        self, image_processor: Any, pictures: Mapping[str, Any], image_token: str
    ) -> list[str]:
        """Return the tokens of all tiles and the marks before them; reads `tilings` (B, 2)."""
        tile = image_token * image_processor.tokens_per_tile
        texts = []
        for rows, columns in pictures["tilings"].tolist():
            text = f"{AROUND}{WHOLE}{tile}{AROUND}"
            if rows * columns > 1:
                marked = [
                    [f"{AROUND}<row_{row + 1}_col_{column + 1}>{tile}" for column in range(columns)]
                    for row in range(rows)
                ]
                text = "".join("".join(row) + "\n" for row in marked) + f"\n{text}"
            texts.append(text)
        return texts

    def encode_images(self, vlm: Any, inputs: Mapping[str, Any]) -> HostFeatures:
        """Return tokens and maps; reads `pixel_values` (1, tiles, 3, S, S) and `tilings` (B, 2)."""
        vision, tilings = vlm.config.vision_config, inputs["tilings"]
        outputs = vlm.get_image_features(
            inputs["pixel_values"], output_hidden_states=True, return_dict=True
        )
        cells = vision.image_size // vision.patch_size
        blocks = self.region_layers(vlm.config)
        layers = tower_maps(outputs.hidden_states, blocks, 0, (cells, cells))
        tokens = torch.cat(list(outputs.pooler_output)).unflatten(0, (len(layers[0]), -1))
        return tiled_features(layers, tokens, tilings, vision.patch_size)


class SmolVLM(Idefics3):
    """Adapter for `SmolVLMForConditionalGeneration`."""

    model_type = "smolvlm"
