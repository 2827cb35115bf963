"""A Qwen3-VL host whose DeepStack reaches region tokens: early layers add to them the mean of what they add to the
picture's tokens in their boxes. The package adds nothing to them; `families.py --deepstack` compares.

Legend: N regions, L early layers, D language width.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fo1.models import FO1ForConditionalGeneration
from fo1.models.encoding import PictureEncoding, RegionEmbeddings
from fo1.models.pooling import pool_regions

ADDED = "added_to_regions"


class DeepRegions(FO1ForConditionalGeneration):
    """The deep features of regions travel where evidence does, which models without a score head have none of."""

    def encode_regions(
        self, encoding: PictureEncoding, *args: Any, **options: Any
    ) -> RegionEmbeddings:
        """Return regions with L deep features (N, D) each."""
        host_boxes = args[1]
        regions = super().encode_regions(encoding, *args, **options)
        stride = (
            self.vlm.config.vision_config.patch_size
            * self.vlm.config.vision_config.spatial_merge_size
        )
        pooled = [
            [mean_in_boxes(as_map(layer, maps.frame, stride), boxes, stride) for layer in layers]
            for layers, maps, boxes in zip(
                encoding.host.deep, encoding.host.maps, host_boxes, strict=True
            )
        ]
        return replace(regions, evidence=tuple(map(torch.cat, zip(*pooled, strict=True))))

    def host_inputs(self, input_ids: Tensor, *args: Any, **options: Any) -> dict[str, Any]:
        """Return what the host's forward takes, and what its early layers add to region tokens."""
        host = super().host_inputs(input_ids, *args, **options)
        regions, index = args[3], args[4]
        if regions is not None and regions.evidence:
            mask = input_ids == self.config.region_placeholder_id
            rows = [own if index is None else own[index] for own in regions.evidence]
            host[ADDED] = mask, rows
        return host


def as_map(tokens: Tensor, frame: tuple[int, int], stride: int) -> Tensor:
    """Return (D, H, W) of a picture's tokens (H W, D), rows first."""
    width = frame[0] // stride
    return tokens.reshape(-1, width, tokens.shape[-1]).permute(2, 0, 1)


def mean_in_boxes(features: Tensor, boxes: Tensor, stride: int) -> Tensor:
    """Return the mean of a map (D, H, W) in boxes (N, 4), without the zeros that thin boxes read beyond its border."""
    whole = torch.cat([features, torch.ones_like(features[:1])])
    pooled = pool_regions(whole, boxes, stride, 7)
    return pooled[:, :-1] / pooled[:, -1:]


def reach_regions(model: FO1ForConditionalGeneration) -> None:
    """Let what DeepStack adds to pictures reach a model's region tokens, in place."""
    model.__class__ = DeepRegions
    model.vlm.model.language_model.register_forward_pre_hook(_add, with_kwargs=True)


def _add(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    added = options.pop(ADDED, None)
    if added is None:
        return None
    regions, rows = added
    pictures = options["visual_pos_masks"]
    both = pictures | regions
    layers = []
    for deep, own in zip(options["deepstack_visual_embeds"], rows, strict=True):
        joined = deep.new_zeros(*both.shape, deep.shape[-1])
        joined[pictures], joined[regions] = deep, own.to(deep)
        layers.append(joined[both])
    return args, {**options, "visual_pos_masks": both, "deepstack_visual_embeds": layers}
