"""The parts of the encode graph as torch modules, each traced by itself.

What the model asks of its tensors (which boxes lie on which picture size) is a choice among results here.
Legend: N regions, C channels, H W map size, I image tokens, D language width, E evidence classes, S picture sizes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fo1.models import FO1ForConditionalGeneration
from fo1.models.efficientnet import PIXEL_MEAN, PIXEL_SCALE
from fo1.models.families import TRACINGS
from fo1.models.light_encoder import MIDDLE, LightEncoder, shrink_boxes
from fo1.models.nanodet import PIXEL_MEAN as DETECTOR_MEAN
from fo1.models.nanodet import PIXEL_STD as DETECTOR_STD
from fo1.models.pooling import axis_weights


class HostGraph(nn.Module):
    """The host's vision encoder, its projector and the pyramid.

    Args:
        model: on a host that can be traced.
    """

    def __init__(self, model: FO1ForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.tracing = TRACINGS[model.config.vlm_config.model_type]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return image tokens (I, D), their rows and columns (2,), then the maps (C, H, W) of boxes.

        Args:
            pixels: (1, 3, H, W), normalised for the host.
        """
        tokens, maps = self.tracing.encode_image(self.model.vlm, pixels)
        encoder = self.model.region_encoder
        levels: tuple[Tensor, ...] = ()
        if encoder.pyramid is not None:
            levels = tuple(level[0] for level in encoder.pyramid(maps[-1][None]))
        elif encoder.config.use_host:
            levels = (torch.cat(maps),)
        grid = torch.tensor(self.tracing.token_grid(self.model.vlm, pixels))
        return (self.model.image_projector(tokens), grid, *levels)


class ClassifierGraph(nn.Module):
    """The classifier's maps (C, H, W) of one picture (1, 3, h, w) whose sides are multiples of 32."""

    def __init__(self, light: LightEncoder) -> None:
        super().__init__()
        self.light = light

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return one map per stride, finest first."""
        return tuple(level[0] for level in self.light.classifier(pixels))


class DetectorGraph(nn.Module):
    """The detector's class maps (C, H, W) of one picture (1, 3, h, w), normalised for the classifier."""

    def __init__(self, light: LightEncoder) -> None:
        super().__init__()
        self.light = light

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return one map per stride, finest first."""
        detector = self.light.detector
        assert detector is not None
        pixels = pixels * PIXEL_SCALE + PIXEL_MEAN
        mean, std = (torch.tensor(v)[:, None, None] for v in (DETECTOR_MEAN, DETECTOR_STD))
        return tuple(level[0] for level in detector((pixels - mean) / std).probabilities)


class PlaceGraph(nn.Module):
    """Boxes of the auxiliary encoder's input on every size at which it looks."""

    def forward(self, boxes: Tensor, size: Tensor, views: Tensor) -> tuple[Tensor, ...]:
        """Return boxes (N, 4) per size; of the last one, which is the detector's, their middles.

        Args:
            boxes: (N, 4) xyxy pixels.
            size: (2,) width and height in the same pixels.
            views: (S, 2) width and height of each size.
        """
        *placed, last = (boxes[None] * (views / size).repeat(1, 2)[:, None]).unbind(0)
        return (*placed, shrink_boxes(last, MIDDLE))


class PoolGraph(nn.Module):
    """One map pooled under boxes, all regions at once.

    Args:
        output_size: bins per axis.
    """

    def __init__(self, output_size: int) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, feature_map: Tensor, boxes: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        """Return (N, C) of `fo1.models.pooling.pool_regions`.

        Args:
            feature_map: (C, H, W).
            boxes: (N, 4) xyxy pixels.
            scale: cells per pixel, one number.
            offset: pixels that are taken off the boxes, one number.
        """
        boxes = boxes - offset
        height, width = feature_map.shape[-2:]
        cells: Any = scale  # a tensor here: one graph serves all strides
        bins = self.output_size
        # Boxes lie in the picture, so a bin has no more cells than this, and one to spare for rounding.
        rows = axis_weights(boxes[:, 1], boxes[:, 3], height, cells, bins, height // bins + 2)
        columns = axis_weights(boxes[:, 0], boxes[:, 2], width, cells, bins, width // bins + 2)
        return (rows[:, :, None] * columns[:, None, :]).flatten(1) @ feature_map.flatten(1).T


class FuseGraph(nn.Module):
    """Pooled features to region embeddings and evidence.

    Args:
        model: with a light auxiliary encoder.
    """

    def __init__(self, model: FO1ForConditionalGeneration) -> None:
        super().__init__()
        self.encoder = model.region_encoder

    def forward(
        self,
        pooled: Tensor,
        detected: Tensor,
        host: Tensor,
        boxes: Tensor,
        host_boxes: Tensor,
        size: Tensor,
        frame: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return region embeddings (N, D), and class probabilities (N, E) with familiarity, if it is told, behind.

        Args:
            pooled: (S, N, F) the classifier's features, pooled on each of its sizes.
            detected: (levels, N, classes) of the detector.
            host: (N, Ch).
            boxes: (N, 4) xyxy pixels of the auxiliary encoder's input.
            host_boxes: (N, 4) xyxy pixels of the host's frame.
            size: (2,) width and height of the auxiliary encoder's input.
            frame: (2,) width and height of the host's frame.
        """
        light: LightEncoder = self.encoder.auxiliary
        choice = light.choose_side(boxes, size)
        features = pooled[0]
        for number in range(1, len(light.config.sides)):
            features = torch.where((choice == number)[:, None], pooled[number], features)
        auxiliary = light.finish(torch.cat([features, detected.amax(0)], dim=-1))
        # Only a DaViT's frame can be that of the box embedding, and this encoder is none.
        sides: Any = (frame[0], frame[1])
        fused = self.encoder.fuse(auxiliary, host, host_boxes, sides)
        familiar = light.familiar(auxiliary)
        told = () if familiar is None else (familiar[:, None],)
        return self.encoder.project(fused), torch.cat([*light.evidence(auxiliary), *told], dim=-1)
