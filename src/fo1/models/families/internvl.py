"""InternVL as a host: a picture is stretched over a grid of tiles, and shown whole behind them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas
from transformers.utils.generic import ModelOutput

from fo1.models.families.base import HostFeatures
from fo1.models.families.llava import Llava, check_side
from fo1.models.families.tiles import tile_counts, tiled_features, tiled_frames, tower_maps


class InternVL(Llava):
    """Adapter for `InternVLForConditionalGeneration`."""

    model_type = "internvl"
    image_inputs = ("pixel_values", "tilings")

    def map_stride(self, config: Any) -> int:
        """Return the pixels per cell of the feature maps."""
        return _grid(config)[1]

    def fit_image_processor(self, image_processor: Any, config: Any) -> Any:
        """Return a copy that cuts tiles, as the host's own processor has it do, and knows the tokens of one."""
        self.check_image_processor(image_processor)
        cells, stride = _grid(config)
        check_side(image_processor, cells * stride)
        fitted = copy.deepcopy(image_processor)
        fitted.crop_to_patches = True
        fitted.tokens_per_tile = _tokens_per_tile(config)
        return fitted

    def read_pictures(self, image_processor: Any, images: Sequence[Image.Image]) -> dict[str, Any]:
        """Return `pixel_values` (tiles of all pictures, 3, S, S) and `tilings` (B, 2), rows and columns."""
        made = image_processor(list(images), return_tensors="pt")
        side = image_processor.size["height"]
        bounds = image_processor.min_patches, image_processor.max_patches
        tilings = [
            get_optimal_tiled_canvas((image.height, image.width), (side, side), *bounds)[::-1]
            for image in images
        ]
        return {"pixel_values": made["pixel_values"], "tilings": torch.tensor(tilings)}

    def frames(self, image_processor: Any, pictures: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return (width, height) in pixels; reads `tilings` (B, 2)."""
        return tiled_frames(pictures["tilings"], image_processor.size["height"])

    def texts(
        self, image_processor: Any, pictures: Mapping[str, Any], image_token: str
    ) -> list[str]:
        """Return the tokens of all tiles; reads `tilings` (B, 2)."""
        tile = image_token * image_processor.tokens_per_tile
        return [tile * count for count in tile_counts(pictures["tilings"])]

    def encode_images(self, vlm: Any, inputs: Mapping[str, Any]) -> HostFeatures:
        """Return tokens and maps; reads `pixel_values` (tiles, 3, S, S) and `tilings` (B, 2)."""
        config, tilings = vlm.config, inputs["tilings"]
        outputs = vlm.get_image_features(
            inputs["pixel_values"], output_hidden_states=True, return_dict=True
        )
        cells, stride = _grid(config)
        blocks = self.region_layers(config)
        layers = tower_maps(outputs.hidden_states, blocks, 1, (cells, cells))
        return tiled_features(layers, outputs.pooler_output, tilings, stride)

    def for_host(self, config: Any, features: HostFeatures) -> ModelOutput:
        """Return the tokens in one tensor, tile by tile."""
        tiles = torch.cat(features.tokens).unflatten(0, (-1, _tokens_per_tile(config)))
        return BaseModelOutputWithPooling(pooler_output=tiles)  # type: ignore[arg-type]


def _grid(config: Any) -> tuple[int, int]:
    """Return the cells along one side of a tile, and the pixels of one."""
    side, patch = (
        value if isinstance(value, int) else value[0]
        for value in (config.vision_config.image_size, config.vision_config.patch_size)
    )
    return side // patch, patch


def _tokens_per_tile(config: Any) -> int:
    """Return what pixel shuffle leaves of the patches of a tile."""
    return int(_grid(config)[0] * config.downsample_ratio) ** 2
