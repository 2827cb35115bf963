"""LLaVA-OneVision as a host: a picture whole, then padded to a grid of tiles, whose padding is cut off (anyres)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_onevision.modeling_llava_onevision import unpad_image

from fo1.errors import CheckpointError, InputError
from fo1.models.families.base import HostFeatures
from fo1.models.families.llava import Llava, class_tokens
from fo1.models.families.tiles import tiled_maps, tower_maps


class LlavaOnevision(Llava):
    """Adapter for `LlavaOnevisionForConditionalGeneration`; every picture is tiled, however many a prompt has."""

    model_type = "llava_onevision"
    image_inputs = ("pixel_values", "image_sizes")

    def fit_image_processor(self, image_processor: Any, config: Any) -> Any:
        """Return a copy that knows the tower's patches, and how many tiles fill a prompt."""
        fitted = super().fit_image_processor(image_processor, config)
        if fitted.num_additional_image_tokens:
            raise CheckpointError(
                f"the class tokens of a {config.vision_config.model_type} have no place among tiles; "
                "set vision_feature_select_strategy to 'default'"
            )
        found, need = getattr(fitted, "image_grid_pinpoints", ()), config.image_grid_pinpoints
        if [list(one) for one in found] != [list(one) for one in need]:
            raise InputError(
                f"the image processor knows {len(found)} grids of tiles, but the host was built for "
                f"{len(need)} others; give it image_grid_pinpoints of the host's config"
            )
        fitted.most_tiles = int(config.vision_aspect_ratio.rpartition("_")[2])
        return fitted

    def frames(self, image_processor: Any, pictures: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return (width, height) in pixels, without padding; reads `image_sizes` (B, 2)."""
        side, patch = image_processor.size["height"], image_processor.patch_size
        grids = image_processor.image_grid_pinpoints
        return [_place(size, grids, side, patch)[1] for size in pictures["image_sizes"].tolist()]

    def texts(
        self, image_processor: Any, pictures: Mapping[str, Any], image_token: str
    ) -> list[str]:
        """Return a token per patch of the whole and of the tiles, and one per row of these; reads `image_sizes`."""
        side, patch = image_processor.size["height"], image_processor.patch_size
        cells = side // patch
        counts = []
        for size in pictures["image_sizes"].tolist():
            (rows, columns), _, _ = _place(size, image_processor.image_grid_pinpoints, side, patch)
            tiled = torch.empty(1, rows * cells, columns * cells, device="meta")
            _, height, width = unpad_image(tiled, size).shape
            ratio = math.sqrt(height * width / (image_processor.most_tiles * cells**2))
            if ratio > 1.1:  # the host shrinks what is larger
                height, width = int(height // ratio), int(width // ratio)
            counts.append(cells**2 + height * (width + 1))
        return [image_token * count for count in counts]

    def encode_images(self, vlm: Any, inputs: Mapping[str, Any]) -> HostFeatures:
        """Return tokens and maps; reads `pixel_values` (B, tiles, 3, S, S) and `image_sizes` (B, 2)."""
        config, sizes = vlm.config, inputs["image_sizes"]
        outputs = vlm.get_image_features(
            inputs["pixel_values"], sizes, output_hidden_states=True, return_dict=True
        )
        vision = config.vision_config
        side, patch = vision.image_size, vision.patch_size
        placed = [_place(size, config.image_grid_pinpoints, side, patch) for size in sizes.tolist()]
        layers = tower_maps(
            outputs.hidden_states,
            self.region_layers(config),
            class_tokens(vision),
            (side // patch, side // patch),
        )
        counts = [rows * columns + 1 for (rows, columns), _, _ in placed]
        pictures = zip(*(layer.split(counts) for layer in layers), strict=True)
        return HostFeatures(
            tokens=tuple(outputs.pooler_output),
            maps=tuple(
                # The picture as a whole stands first here.
                tiled_maps([own.roll(-1, 0) for own in picture], tiling, patch, frame, origin)
                for picture, (tiling, frame, origin) in zip(pictures, placed, strict=True)
            ),
        )


def _place(
    size: list[int], grids: list[list[int]], side: int, patch: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return (rows, columns) of a picture's tiles, then its (width, height) and (x, y) in them, in pixels of the maps.

    Args:
        size: (height, width) of the picture.
        grids: (height, width) of all tiles together, of each grid there is.
        side: of a tile, in pixels.
        patch: likewise. What it leaves of a tile is not seen; the maps are laid out evenly all the same.
    """
    height, width = size
    total = select_best_resolution((height, width), grids)
    down, across = total[0] / height, total[1] / width
    if across < down:
        seen = min(math.ceil(height * across), total[0]), total[1]
    else:
        seen = total[0], min(math.ceil(width * down), total[1])
    scale = side // patch * patch / side
    before = [(whole - part) // 2 for whole, part in zip(total, seen, strict=True)]
    frame = round(seen[1] * scale), round(seen[0] * scale)
    origin = round(before[1] * scale), round(before[0] * scale)
    return (total[0] // side, total[1] // side), frame, origin
