"""Qwen2.5-VL as a host: window order undone, positions in three dimensions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from fo1.errors import InputError
from fo1.models.families.base import HostFeatures
from fo1.models.families.plain import PlainFamily
from fo1.models.region_encoder import HostMaps

PATCHING = {
    "patch_size": "patch_size",
    "spatial_merge_size": "merge_size",
    "temporal_patch_size": "temporal_patch_size",
}
"""Settings of the vision encoder, and what the image processor calls them."""


class Qwen2_5_VL(PlainFamily):
    """Adapter for `Qwen2_5_VLForConditionalGeneration`."""

    model_type = "qwen2_5_vl"
    image_inputs = ("pixel_values", "image_grid_thw")

    def token_width(self, config: Any) -> int:
        """Return the width of an image token as the vision encoder makes it."""
        return config.vision_config.out_hidden_size

    def region_layers(self, config: Any) -> tuple[int, ...]:
        """Return the full-attention blocks."""
        return tuple(config.vision_config.fullatt_block_indexes)

    def check_image_processor(self, image_processor: Any) -> None:
        """Check that it cuts pictures into patches; it never crops."""
        for name in PATCHING.values():
            if not hasattr(image_processor, name):
                raise InputError(
                    f"{type(image_processor).__name__} has no {name}; "
                    "give this host its own image processor"
                )

    def fit_image_processor(self, image_processor: Any, config: Any) -> Any:
        """Return it as it is, once its patches are known to be the host's."""
        self.check_image_processor(image_processor)
        for setting, name in PATCHING.items():
            found, need = getattr(image_processor, name), getattr(config.vision_config, setting)
            if found != need:
                raise InputError(
                    f"the image processor's {name} is {found}, but the host was built for {need}; "
                    "give this host its own image processor"
                )
        return image_processor

    def frames(self, image_processor: Any, pictures: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Return (width, height) in pixels; reads `image_grid_thw` (B, 3)."""
        patch, grids = image_processor.patch_size, pictures["image_grid_thw"].tolist()
        return [(width * patch, height * patch) for _, height, width in grids]

    def texts(
        self, image_processor: Any, pictures: Mapping[str, Any], image_token: str
    ) -> list[str]:
        """Return one token per block of merged patches; reads `image_grid_thw` (B, 3)."""
        counts = pictures["image_grid_thw"].prod(-1) // image_processor.merge_size**2
        return [image_token * count for count in counts.tolist()]

    def encode_images(self, vlm: Any, inputs: Mapping[str, Any]) -> HostFeatures:
        """Return tokens and maps; reads `pixel_values` (patches, 1176) and `image_grid_thw` (B, 3)."""
        config, grids = vlm.config.vision_config, inputs["image_grid_thw"]
        outputs = vlm.get_image_features(
            inputs["pixel_values"], grids, output_hidden_states=True, return_dict=True
        )
        order = self.block_order(vlm, grids)
        unit = config.spatial_merge_size**2
        sizes = grids.prod(-1).tolist()
        layers = []  # per layer, per picture (C, H, W)
        for index in self.region_layers(vlm.config):
            state = outputs.hidden_states[index + 1]  # entry 0 is the embedding
            if order is not None:
                state = state.reshape(-1, unit, state.shape[-1])[order.to(state.device)]
            merged = state.reshape(-1, state.shape[-1])
            layers.append(
                [
                    _to_map(patches, grid, config.spatial_merge_size)
                    for patches, grid in zip(merged.split(sizes), grids.tolist(), strict=True)
                ]
            )
        patch = config.patch_size
        maps = tuple(
            HostMaps(maps=tuple(maps), frame=(grid[2] * patch, grid[1] * patch))
            for maps, grid in zip(zip(*layers, strict=True), grids.tolist(), strict=True)
        )
        return HostFeatures(
            tokens=tuple(outputs.pooler_output), maps=maps, deep=self.deep_features(outputs)
        )

    def deep_features(self, outputs: Any) -> tuple[tuple[Tensor, ...], ...]:
        """Return per picture what early layers of the language model add to its tokens; nothing here."""
        return ()

    def block_order(self, vlm: Any, grids: Tensor) -> Tensor | None:
        """Return (blocks,) where each block of merged patches stands in the encoder's states; None in rows."""
        config = vlm.config.vision_config
        window_index, _ = get_vision_window_index(
            grids, config.spatial_merge_size, config.window_size, config.patch_size
        )
        return torch.argsort(window_index)

    def position_ids(
        self,
        vlm: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        inputs: Mapping[str, Any],
    ) -> Tensor:
        """Return (3, B, T) positions: time, row, column; region placeholders count as text."""
        positions, _ = vlm.model.get_rope_index(
            input_ids,
            mm_token_type_ids=(input_ids == vlm.config.image_token_id).int(),
            image_grid_thw=inputs.get("image_grid_thw"),
            attention_mask=attention_mask,
        )
        return positions


def _to_map(patches: Tensor, grid: list[int], merge: int) -> Tensor:
    """Return (C, H, W) from (H W, C) patches in merge-block order."""
    _, height, width = grid
    blocks = patches.reshape(height // merge, width // merge, merge, merge, -1)
    return blocks.permute(4, 0, 2, 1, 3).reshape(-1, height, width)
