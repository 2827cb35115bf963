"""Any vision encoder of transformers as auxiliary encoder: its maps, their strides, and how boxes lie on them.

    backbones with maps (AutoBackbone)         one map per stride, the deepest; pooled each at its own resolution
    plain ViTs, from either, all of one stride the last map, then a simple pyramid, which is learned with the regions
    models without a backbone class (AutoModel)  the tokens of patches, which stand last, are their map

Nothing is assumed of a kind of encoder: strides and widths are read off a run without weights or arithmetic (on the
"meta" device). Pictures are padded below and on the right to whole cells of the coarsest map.

Legend: N regions, M parts of a box per axis, C channels, H W size of picture or map, T tokens, L levels.
"""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoBackbone, AutoModel, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

from fo1.errors import CheckpointError
from fo1.models.frames import channels_last
from fo1.models.pooling import pool_regions
from fo1.models.pyramid import SimplePyramid

PROBE = 224
"""Side in pixels of the pictures that tell strides; all usual ones divide it."""


SCRAMBLED = frozenset({"hiera"})
"""Backbones of transformers 5.23 that lay their cells out in another order than the picture's (it leaves out to unroll
the patches, which its encoder expects)."""


@dataclass(frozen=True, slots=True)
class Levels:
    """What an encoder gives.

    Attributes:
        strides: pixels per cell, finest first.
        channels: of each map.
        chosen: which of its maps those are.
        tokens: whether it gives tokens, which are laid out as a map.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    chosen: tuple[int, ...]
    tokens: bool = False


class TransformersEncoder(nn.Module):
    """A vision encoder of transformers, frozen unless a stage says otherwise, and a pyramid where it has one stride.

    Args:
        config: of any vision encoder that `AutoBackbone` or `AutoModel` knows.
        pyramid_width: channels of each level of the pyramid.

    Raises:
        CheckpointError: it gives no maps.
    """

    learned = ("pyramid",)
    """Parts that are new, so they learn with the regions from the first stage on."""

    def __init__(self, config: PreTrainedConfig, pyramid_width: int):
        super().__init__()
        self.config = _with_all_stages(config)
        self.levels = read_levels(self.config)
        self.backbone: Any = _make(self.config)
        (stride, *coarser), (channels, *_) = self.levels.strides, self.levels.channels
        self.pyramid = None if coarser else SimplePyramid(channels, pyramid_width)
        self.strides: tuple[float, ...] = self.levels.strides
        self.width = sum(self.levels.channels)
        if self.pyramid is not None:
            self.strides = tuple(stride / scale for scale in SimplePyramid.scales)
            self.width = len(self.strides) * pyramid_width
        # Cells of a patch lie around their middle; those of a wider, padded convolution around its first pixel.
        first = next((m for m in self.backbone.modules() if isinstance(m, nn.Conv2d)), None)
        self.offset = 0.5 if first is None or first.kernel_size == first.stride else 0.0

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Return the maps (1, C_l, H_l, W_l), finest first.

        Args:
            pixel_values: (1, 3, H, W), normalised.
        """
        maps = self._run(self._fit(pixel_values).to(self.backbone.dtype))
        if self.pyramid is not None:
            maps = self.pyramid(maps[0].to(next(self.pyramid.parameters()).dtype))
        return maps

    def pool(
        self,
        maps: tuple[Tensor, ...],
        boxes: Tensor,
        output_size: int,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Return (N, width) float32: each map pooled at its own resolution.

        Args:
            maps: of one picture.
            boxes: (N, 4) xyxy, pixels of the encoder's input.
            output_size: RoIAlign bins per axis.
            masks: (N, M, M) what counts of each box, all of it if not given; see `mask_pooling`.
        """
        levels = maps
        boxes = boxes.to(levels[0].device).float()
        pooled = [
            pool_regions(m[0], boxes - self.offset * stride, stride, output_size, masks)
            for m, stride in zip(levels, self.strides, strict=True)
        ]
        return torch.cat(pooled, dim=-1)

    def _fit(self, pixels: Tensor) -> Tensor:
        """Return the picture with whole cells on each side."""
        # A pyramid halves its map once more.
        cell = self.levels.strides[-1] * (1 if self.pyramid is None else 2)
        height, width = pixels.shape[-2:]
        return channels_last(F.pad(pixels, (0, -width % cell, 0, -height % cell)))

    def _run(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found = _call(self.backbone, pixels)
        if not self.levels.tokens:
            return tuple(found[index] for index in self.levels.chosen)
        (stride,), (height, width) = self.levels.strides, pixels.shape[-2:]
        cells = height // stride, width // stride
        patches = found[0][:, -cells[0] * cells[1] :]
        return (patches.transpose(1, 2).unflatten(2, cells),)


def read_levels(config: PreTrainedConfig) -> Levels:
    """Return what an encoder gives, from a run without weights.

    Raises:
        CheckpointError: it gives no maps, or maps of strides that are no whole pixels.
    """
    name = config.model_type
    if name in SCRAMBLED:
        raise CheckpointError(
            f"auxiliary encoder {name!r}: its backbone in transformers gives cells out of order; use another encoder"
        )
    with torch.device("meta"):
        encoder = _make(config)
    try:
        return _levels(encoder)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"auxiliary encoder {name!r} gives no feature maps ({reason}); use one that AutoBackbone knows, "
            "or register one of your own with fo1.models.register_encoder"
        ) from error


@torch.no_grad()
def _levels(encoder: Any) -> Levels:
    found, wider = (
        _call(encoder, torch.zeros(1, 3, PROBE, width, device="meta"))
        for width in (PROBE, 2 * PROBE)
    )
    if found[0].ndim == 3:
        # Twice the picture has twice the patches, but no more of the tokens before them.
        count, channels = found[0].shape[1:]
        stride = _stride(PROBE, round((wider[0].shape[1] - count) ** 0.5))
        return Levels((stride,), (channels,), (0,), tokens=True)
    # The deepest of each stride, finest first.
    deepest = {_stride(PROBE, m.shape[-1]): (place, m.shape[1]) for place, m in enumerate(found)}
    strides = tuple(sorted(deepest))
    places, channels = zip(*(deepest[stride] for stride in strides), strict=True)
    return Levels(strides, channels, places)


def _stride(side: int, cells: int) -> int:
    if not cells or side % cells:
        raise ValueError(f"{cells} cells over {side} pixels")
    return side // cells


def _call(encoder: Any, pixels: Tensor) -> tuple[Tensor, ...]:
    """Return the maps (1, C, H, W) that a backbone gives, or the tokens (1, T, C) of another model."""
    takes = inspect.signature(encoder.forward).parameters
    options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
    found = encoder(pixels, **options)
    maps = getattr(found, "feature_maps", None)
    return (found.last_hidden_state,) if maps is None else tuple(maps)


def _make(config: PreTrainedConfig) -> nn.Module:
    kind = AutoBackbone if type(config) in MODEL_FOR_BACKBONE_MAPPING else AutoModel
    try:
        return kind.from_config(copy.deepcopy(config))
    except (ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"auxiliary encoder {config.model_type!r} cannot be made ({reason})"
        ) from error


def _with_all_stages(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return a copy that asks a backbone for all its stages, unless the config names other than the last."""
    own: Any = copy.deepcopy(config)
    if type(own) not in MODEL_FOR_BACKBONE_MAPPING:
        return own
    stages = own.stage_names
    if list(own.out_features or ()) in ([], [stages[-1]]):
        own.set_output_features_output_indices([s for s in stages if s != "stem"], None)
    return own
