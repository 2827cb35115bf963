"""What stands before the networks, as ONNX text: every resize of a picture, and boxes carried along.

The rules are those of `fo1.geometry`, of the processor and of `fo1.models.frames`, number for number. ONNX's Resize
rounds a coordinate in another place than Pillow does, so single pixels may differ by one step of 255.
"""

from collections.abc import Sequence
from typing import Any

from onnx import ModelProto

from fo1.models.frames import Triple
from fo1.models.light_encoder import CELL
from fo1.models.processing import MAX_SIDE, MIN_SIDE
from fo1.onnx.graphs import written

# Pillow leaves out what lies beyond the border; without that the border itself would count more.
_RESIZE = (
    "Resize <antialias = 1, exclude_outside = 1, cubic_coeff_a = -0.5, "
    'coordinate_transformation_mode = "half_pixel", mode = "{mode}">'
)
_LINEAR, _CUBIC = _RESIZE.format(mode="linear"), _RESIZE.format(mode="cubic")


def preparing(sides: Sequence[int], host: Any, auxiliary: Any) -> ModelProto:
    """Return the graph from a picture and boxes to what the networks take.

    Inputs: picture (H, W, 3) uint8 RGB; boxes (N, 4) float32 xyxy pixels of it.
    Outputs: per side a view (1, 3, h, w); the views' sizes (S, 2) as width and height; host pixels (1, 3, H, W);
    size (2,) and frame (2,), width and height of what the auxiliary encoder and the host see; boxes in either, (N, 4).

    Args:
        sides: long sides of the views, in pixels.
        host: the host's image processor, which resizes to a number of whole patches.
        auxiliary: the auxiliary encoder's image processor.
    """
    cell = host.patch_size * host.merge_size
    views = "\n".join(
        f"""
        ratio{side} = Div(side{side}, long)
        steps{side} = Mul(size, ratio{side})
        cells{side} = Div(steps{side}, cell)
        whole{side} = Round(cells{side})
        grown{side} = Mul(whole{side}, cell)
        view_size{side} = Max(grown{side}, cell)
        turned{side} = Gather(view_size{side}, turn)
        shape{side} = Cast<to = 7>(turned{side})
        target{side} = Concat<axis = 0>(batch, shape{side})
        view{side} = {_LINEAR}(auxiliary_pixels, , , target{side})
        row{side} = Unsqueeze(view_size{side}, zero)"""
        for side in sides
    )
    numbers = ", ".join(f"float side{side} = {{{float(side)}}}" for side in sides)
    rows = ", ".join(f"row{side}" for side in sides)
    outputs = ", ".join(f"float[1, 3, h{side}, w{side}] view{side}" for side in sides)
    return written(f"""
    prepare (uint8[H, W, 3] picture, float[N, 4] boxes) =>
        ({outputs}, float[S, 2] view_sizes, float[1, 3, hh, hw] host_pixels, float[2] size,
         float[2] frame, float[N, 4] auxiliary_boxes, float[N, 4] host_boxes)
    <{numbers}, float cell = {{{float(CELL)}}}, int64[1] zero = {{0}},
     int64[2] turn = {{1, 0}}, int64[4] corners = {{1, 0, 1, 0}}, int64[2] batch = {{1, 3}},
     double most = {{{float(MAX_SIDE)}}}, double least = {{{float(MIN_SIDE)}}}, double none = {{0.0}},
     double patch = {{{float(cell)}}}, double most_pixels = {{{float(host.size["longest_edge"])}}},
     double least_pixels = {{{float(host.size["shortest_edge"])}}},
     {_triple("auxiliary_scale", [auxiliary.rescale_factor] * 3)},
     {_triple("auxiliary_mean", auxiliary.image_mean)}, {_triple("auxiliary_std", auxiliary.image_std)},
     {_triple("host_scale", [host.rescale_factor] * 3)},
     {_triple("host_mean", host.image_mean)}, {_triple("host_std", host.image_std)}>
    {{
        planes = Transpose<perm = [2, 0, 1]>(picture)
        whole = Unsqueeze(planes, zero)
        picture_shape = Shape<start = 0, end = 2>(picture)
        original = Cast<to = 11>(picture_shape)
        raised = Max(original, least)
        longest = ReduceMax<keepdims = 0>(raised)
        reach = Max(longest, most)
        factor = Div(most, reach)
        shrunk = Mul(raised, factor)
        cut = Floor(shrunk)
        limited = Max(cut, least)
        limited_shape = Cast<to = 7>(limited)
        limited_target = Concat<axis = 0>(batch, limited_shape)
        capped = {_CUBIC}(whole, , , limited_target)

        capped_values = Cast<to = 1>(capped)
        capped_scaled = Mul(capped_values, auxiliary_scale)
        capped_centred = Sub(capped_scaled, auxiliary_mean)
        auxiliary_pixels = Div(capped_centred, auxiliary_std)
        limited_turned = Gather(limited, turn)
        size = Cast<to = 1>(limited_turned)
        long = ReduceMax<keepdims = 0>(size)
        {views}
        view_sizes = Concat<axis = 0>({rows})

        in_patches = Div(limited, patch)
        round_patches = Round(in_patches)
        nearest = Mul(round_patches, patch)
        nearest_area = ReduceProd<keepdims = 0>(nearest)
        area = ReduceProd<keepdims = 0>(limited)
        over = Div(area, most_pixels)
        shrink = Sqrt(over)
        fewer = Div(limited, shrink)
        fewer_patches = Div(fewer, patch)
        floor_patches = Floor(fewer_patches)
        smaller = Mul(floor_patches, patch)
        smallest = Max(smaller, patch)
        under = Div(least_pixels, area)
        grow = Sqrt(under)
        more = Mul(limited, grow)
        more_patches = Div(more, patch)
        ceil_patches = Ceil(more_patches)
        larger = Mul(ceil_patches, patch)
        too_large = Greater(nearest_area, most_pixels)
        too_small = Less(nearest_area, least_pixels)
        not_small = Where(too_small, larger, nearest)
        host_size = Where(too_large, smallest, not_small)
        host_shape = Cast<to = 7>(host_size)
        host_target = Concat<axis = 0>(batch, host_shape)
        seen = {_CUBIC}(capped, , , host_target)
        seen_values = Cast<to = 1>(seen)
        seen_scaled = Mul(seen_values, host_scale)
        seen_centred = Sub(seen_scaled, host_mean)
        host_pixels = Div(seen_centred, host_std)
        host_turned = Gather(host_size, turn)
        frame = Cast<to = 1>(host_turned)

        limits = Gather(limited, corners)
        given = Gather(original, corners)
        exact = Cast<to = 11>(boxes)
        carry = Div(limits, given)
        carried = Mul(exact, carry)
        cut_low = Max(carried, none)
        inside = Min(cut_low, limits)
        times = Mul(inside, limits)
        placed = Div(times, limits)
        auxiliary_boxes = Cast<to = 1>(placed)
        host_limits = Gather(host_size, corners)
        host_ratio = Div(host_limits, limits)
        host_factor = Cast<to = 1>(host_ratio)
        host_boxes = Mul(auxiliary_boxes, host_factor)
    }}""")


def letterboxing(side: int, mean: Triple, std: Triple) -> ModelProto:
    """Return the graph of `frames.letterbox`: picture (H, W, 3) to pixels, scale (4,) and offset (4,)."""
    return written(f"""
    letterbox (uint8[H, W, 3] picture) =>
        (float[1, 3, {side}, {side}] pixels, float[4] scale, float[4] offset)
    <double side = {{{float(side)}}}, double one = {{1.0}}, double two = {{2.0}}, int64[1] zero = {{0}},
     int64[4] corners = {{1, 0, 1, 0}}, int64[2] batch = {{1, 3}}, int64[2] none = {{0, 0}},
     {_triple("mean", mean)}, {_triple("std", std)}>
    {{
        planes = Transpose<perm = [2, 0, 1]>(picture)
        whole = Unsqueeze(planes, zero)
        shape = Shape<start = 0, end = 2>(picture)
        original = Cast<to = 11>(shape)
        longest = ReduceMax<keepdims = 0>(original)
        stretched = Mul(original, side)
        fitted = Div(stretched, longest)
        rounded = Round(fitted)
        lengths = Max(rounded, one)
        rest = Sub(side, lengths)
        half = Div(rest, two)
        near = Floor(half)
        far = Sub(rest, near)
        lengths_shape = Cast<to = 7>(lengths)
        target = Concat<axis = 0>(batch, lengths_shape)
        small = {_LINEAR}(whole, , , target)
        values = Cast<to = 1>(small)
        near_pad = Cast<to = 7>(near)
        far_pad = Cast<to = 7>(far)
        pads = Concat<axis = 0>(none, near_pad, none, far_pad)
        framed = Pad(values, pads)
        centred = Sub(framed, mean)
        pixels = Div(centred, std)
        ratio = Div(lengths, original)
        ratio_corners = Gather(ratio, corners)
        scale = Cast<to = 1>(ratio_corners)
        near_corners = Gather(near, corners)
        offset = Cast<to = 1>(near_corners)
    }}""")


def stretching(side: int, mean: Triple, std: Triple) -> ModelProto:
    """Return the graph of `frames.stretch`: picture (H, W, 3) to pixels, scale (4,) and offset (4,)."""
    return written(f"""
    stretch (uint8[H, W, 3] picture) =>
        (float[1, 3, {side}, {side}] pixels, float[4] scale, float[4] offset)
    <double side = {{{float(side)}}}, int64[1] zero = {{0}}, int64[4] corners = {{1, 0, 1, 0}},
     int64[4] target = {{1, 3, {side}, {side}}}, float[4] nowhere = {{0.0, 0.0, 0.0, 0.0}},
     {_triple("mean", mean)}, {_triple("std", std)}>
    {{
        planes = Transpose<perm = [2, 0, 1]>(picture)
        whole = Unsqueeze(planes, zero)
        shape = Shape<start = 0, end = 2>(picture)
        original = Cast<to = 11>(shape)
        small = {_LINEAR}(whole, , , target)
        values = Cast<to = 1>(small)
        centred = Sub(values, mean)
        pixels = Div(centred, std)
        ratio = Div(side, original)
        ratio_corners = Gather(ratio, corners)
        scale = Cast<to = 1>(ratio_corners)
        offset = Identity(nowhere)
    }}""")


def _triple(name: str, values: Sequence[float]) -> str:
    """Return the text of a stored float32 per colour, (1, 3, 1, 1)."""
    red, green, blue = (repr(float(value)) for value in values)
    return f"float[1, 3, 1, 1] {name} = {{{red}, {green}, {blue}}}"
