"""Hybrid fine-grained region encoder (HFRE): one embedding per box (Source: arXiv 2509.25916).

    auxiliary maps --pool--> (N, Ca) --+
                                       concat --> + box embedding --> projector --> (N, D)
    host map --pyramid--pool--> (N, Ch)+

Legend: N regions, C channels, H W map size, D width of the language model.
"""

from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers import Florence2VisionConfig

from fo1.models.configuration import PROJECTOR_PATTERN, LightEncoderConfig, RegionEncoderConfig
from fo1.models.davit import DaViT
from fo1.models.light_encoder import LightEncoder
from fo1.models.pooling import box_embedding, pool_regions
from fo1.models.pyramid import SimplePyramid


class AuxiliaryEncoder(Protocol):
    """What the region encoder asks of a second vision encoder."""

    @property
    def width(self) -> int:
        """Width of a pooled feature."""
        ...

    def __call__(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """Return the maps (1, C_l, H_l, W_l) of one picture (1, 3, H, W)."""
        ...

    def pool(self, maps: tuple[Tensor, ...], boxes: Tensor, output_size: int) -> Tensor:
        """Return (N, width) features of boxes (N, 4) given in pixels of the encoder's input."""
        ...


@dataclass(frozen=True, slots=True)
class HostMaps:
    """Feature maps of the host's vision encoder for one picture, before its connector.

    Attributes:
        maps: (C, H, W) each, first layer first, all of one size.
        frame: (width, height) of the resized picture that the host saw, in pixels.
    """

    maps: tuple[Tensor, ...]
    frame: tuple[int, int]


def make_projector(kind: str, width_in: int, width_out: int) -> nn.Sequential:
    """Return a projector; `kind` is "identity", "linear" or "mlpNx_gelu" (N linear layers)."""
    match = PROJECTOR_PATTERN.fullmatch(kind)
    if match is None:
        raise ValueError(f"projector {kind!r} is unknown; use identity, linear or mlpNx_gelu")
    if kind == "identity":
        if width_in != width_out:
            raise ValueError(
                f"an identity projector cannot turn width {width_in} into {width_out}; use linear"
            )
        return nn.Sequential()
    layers: list[nn.Module] = [nn.Linear(width_in, width_out)]
    for _ in range(1, int(match.group(1) or 1)):
        layers += [nn.GELU(), nn.Linear(width_out, width_out)]
    return nn.Sequential(*layers)


class RegionEncoder(nn.Module):
    """Turns boxes into region embeddings from two sets of feature maps."""

    def __init__(self, config: RegionEncoderConfig):
        super().__init__()
        self.config = config
        self.auxiliary: Any  # an AuxiliaryEncoder; modules can't be declared as protocols
        if isinstance(config.auxiliary_config, LightEncoderConfig):
            self.auxiliary = LightEncoder(config.auxiliary_config)
        else:
            self.auxiliary = DaViT(cast(Florence2VisionConfig, config.auxiliary_config))
        self.pyramid = (
            SimplePyramid(config.host_width, config.pyramid_width) if config.use_pyramid else None
        )
        host_width = (
            4 * config.pyramid_width
            if config.use_pyramid
            else config.host_levels * config.host_width
        )
        self.width = self.auxiliary.width + host_width
        self.projector = make_projector(config.projector, self.width, config.output_width)

    def host_levels(self, host: HostMaps) -> tuple[Tensor, ...]:
        """Return the maps (C, H_l, W_l) that boxes are pooled from; box-independent, so computed once a picture."""
        if self.pyramid is None:
            return (torch.cat(host.maps),)
        # parity: only the last recorded map feeds the pyramid.
        return tuple(level[0] for level in self.pyramid(host.maps[-1][None]))

    def pool_host(self, levels: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """Return (N, Ch) float32 features; boxes (N, 4) in pixels of the host's frame."""
        scales = SimplePyramid.scales if self.pyramid is not None else (1.0,)
        pooled = [
            pool_regions(level, boxes, self.config.host_stride / scale, self.config.output_size)
            for level, scale in zip(levels, scales, strict=True)
        ]
        return torch.cat(pooled, dim=-1)

    def pool_auxiliary(self, maps: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """Return (N, Ca) float32 features; boxes (N, 4) in pixels of the auxiliary encoder's input."""
        return self.auxiliary.pool(maps, boxes, self.config.output_size)

    def fuse(
        self, auxiliary: Tensor, host: Tensor, boxes: Tensor, frame: tuple[int, int]
    ) -> Tensor:
        """Return (N, C) float32 region features, before the projector.

        Args:
            auxiliary: (N, Ca) pooled auxiliary features, which come first (parity).
            host: (N, Ch) pooled host features.
            boxes: (N, 4) xyxy in pixels of the host's frame.
            frame: (width, height) of that frame (parity: it normalises the box embedding).
        """
        features = torch.cat([auxiliary, host], dim=-1)
        return features + box_embedding(boxes.to(features.device), frame, self.width)

    def project(self, features: Tensor) -> Tensor:
        """Return (N, D) region embeddings from (N, C) features."""
        weight = next(self.projector.parameters(), None)
        return self.projector(features if weight is None else features.to(weight.dtype))
