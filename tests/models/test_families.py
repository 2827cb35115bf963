"""The contract of a host family, one row per family: adding one means adding it to `tiny.HOSTS`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from fo1.errors import CheckpointError, InputError
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.families import (
    FAMILIES,
    HostFeatures,
    PlainFamily,
    VLMFamily,
    get_family,
    register_family,
)
from fo1.models.pooling import pool_regions
from fo1.models.region_encoder import HostMaps
from tests import tiny

Model = FO1ForConditionalGeneration
GREEDY = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def host_model(family: str) -> Model:
    return tiny.make_model(family)


@pytest.fixture(scope="module")
def host_processor(family: str) -> FO1Processor:
    return tiny.make_processor(family)


def test_every_family_is_tested() -> None:
    assert set(tiny.HOSTS) == set(FAMILIES)


def test_key_is_the_model_type(family: str) -> None:
    assert get_family(family).model_type == family == tiny.HOSTS[family].config().model_type


def test_unknown_family_is_named() -> None:
    cure = (
        r"'gpt2'; known families: .*qwen2_5_vl.*give one of your own to fo1.models.register_family"
    )
    with pytest.raises(CheckpointError, match=cure):
        get_family("gpt2")


def test_a_family_may_come_from_outside_the_package() -> None:
    """That of `examples/own_family.py` is held to the whole contract; `tests/tiny.py` imports it."""
    own = get_family("vipllava")
    assert not type(own).__module__.startswith("fo1.")
    register_family(own)
    assert get_family("vipllava") is own

    class Other(PlainFamily):
        model_type = "llava"

    with pytest.raises(
        InputError, match=r"'llava' has an adapter, Llava; give yours the model_type"
    ):
        register_family(cast(VLMFamily, Other()))


@torch.inference_mode()
def test_seam_equals_the_host_s_own_forward(
    family: str, host_model: Model, host_processor: FO1Processor
) -> None:
    inputs = tiny.collate(host_processor, tiny.scene(84, 56, 0))
    own = host_model.vlm(**tiny.own_inputs(host_model, inputs)).logits
    assert torch.equal(host_model(**inputs).logits, own)


@torch.inference_mode()
def test_seam_with_regions_equals_overwritten_embeddings(
    family: str, host_model: Model, host_processor: FO1Processor
) -> None:
    inputs = tiny.collate(host_processor, tiny.scene(84, 56, 3))
    encoding = host_model.encode_images(inputs)
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    rows = host_model.encode_regions(encoding, *boxes).embeddings

    def overwrite(layer: torch.nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        output[args[0] == tiny.PLACEHOLDER] = rows
        return output

    handle = host_model.get_input_embeddings().register_forward_hook(overwrite)
    try:
        own = host_model.vlm(**tiny.own_inputs(host_model, inputs)).logits
    finally:
        handle.remove()
    assert torch.equal(host_model(**inputs).logits, own)


@torch.inference_mode()
def test_generate_equals_the_host_s_own(
    family: str, host_model: Model, host_processor: FO1Processor
) -> None:
    inputs = tiny.collate(host_processor, tiny.scene(84, 56, 0))
    own = host_model.vlm.generate(**tiny.own_inputs(host_model, inputs), **GREEDY)
    assert torch.equal(host_model.generate(**inputs, **GREEDY), own)


@torch.inference_mode()
def test_left_padded_batch(family: str, host_model: Model, host_processor: FO1Processor) -> None:
    scenes = [
        tiny.scene(84, 56, 3, seed=1),
        tiny.scene(56, 140, 1, seed=2, text="How many dogs are there?"),
    ]
    batch = tiny.collate(host_processor, *scenes)
    logits, answers = host_model(**batch).logits, host_model.generate(**batch, **GREEDY)
    assert batch["attention_mask"].min() == 0
    for row, scene in enumerate(scenes):
        inputs = tiny.collate(host_processor, scene)
        alone = host_model(**inputs).logits[0]
        torch.testing.assert_close(logits[row, -len(alone) :], alone, **CLOSE)
        answer = host_model.generate(**inputs, **GREEDY)[0]
        assert torch.equal(answers[row, -len(answer) :], answer)


@torch.inference_mode()
def test_positions_do_not_depend_on_earlier_calls(
    family: str, host_model: Model, host_processor: FO1Processor
) -> None:
    def positions(inputs: dict[str, Any]) -> Tensor:
        return host_model.family.position_ids(
            host_model.vlm, inputs["input_ids"], inputs["attention_mask"], inputs
        )

    first = tiny.collate(host_processor, tiny.scene(84, 56, 3))
    before = positions(first)
    other = tiny.collate(host_processor, tiny.scene(56, 140, 1))
    host_model.generate(**other, **GREEDY)
    host_model.vlm(**tiny.own_inputs(host_model, other))
    assert torch.equal(positions(first), before)
    assert before.shape[-2:] == first["input_ids"].shape
    # Region placeholders count as text: each stands one behind the token before it.
    regions = (first["input_ids"][0] == tiny.PLACEHOLDER).nonzero().flatten()
    steps = before[..., 0, regions] - before[..., 0, regions - 1]
    assert torch.equal(steps, torch.ones_like(steps))


# Geometry: a picture is lit in one place, and the maps change there and nowhere else.


class Blind(torch.nn.Module):
    """Stands in for a vision block's attention, so that no patch sees another."""

    def __init__(self, attends: Callable[[Tensor], Any]):
        super().__init__()
        self.attends = attends

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return self.attends(hidden_states)


def lit_square(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    """Return a black picture with one white square."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return Image.fromarray(pixels)


@torch.inference_mode()
def seen_maps(model: Model, processor: FO1Processor, image: Image.Image) -> HostMaps:
    inputs = processor(images=[image])
    features = model.family.encode_images(model.vlm, inputs)
    assert list(map(len, features.tokens)) == processor.image_token_counts(inputs)
    return features.maps[0]


def changes(lit: HostMaps, dark: HostMaps) -> list[Tensor]:
    """Return per layer (H, W), how much each cell differs."""
    assert (lit.frame, lit.origin) == (dark.frame, dark.origin)
    return [(a - b).abs().amax(0) for a, b in zip(lit.maps, dark.maps, strict=True)]


@pytest.fixture(scope="module")
def blind_model(family: str) -> Model:
    model, host = tiny.make_model(family), tiny.HOSTS[family]
    for block in host.vision_blocks(model.vlm):
        assert isinstance(getattr(block, host.attention), torch.nn.Module)
        setattr(block, host.attention, Blind(host.attends))
    return model


@pytest.mark.parametrize("size", [(168, 112), (112, 168), (252, 84)])
def test_lit_square_lights_the_right_cells(
    blind_model: Model, host_processor: FO1Processor, size: tuple[int, int]
) -> None:
    """Windows, merging and tiles are undone: a map's cell lies where its pixels lie, also in a squashed picture."""
    stride = blind_model.family.map_stride(blind_model.vlm.config)
    dark = seen_maps(blind_model, host_processor, Image.new("RGB", size))
    # Where the host resizes, a border would light the cells beside it as well.
    margin = 0 if dark.frame == size else 4
    for place in [(0.1, 0.2), (0.6, 0.2), (0.3, 0.7), (0.85, 0.8)]:
        cell, corners = [], []
        for axis in range(2):
            start, length = dark.origin[axis], dark.frame[axis]
            first, end = -(-start // stride), (start + length) // stride
            cell.append(first + int(place[axis] * (end - first)))
            edges = cell[axis] * stride + margin, (cell[axis] + 1) * stride - margin
            corners.append([round((edge - start) * size[axis] / length) for edge in edges])
        (left, right), (top, bottom) = corners
        image = lit_square(*size, (left, top, right, bottom))
        layers = changes(seen_maps(blind_model, host_processor, image), dark)
        assert len(layers) == len(blind_model.family.region_layers(blind_model.vlm.config))
        for cells in layers:
            assert (cells > 1e-5).nonzero().tolist() == [cell[::-1]]


@pytest.mark.parametrize("size", [(700, 60), (60, 700), (2100, 900), (31, 24)])
@pytest.mark.parametrize("corner", [(0, 1), (1, 0)])
def test_lit_quarter_lights_its_quarter(
    blind_model: Model,
    host_processor: FO1Processor,
    size: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    """Wide, tall, huge and tiny pictures, which hosts resize a lot; on the overview beside tiles as well."""
    halves = [
        [side * low // 2, side * (low + 1) // 2] for side, low in zip(size, corner, strict=True)
    ]
    (left, right), (top, bottom) = halves
    image = lit_square(*size, (left, top, right, bottom))
    lit, dark = (
        seen_maps(blind_model, host_processor, one) for one in (image, Image.new("RGB", size))
    )
    stride = blind_model.family.map_stride(blind_model.vlm.config)
    pairs = [(lit, dark)]
    if lit.overview and dark.overview:
        pairs.append((lit.overview, dark.overview))
    for lit, dark in pairs:
        for cells in changes(lit, dark):
            inside, outside = torch.ones_like(cells).bool(), torch.zeros_like(cells).bool()
            for axis, (low, high) in enumerate(halves):
                scale = lit.frame[axis] / size[axis]
                blur = 4 * max(1, scale)
                low, high = (edge * scale + lit.origin[axis] for edge in (low, high))
                starts = torch.arange(cells.shape[1 - axis]) * stride
                within = (starts >= low + blur) & (starts + stride <= high - blur)
                beyond = (starts >= high + blur) | (starts + stride <= low - blur)
                along = (slice(None), None) if axis else (None, slice(None))
                inside &= within[along]
                outside |= beyond[along]
            assert (cells[inside] > 1e-3).all()
            assert (cells[outside] < 1e-5).all()
            assert outside.sum() + inside.sum() or cells.numel() < 10


@torch.inference_mode()
def test_lit_square_is_pooled_by_its_box(blind_model: Model, host_processor: FO1Processor) -> None:
    """Boxes of the original picture meet the right cells, also when the host resizes it."""
    image = lit_square(250, 130, (20, 20, 60, 60))
    boxes = np.float32([[25, 25, 55, 55], [150, 20, 230, 110], [20, 105, 60, 128]])
    encoder, pooled = blind_model.region_encoder, []
    for picture in (image, Image.new("RGB", image.size)):
        inputs = host_processor(images=[picture], boxes=[boxes])
        maps = blind_model.family.encode_images(blind_model.vlm, inputs).maps[0]
        assert maps.frame != image.size
        stride = blind_model.family.map_stride(blind_model.vlm.config)
        placed = inputs["host_boxes"][0] + torch.tensor(maps.origin * 2)
        pooled.append(pool_regions(maps.maps[-1], placed, stride, encoder.config.output_size))
    inside, *outside = (pooled[0] - pooled[1]).abs().amax(-1).tolist()
    assert inside > 0.1
    assert max(outside) < 1e-5


@torch.inference_mode()
def test_maps_are_those_of_the_named_blocks(
    family: str, host_model: Model, host_processor: FO1Processor
) -> None:
    """What a hook sees leave each block is what the maps hold, in another order."""
    blocks = tiny.HOSTS[family].vision_blocks(host_model.vlm)
    seen: list[Tensor] = []
    layers = host_model.family.region_layers(host_model.vlm.config)
    handles = [
        blocks[layer].register_forward_hook(lambda *call: seen.append(call[-1])) for layer in layers
    ]
    try:
        inputs = tiny.collate(host_processor, tiny.scene(84, 56, 1))
        features = host_model.family.encode_images(host_model.vlm, inputs)
    finally:
        for handle in handles:
            handle.remove()
    maps = features.maps[0].maps
    width = host_model.family.map_width(host_model.vlm.config)
    assert len(maps) == len(seen) == len(layers)
    for feature_map, output in zip(maps, seen, strict=True):
        assert feature_map.shape[0] == width
        ours, output = feature_map.flatten(1).T, tiny.HOSTS[family].patches(output)
        assert torch.equal(ours[ours[:, 0].argsort()], output[output[:, 0].argsort()])


@torch.inference_mode()
def test_what_the_host_is_given_it_may_change(
    host_model: Model, host_processor: FO1Processor
) -> None:
    inputs = tiny.collate(host_processor, tiny.scene(84, 56, 1))
    encoding = host_model.encode_images(inputs)
    first, second = (
        host_model.family.for_host(host_model.vlm.config, encoding.host) for _ in range(2)
    )
    for name in list(first):
        first[name] = None
    assert all(value is not None for value in second.values())
    tokens = torch.cat([part.flatten(0, -2) for part in second.pooler_output])
    assert torch.equal(tokens, torch.cat(encoding.host.tokens))


@torch.inference_mode()
def test_several_pictures_in_one_prompt(host_model: Model, host_processor: FO1Processor) -> None:
    sizes, counts = [(84, 56), (56, 140)], [2, 3]
    images = [tiny.picture(*size, seed=i) for i, size in enumerate(sizes)]
    boxes = [
        tiny.boxes(n, *size, seed=i) for i, (n, size) in enumerate(zip(counts, sizes, strict=True))
    ]
    inputs = host_processor(images=images, boxes=boxes, text=tiny.prompt(*counts))
    encoding = host_model.encode_images(inputs)
    regions = host_model.encode_regions(encoding, inputs["auxiliary_boxes"], inputs["host_boxes"])
    for index, rows in enumerate([slice(0, 2), slice(2, 5)]):
        alone = host_processor(images=[images[index]], boxes=[boxes[index]])
        one = host_model.encode_images(alone)
        own = host_model.encode_regions(one, alone["auxiliary_boxes"], alone["host_boxes"])
        torch.testing.assert_close(regions.embeddings[rows], own.embeddings, **CLOSE)
        torch.testing.assert_close(encoding.host.tokens[index], one.host.tokens[0], **CLOSE)
    assert host_model(**inputs).logits.isfinite().all()


@torch.inference_mode()
def test_passes_joined_are_one_pass(host_model: Model, host_processor: FO1Processor) -> None:
    scenes = [tiny.scene(84, 56, 1, seed=1), tiny.scene(56, 140, 2, seed=2)]
    inputs = tiny.collate(host_processor, *scenes)
    family, vlm = host_model.family, host_model.vlm
    whole = family.encode_images(vlm, inputs)
    parts = [family.encode_images(vlm, tiny.collate(host_processor, scene)) for scene in scenes]
    joined = HostFeatures.join(parts)
    for one, other in zip(joined.tokens, whole.tokens, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)
    assert [maps.frame for maps in joined.maps] == [maps.frame for maps in whole.maps]
    assert list(map(len, joined.deep)) == list(map(len, whole.deep))
    assert all(value is not None for value in family.for_host(vlm.config, joined).values())
    for one, other in zip(joined.select([1, 0]).tokens, reversed(whole.tokens), strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


@torch.inference_mode()
def test_beams(host_model: Model, host_processor: FO1Processor) -> None:
    scenes = tiny.scene(84, 56, 3, seed=1), tiny.scene(56, 140, 1, seed=2, text="Why?")
    batch = tiny.collate(host_processor, *scenes)
    out = host_model.generate(**batch, **GREEDY, num_beams=3)
    assert out.shape == (2, batch["input_ids"].shape[1] + 6)
    for row, scene in enumerate(scenes):
        alone = host_model.generate(**tiny.collate(host_processor, scene), **GREEDY, num_beams=3)[0]
        assert torch.equal(out[row, -len(alone) :], alone)


def test_saved_and_loaded(
    family: str, host_model: Model, host_processor: FO1Processor, tmp_path: Path
) -> None:
    host_model.save_pretrained(tmp_path)
    host_processor.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert (type(loaded), type(processor)) == (Model, FO1Processor)
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3))
    with torch.inference_mode():
        expected = host_model(**tiny.collate(host_processor, tiny.scene(84, 56, 3))).logits
        assert torch.equal(loaded(**inputs).logits, expected)
