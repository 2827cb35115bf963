"""The detectors that propose boxes, and the rules that make a short ranked list of what they find, as one graph."""

from collections.abc import Sequence

import torch
from onnx import ModelProto, TensorProto
from torch import Tensor, nn

from fo1.models import nanodet, ssd
from fo1.onnx.graphs import Assembly, trace, written
from fo1.onnx.resizing import letterboxing, stretching
from fo1.proposals.base import CANDIDATES, OVERLAP, SMALLEST_SIDE
from fo1.proposals.detector import NanoDetProposer, SSDProposer

_LEAST = -1e9  # below any rank: what must not win


class _Boxes(nn.Module):
    """A detector's boxes (M, 4) in pixels of its frame and the probability (M,) of the best class."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(pixels)
        is_dense = isinstance(found, nanodet.DenseDetections)
        boxes, probabilities = nanodet.decode(found) if is_dense else found
        return boxes[0], probabilities[0].amax(-1)


def proposing(proposers: Sequence[NanoDetProposer | SSDProposer], limit: int) -> ModelProto:
    """Return the graph from a picture to proposals, as `UnionProposer` or a single proposer makes them.

    Input: picture (H, W, 3) uint8 RGB. Outputs: boxes (N, 4) float32 xyxy pixels of it, scores (N,), N from 1 to
    `limit`.

    Args:
        proposers: in the order in which they take turns.
        limit: the most boxes.
    """
    graph = Assembly("propose", {"picture": (TensorProto.UINT8, ("height", "width", 3))})
    select = _selecting(limit)
    found: list[list[str]] = []
    for proposer in proposers:
        is_ssd = isinstance(proposer, SSDProposer)
        frame = (ssd if is_ssd else nanodet).FRAME
        place = (
            stretching(frame, ssd.PIXEL_MEAN, ssd.PIXEL_STD)
            if is_ssd
            else letterboxing(frame, nanodet.PIXEL_MEAN, nanodet.PIXEL_STD)
        )
        pixels, scale, offset = graph.add(place, "picture")
        example = {"pixels": torch.zeros(1, 3, frame, frame)}
        network = trace(_Boxes(proposer.model), example, ["boxes", "scores"])
        boxes, scores = graph.add(network, pixels)
        (boxes,) = graph.add(_returning(), boxes, scale, offset)
        found.append(graph.add(select, "picture", boxes, scores, scores))
    if len(found) > 1:
        turns = graph.add(_taking_turns(len(found)), *(name for part in found for name in part))
        found = [graph.add(select, "picture", *turns)]
    ((boxes, scores),) = found
    return graph.model(
        {
            "boxes": (boxes, TensorProto.FLOAT, ("boxes", 4)),
            "scores": (scores, TensorProto.FLOAT, ("boxes",)),
        },
        about="picture (height, width, 3) RGB to boxes that may hold something, xyxy pixels, best first",
    )


def _returning() -> ModelProto:
    """Return the graph of `Placement.to_picture`."""
    return written("""
    to_picture (float[M, 4] framed, float[4] scale, float[4] offset) => (float[M, 4] boxes)
    {
        moved = Sub(framed, offset)
        boxes = Div(moved, scale)
    }""")


def _selecting(limit: int) -> ModelProto:
    """Return the graph of `rank_and_dedupe`: picture, boxes, scores and ranks to the boxes and scores that stay."""
    return written(f"""
    select (uint8[H, W, 3] picture, float[M, 4] boxes, float[M] scores, float[M] ranks) =>
        (float[n, 4] kept_boxes, float[n] kept_scores)
    <int64[4] corners = {{1, 0, 1, 0}}, float none = {{0.0}}, float least_side = {{{SMALLEST_SIDE}}},
     float lost = {{{_LEAST}}}, int64[1] most = {{{CANDIDATES}}}, int64[1] zero = {{0}}, int64[1] one = {{1}},
     int64[1] two = {{2}}, int64[1] four = {{4}}, int64[2] outer = {{0, 1}}, int64 third = {{2}},
     int64 start = {{0}}, int64 step = {{1}}, int64 limit = {{{limit}}}, float overlap = {{{OVERLAP}}},
     float threshold = {{{_LEAST / 2}}}, float[2] origin = {{0.0, 0.0}}, float[1] worthless = {{0.0}},
     int64[2] turn = {{1, 0}}>
    {{
        shape = Shape<start = 0, end = 2>(picture)
        sides = Cast<to = 1>(shape)
        limits = Gather(sides, corners)
        raised = Max(boxes, none)
        clipped = Min(raised, limits)
        near = Slice(clipped, zero, two, one)
        far = Slice(clipped, two, four, one)
        lengths = Sub(far, near)
        shortest = ReduceMin<keepdims = 0>(lengths, one)
        usable = GreaterOrEqual(shortest, least_side)
        ranked = Where(usable, ranks, lost)
        number = Shape(scores)
        few = Min(number, most)
        order_ranks, order = TopK<axis = 0, largest = 1, sorted = 1>(ranked, few)
        best = Gather(clipped, order)
        count = Squeeze(few, zero)
        places = Range(start, count, step)
        place_numbers = Cast<to = 1>(places)
        rising = Neg(place_numbers)
        still = Greater(order_ranks, threshold)
        turns = Where(still, rising, lost)
        rows = Unsqueeze(best, zero)
        row_turns = Unsqueeze(turns, outer)
        chosen = NonMaxSuppression(rows, row_turns, limit, overlap, threshold)
        chosen_places = Gather<axis = 1>(chosen, third)
        kept = Gather(order, chosen_places)
        found_boxes = Gather(clipped, kept)
        found_scores = Gather(scores, kept)

        far_corner = Gather(sides, turn)
        whole = Concat<axis = 0>(origin, far_corner)
        whole_row = Unsqueeze(whole, zero)
        all_boxes = Concat<axis = 0>(found_boxes, whole_row)
        all_scores = Concat<axis = 0>(found_scores, worthless)
        found = Shape(found_scores)
        stay = Max(found, one)
        kept_boxes = Slice(all_boxes, zero, stay, zero)
        kept_scores = Slice(all_scores, zero, stay, zero)
    }}""")


def _taking_turns(parts: int) -> ModelProto:
    """Return the graph of `take_turns`: boxes and scores of each part to boxes, scores and ranks."""
    every = range(parts)
    inputs = ", ".join(f"float[n{i}, 4] boxes{i}, float[n{i}] scores{i}" for i in every)
    turns = "\n".join(
        f"""
        shape{i} = Shape(scores{i})
        count{i} = Squeeze(shape{i}, zero)
        places{i} = Range(start, count{i}, step)
        spread{i} = Mul(places{i}, parts)
        turns{i} = Add(spread{i}, number{i})"""
        for i in every
    )
    numbers = ", ".join(f"int64 number{i} = {{{i}}}" for i in every)
    all_turns, all_boxes, all_scores = (
        ", ".join(f"{name}{i}" for i in every) for name in ("turns", "boxes", "scores")
    )
    return written(f"""
    take_turns ({inputs}) => (float[M, 4] boxes, float[M] scores, float[M] ranks)
    <int64[1] zero = {{0}}, int64 start = {{0}}, int64 step = {{1}}, int64 parts = {{{parts}}}, {numbers}>
    {{
        {turns}
        turns = Concat<axis = 0>({all_turns})
        together = Concat<axis = 0>({all_boxes})
        values = Concat<axis = 0>({all_scores})
        number = Shape(turns)
        sorted, order = TopK<axis = 0, largest = 0, sorted = 1>(turns, number)
        boxes = Gather(together, order)
        scores = Gather(values, order)
        count = Squeeze(number, zero)
        places = Range(start, count, step)
        place_numbers = Cast<to = 1>(places)
        ranks = Neg(place_numbers)
    }}""")
