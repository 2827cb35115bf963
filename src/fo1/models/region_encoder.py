"""Hybrid fine-grained region encoder (HFRE): one embedding per box (Source: arXiv 2509.25916).

    auxiliary maps --pool--> norm --> (N, Ca) --+
                                                combine --> + box embedding --> projector --> (N, D)
    host map --pyramid--pool--> norm --> (N, Ch)+

Either source may be missing, and so may the norms and the embedding; the published model concatenates both, without
norms. Legend: N regions, C channels, H W map size, D width of the language model.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fo1.errors import CheckpointError
from fo1.models.checks import PROJECTOR_PATTERN, need_projector
from fo1.models.configuration import RegionEncoderConfig
from fo1.models.encoders import make_auxiliary
from fo1.models.pooling import box_embedding, pool_map_embedding, pool_regions
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

    def pool(
        self,
        maps: tuple[Tensor, ...],
        boxes: Tensor,
        output_size: int,
        masks: Tensor | None = None,
    ) -> Tensor:
        """Return (N, width) features of boxes (N, 4) given in pixels of the encoder's input.

        Masks (N, M, M), what counts of each box, are passed where a caller gives some; see `mask_pooling`.
        """
        ...


@dataclass(frozen=True, slots=True)
class HostMaps:
    """Feature maps of the host's vision encoder for one picture, before its connector.

    Attributes:
        maps: (C, H, W) each, first layer first, all of one size.
        frame: (width, height) of the resized picture that the host saw, in pixels.
        origin: (x, y) of the picture's corner in the maps, in pixels: hosts may pad it.
        overview: the picture whole and smaller, where `maps` are stitched from tiles that did not see each other. The
            size of a tile is that of the overview's frame; boxes that fit no tile are pooled from the overview.
    """

    maps: tuple[Tensor, ...]
    frame: tuple[int, int]
    origin: tuple[int, int] = (0, 0)
    overview: "HostMaps | None" = None

    def without_maps(self) -> "HostMaps":
        """Return what is left to place boxes with."""
        overview = self.overview and self.overview.without_maps()
        return replace(self, maps=(), overview=overview)


class RegionNorm(nn.LayerNorm):
    """Layer norm of pooled features, in float32 whatever the type of its weights."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the (N, C) float32 features, normalised."""
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(features.float(), self.normalized_shape, weight, bias, self.eps)


def make_projector(kind: str, width_in: int, width_out: int) -> nn.Sequential:
    """Return a projector; `kind` is "identity", "linear" or "mlpNx_gelu" (N linear layers).

    Raises:
        CheckpointError: the kind is unknown, or an identity would have to change the width.
    """
    match = PROJECTOR_PATTERN.fullmatch(need_projector("projector", kind))
    if kind == "identity":
        if width_in != width_out:
            raise CheckpointError(
                f"an identity projector cannot turn width {width_in} into {width_out}; use linear"
            )
        return nn.Sequential()
    layers: list[nn.Module] = [nn.Linear(width_in, width_out)]
    for _ in range(1, int((match and match.group(1)) or 1)):
        layers += [nn.GELU(), nn.Linear(width_out, width_out)]
    return nn.Sequential(*layers)


class RegionEncoder(nn.Module):
    """Turns boxes into region embeddings from one or two sets of feature maps.

    Args:
        config: settings.
        auxiliary: an encoder of your own, in place of the one that the settings name.
    """

    def __init__(self, config: RegionEncoderConfig, auxiliary: nn.Module | None = None):
        super().__init__()
        self.config = config
        self.auxiliary: Any = auxiliary or make_auxiliary(config)  # an AuxiliaryEncoder or None
        self.pyramid = (
            SimplePyramid(config.host_width, config.pyramid_width)
            if config.use_host and config.use_pyramid
            else None
        )
        auxiliary_width = self.auxiliary.width if config.use_auxiliary else 0
        self.width = config.region_width(auxiliary_width)
        self.auxiliary_norm = _make_norm(config, auxiliary_width)
        self.host_norm = _make_norm(config, config.host_features)
        self.projector = make_projector(config.projector, self.width, config.output_width)

    def host_levels(self, host: HostMaps) -> tuple[Tensor, ...]:
        """Return the maps (C, H_l, W_l) that boxes are pooled from; box-independent, so computed once a picture.

        Those of the overview, where there is one, come last.
        """
        if not self.config.use_host:
            return ()
        if self.pyramid is None:
            levels = (torch.cat(host.maps),)
        else:
            # parity: only the last recorded map feeds the pyramid.
            levels = tuple(level[0] for level in self.pyramid(host.maps[-1][None]))
        return levels if host.overview is None else (*levels, *self.host_levels(host.overview))

    def pool_host(
        self,
        levels: tuple[Tensor, ...],
        boxes: Tensor,
        host: HostMaps,
        masks: Tensor | None = None,
    ) -> Tensor | None:
        """Return (N, Ch) float32 features, None without host maps.

        Args:
            levels: from `host_levels`.
            boxes: (N, 4) in pixels of the host's frame.
            host: what the levels were made of; its maps are not read.
            masks: (N, M, M) what counts of each box, all of it if not given; see `mask_pooling`.
        """
        if not self.config.use_host:
            return None
        scales = SimplePyramid.scales if self.pyramid is not None else (1.0,)
        placed = boxes + boxes.new_tensor(host.origin * 2)
        pooled = [
            pool_regions(
                level, placed, self.config.host_stride / scale, self.config.output_size, masks
            )
            for level, scale in zip(levels, scales, strict=host.overview is None)
        ]
        features = torch.cat(pooled, dim=-1)
        if host.overview is None:
            return features
        tile = boxes.new_tensor(host.overview.frame)
        large = ((boxes[:, 2:] - boxes[:, :2]) > tile).any(-1)
        smaller = boxes * (tile / boxes.new_tensor(host.frame)).repeat(2)
        whole = self.pool_host(levels[len(scales) :], smaller, host.overview, masks)
        return torch.where(large[:, None].to(features.device), cast(Tensor, whole), features)

    def pool_auxiliary(
        self, maps: tuple[Tensor, ...], boxes: Tensor, masks: Tensor | None = None
    ) -> Tensor:
        """Return (N, Ca) float32 features; boxes (N, 4) in pixels of the auxiliary encoder's input."""
        # Encoders of others may know boxes alone.
        given = {} if masks is None else {"masks": masks}
        pooled = self.auxiliary.pool(maps, boxes, self.config.output_size, **given)
        if self.config.map_embedding:
            # parity: it counts as added to every map before they are up-sampled, never to the host's.
            pooled = pooled + pool_map_embedding(
                [m[0] for m in maps],
                boxes,
                self.auxiliary.strides[0],
                self.config.output_size,
                masks,
            )
        return pooled

    def fuse(
        self, auxiliary: Tensor | None, host: Tensor | None, boxes: Tensor, frame: tuple[int, int]
    ) -> Tensor:
        """Return (N, C) float32 region features, before the projector.

        Args:
            auxiliary: (N, Ca) pooled auxiliary features, which come first (parity); None if not used.
            host: (N, Ch) pooled host features; None if not used.
            boxes: (N, 4) xyxy in pixels of the frame named by `box_frame`.
            frame: (width, height) of that frame, by which the box embedding is normalised.
        """
        parts = []
        if auxiliary is not None:
            parts.append(self.auxiliary_norm(auxiliary))
        if host is not None:
            parts.append(self.host_norm(host))
        mean = self.config.combination == "mean"
        features = torch.stack(parts).mean(0) if mean else torch.cat(parts, dim=-1)
        if not self.config.box_embedding:
            return features
        return features + box_embedding(boxes.to(features.device), frame, self.width)

    def project(self, features: Tensor) -> Tensor:
        """Return (N, D) region embeddings from (N, C) features."""
        weight = next(self.projector.parameters(), None)
        return self.projector(features if weight is None else features.to(weight.dtype))


def _make_norm(config: RegionEncoderConfig, width: int) -> nn.Module:
    return RegionNorm(width) if config.layer_norm and width else nn.Identity()
