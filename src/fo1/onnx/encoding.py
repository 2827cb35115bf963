"""The vision encoders and the region encoder in parts that are traced one by one and joined to one graph.

    picture --classifier--> maps --pool--+
    (each size)                          |
    picture --detector----> maps --pool--+--fuse--> region embeddings, class evidence
    picture --host--------> maps --pool--+
                      \\--> image tokens

What the model asks of its tensors (which boxes lie on which picture size) is a choice among results here.
Legend: N regions, C channels, H W map size, I image tokens, D language width, E evidence classes, S picture sizes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from onnx import ModelProto, TensorProto
from torch import Tensor, nn
from torch.export import Dim

from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.efficientnet import PIXEL_MEAN, PIXEL_SCALE, cell_offset
from fo1.models.families import TRACINGS
from fo1.models.light_encoder import CELL, MIDDLE, LightEncoder, shrink_boxes
from fo1.models.nanodet import FRAME
from fo1.models.nanodet import PIXEL_MEAN as DETECTOR_MEAN
from fo1.models.nanodet import PIXEL_STD as DETECTOR_STD
from fo1.models.nanodet import STRIDES as DETECTOR_STRIDES
from fo1.models.pooling import axis_weights
from fo1.models.pyramid import SimplePyramid
from fo1.onnx.graphs import Assembly, trace
from fo1.onnx.resizing import preparing


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
        rows = axis_weights(boxes[:, 1], boxes[:, 3], height, cells, self.output_size)
        columns = axis_weights(boxes[:, 0], boxes[:, 2], width, cells, self.output_size)
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
        """Return region embeddings (N, D) and class probabilities (N, E).

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
        own = self.encoder.config.box_frame == "auxiliary"
        chosen: Any = size if own else frame
        fused = self.encoder.fuse(
            auxiliary, host, boxes if own else host_boxes, (chosen[0], chosen[1])
        )
        return self.encoder.project(fused), torch.cat(light.evidence(auxiliary), dim=-1)


def encoding(model: FO1ForConditionalGeneration, processor: FO1Processor) -> ModelProto:
    """Return the graph from a picture and boxes to what the score graph takes.

    Inputs: picture (H, W, 3) uint8 RGB; boxes (N, 4) float32 xyxy pixels of it, N at least 1.
    Outputs: image_tokens (I, D), image_grid (2,), regions (N, D), evidence (N, E).

    Args:
        model: with a light auxiliary encoder that has a detector, on a host that can be traced.
        processor: made for this model.
    """
    encoder = model.region_encoder
    light: LightEncoder = encoder.auxiliary
    sides = (*light.config.sides, FRAME)
    graph = Assembly(
        "encode",
        {
            "picture": (TensorProto.UINT8, ("height", "width", 3)),
            "boxes": (TensorProto.FLOAT, ("regions", 4)),
        },
    )
    prepare = preparing(sides, processor.image_processor, processor.auxiliary_image_processor)
    *views, view_sizes, host_pixels, size, frame, boxes, host_boxes = graph.add(
        prepare, "picture", "boxes"
    )
    place, pool = _placing(len(sides)), _pooling(encoder.config.output_size)
    *placed, middle = graph.add(place, boxes, size, view_sizes)

    def pooled(maps: Sequence[str], where: str, strides: Sequence[float], shifted: bool) -> list[str]:
        """Return what each map gives under boxes."""
        return [
            *(
                graph.add(
                    pool,
                    one,
                    where,
                    graph.number(1 / stride),
                    graph.number(cell_offset(int(stride)) if shifted else 0.0),
                )[0]
                for one, stride in zip(maps, strides, strict=True)
            )
        ]

    classifier, detector = _classifying(light), _detecting(light)
    seen = [
        graph.join(pooled(graph.add(classifier, view), own, light.strides, True), "Concat", 1)
        for view, own in zip(views, placed, strict=False)
    ]
    detected = pooled(graph.add(detector, views[-1]), middle, DETECTOR_STRIDES, False)
    scales = SimplePyramid.scales if encoder.pyramid is not None else (1.0,)
    strides = [encoder.config.host_stride / scale for scale in scales]
    tokens, grid, *levels = graph.add(_seeing(model, len(scales)), host_pixels)
    host = graph.join(pooled(levels, host_boxes, strides, False), "Concat", 1)
    regions, evidence = graph.add(
        _fusing(model, len(DETECTOR_STRIDES)),
        *(graph.join(seen, "Stack", 0), graph.join(detected, "Stack", 0), host),
        *(boxes, host_boxes, size, frame),
    )
    width, classes = encoder.config.output_width, sum(light.evidence_widths)
    return graph.model(
        {
            "image_tokens": (tokens, TensorProto.FLOAT, ("tokens", width)),
            "image_grid": (grid, TensorProto.INT64, (2,)),
            "regions": (regions, TensorProto.FLOAT, ("regions", width)),
            "evidence": (evidence, TensorProto.FLOAT, ("regions", classes)),
        },
        about="picture (height, width, 3) RGB and boxes, xyxy pixels, to image tokens, region embeddings and "
        "class probabilities",
    )


def _placing(count: int) -> ModelProto:
    """Return `PlaceGraph` for some sizes."""
    example = {"boxes": torch.rand(3, 4), "size": torch.ones(2), "views": torch.ones(count, 2)}
    names = [f"boxes{number}" for number in range(count)]
    return trace(PlaceGraph(), example, names, {"boxes": {0: Dim("N")}})


def _pooling(output_size: int) -> ModelProto:
    example = {
        "feature_map": torch.rand(3, 20, 30),
        "boxes": torch.rand(5, 4) * 20,
        "scale": torch.tensor(0.125),
        "offset": torch.tensor(3.0),
    }
    dynamic = {"feature_map": {0: Dim("C"), 1: Dim("H"), 2: Dim("W")}, "boxes": {0: Dim("N")}}
    return trace(PoolGraph(output_size), example, ["pooled"], dynamic)


def _classifying(light: LightEncoder) -> ModelProto:
    """Return `ClassifierGraph`; its paddings are the same for all multiples of the coarsest stride."""
    example = {"pixels": torch.rand(1, 3, 2 * CELL, 3 * CELL)}
    return trace(ClassifierGraph(light), example, [f"map{i}" for i in range(len(light.strides))])


def _detecting(light: LightEncoder) -> ModelProto:
    example = {"pixels": torch.rand(1, 3, 2 * CELL, 3 * CELL)}
    dynamic = {"pixels": {2: CELL * Dim("h"), 3: CELL * Dim("w")}}
    names = [f"map{stride}" for stride in DETECTOR_STRIDES]
    return trace(DetectorGraph(light), example, names, dynamic)


def _seeing(model: FO1ForConditionalGeneration, levels: int) -> ModelProto:
    """Return `HostGraph`."""
    side = model.family.map_stride(model.config.vlm_config) * 2
    example = {"pixels": torch.rand(1, 3, 6 * side, 9 * side)}
    dynamic = {"pixels": {2: side * Dim("gh"), 3: side * Dim("gw")}}
    names = ["tokens", "grid", *(f"level{number}" for number in range(levels))]
    return trace(HostGraph(model), example, names, dynamic)


def _fusing(model: FO1ForConditionalGeneration, levels: int) -> ModelProto:
    """Return `FuseGraph`."""
    encoder = model.region_encoder
    light: LightEncoder = encoder.auxiliary
    count = 5
    shapes = {
        "pooled": (len(light.config.sides), count, light.feature_width),
        "detected": (levels, count, light.config.coco_classes),
        "host": (count, encoder.config.host_features),
        "boxes": (count, 4),
        "host_boxes": (count, 4),
    }
    example = {name: torch.rand(shape) for name, shape in shapes.items()}
    regions = Dim("N")
    dynamic = {name: {len(shape) - 2: regions} for name, shape in shapes.items()}
    example |= {"size": torch.ones(2), "frame": torch.ones(2)}
    return trace(FuseGraph(model), example, ["regions", "evidence"], dynamic)
