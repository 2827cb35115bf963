r"""The vision encoders and the region encoder as one graph, joined from parts that are traced one by one.

    picture --classifier--> maps --pool--+
    (each size)                          |
    picture --detector----> maps --pool--+--fuse--> region embeddings, class evidence
    picture --host--------> maps --pool--+
                      \--> image tokens

Traced as a whole, the sizes of all maps would have to be known as one system of equations, which takes hours.
"""

from collections.abc import Sequence

import torch
from onnx import ModelProto, TensorProto
from torch.export import Dim

from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.efficientnet import cell_offset
from fo1.models.light_encoder import CELL, LightEncoder
from fo1.models.nanodet import FRAME
from fo1.models.nanodet import STRIDES as DETECTOR_STRIDES
from fo1.models.pyramid import SimplePyramid
from fo1.onnx.encoding_parts import (
    ClassifierGraph,
    DetectorGraph,
    FuseGraph,
    HostGraph,
    PlaceGraph,
    PoolGraph,
)
from fo1.onnx.graphs import Assembly, trace, written
from fo1.onnx.resizing import preparing


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

    def pooled(
        maps: Sequence[str], where: str, strides: Sequence[float], shifted: bool = False
    ) -> list[str]:
        """Return what each map gives under boxes."""
        found: list[str] = []
        for one, stride in zip(maps, strides, strict=True):
            offset = cell_offset(int(stride)) if shifted else 0.0
            numbers = graph.number(1 / stride), graph.number(offset)
            found += graph.add(pool, one, where, *numbers)
        return found

    classifier, detector = _classifying(light), _detecting(light)
    quarter, contrast = _quartering(), _contrasting()
    seen = []
    for view, own in zip(views, placed, strict=False):
        maps = graph.add(classifier, view)
        parts = pooled(maps, own, light.strides, shifted=True)
        if light.config.contrasts:
            (quarters,) = graph.add(quarter, own)
            finer = pooled(maps[:-1], quarters, light.strides[:-1], shifted=True)
            parts = [name for one in finer for name in graph.add(contrast, one)] + parts
        seen.append(graph.join(parts, "Concat", 1))
    detected = pooled(graph.add(detector, views[-1]), middle, DETECTOR_STRIDES)
    scales = SimplePyramid.scales if encoder.pyramid is not None else (1.0,)
    strides = [encoder.config.host_stride / scale for scale in scales]
    tokens, grid, *levels = graph.add(_seeing(model, processor, len(scales)), host_pixels)
    host = graph.join(pooled(levels, host_boxes, strides), "Concat", 1)
    regions, evidence = graph.add(
        _fusing(model, len(DETECTOR_STRIDES)),
        *(graph.join(seen, "Stack", 0), graph.join(detected, "Stack", 0), host),
        *(boxes, host_boxes, size, frame),
    )
    width = encoder.config.output_width
    classes = sum(light.evidence_widths) + (light.familiarity is not None)
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


def _quartering() -> ModelProto:
    """Return the graph of `fo1.models.pooling.quarters`."""
    return written("""
    quarter (float[N, 4] boxes) => (float[M, 4] parts)
    <int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4}, float half = {0.5},
     int64[4] upper_left = {0, 1, 2, 3}, int64[4] upper_right = {2, 1, 4, 3},
     int64[4] lower_left = {0, 3, 2, 5}, int64[4] lower_right = {2, 3, 4, 5}>
    {
        near = Slice(boxes, zero, two, one)
        far = Slice(boxes, two, four, one)
        sum = Add(near, far)
        middle = Mul(sum, half)
        points = Concat<axis = 1>(near, middle, far)
        first = Gather<axis = 1>(points, upper_left)
        second = Gather<axis = 1>(points, upper_right)
        third = Gather<axis = 1>(points, lower_left)
        fourth = Gather<axis = 1>(points, lower_right)
        parts = Concat<axis = 0>(first, second, third, fourth)
    }""")


def _contrasting() -> ModelProto:
    """Return the graph of `fo1.models.pooling.haar`."""
    return written("""
    contrast (float[M, C] pooled) => (float[N, K] contrasts)
    <float quarter = {0.25}>
    {
        one, two, three, four = Split<axis = 0, num_outputs = 4>(pooled)
        rising = Add(one, four)
        falling = Add(two, three)
        left = Add(one, three)
        right = Add(two, four)
        upper = Add(one, two)
        lower = Add(three, four)
        across = Sub(left, right)
        down = Sub(upper, lower)
        slanting = Sub(rising, falling)
        together = Concat<axis = 1>(across, down, slanting)
        contrasts = Mul(together, quarter)
    }""")


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


def _seeing(model: FO1ForConditionalGeneration, processor: FO1Processor, levels: int) -> ModelProto:
    """Return `HostGraph` for any number of whole tokens."""
    side = processor.image_processor.patch_size * processor.image_processor.merge_size
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
