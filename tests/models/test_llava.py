"""What is particular to this family: vision towers of two kinds, layers counted from both ends, one square frame."""

from typing import Any

import pytest
import torch
from transformers import CLIPImageProcessorPil, LlavaConfig, PreTrainedConfig, SiglipVisionConfig

from fo1.errors import CheckpointError, InputError
from fo1.models import FO1Config, FO1ForConditionalGeneration, FO1Processor, RegionEncoderConfig
from fo1.models.families import get_family
from tests import tiny

FAMILY = get_family("llava")
GRID = tiny.FRAME // 14


def host_config(**options: Any) -> LlavaConfig:
    config = tiny.HOSTS["llava"].config()
    assert isinstance(config, LlavaConfig)
    for name, value in options.items():
        setattr(config, name, value)
    return config


def siglip() -> PreTrainedConfig:
    return SiglipVisionConfig(
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=tiny.FRAME,
        patch_size=14,
    )


def around(config: LlavaConfig) -> tuple[FO1ForConditionalGeneration, FO1Processor]:
    """Return a model of a host with this config, and a processor that fits it."""
    region = RegionEncoderConfig(
        auxiliary_config=tiny.davit_config(),
        host_width=FAMILY.map_width(config),
        host_stride=FAMILY.map_stride(config),
        host_levels=len(FAMILY.region_layers(config)),
        pyramid_width=8,
        output_width=tiny.WIDTH,
    )
    model = FO1ForConditionalGeneration(
        FO1Config(config, region, region_placeholder_id=tiny.PLACEHOLDER)
    )
    tiny.randomise(model)
    processor = tiny.make_processor("llava")
    processor.image_processor = FAMILY.fit_image_processor(tiny.llava_image_processor(), config)
    return model.eval(), processor


@pytest.mark.parametrize(
    ("layers", "blocks"), [(-2, (1,)), (-1, (2,)), (1, (0,)), (3, (2,)), ([-3, -2, 3], (0, 1, 2))]
)
def test_layers_are_blocks(layers: int | list[int], blocks: tuple[int, ...]) -> None:
    assert FAMILY.region_layers(host_config(vision_feature_layer=layers)) == blocks


@pytest.mark.parametrize("layers", [0, 4, -4, -5, [1, 0], []])
def test_layers_that_are_no_blocks(layers: int | list[int]) -> None:
    with pytest.raises(CheckpointError, match=r"vision tower has 3 blocks; name outputs"):
        FAMILY.region_layers(host_config(vision_feature_layer=layers))


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"vision_feature_layer": -2}, GRID**2),
        ({"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}, GRID**2 + 1),
        ({"vision_config": siglip(), "vision_feature_select_strategy": "full"}, GRID**2),
    ],
)
@torch.inference_mode()
def test_seam_equals_the_host_s_own_forward(options: dict[str, Any], tokens: int) -> None:
    model, processor = around(host_config(**options))
    inputs = tiny.collate(processor, tiny.scene(84, 56, 0))
    assert processor.image_token_counts(inputs) == [tokens]
    own = {name: inputs[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    assert torch.equal(model(**inputs).logits, model.vlm(**own).logits)
    with_regions = tiny.collate(processor, tiny.scene(84, 56, 3))
    assert model(**with_regions).logits.isfinite().all()


@pytest.mark.parametrize("name", ["clip", "siglip"])
@torch.inference_mode()
def test_maps_are_the_patches_in_reading_order(name: str) -> None:
    """The class token is left out, where there is one, and no patch is."""
    siglip_options = {"vision_config": siglip(), "vision_feature_select_strategy": "full"}
    model, processor = around(host_config(**(siglip_options if name == "siglip" else {})))
    inputs = processor(images=[tiny.picture(93, 70)])
    seen: list[torch.Tensor] = []
    block = model.vlm.model.vision_tower.encoder.layers[1]
    handle = block.register_forward_hook(lambda *call: seen.append(call[-1]))
    try:
        (maps,) = FAMILY.encode_images(model.vlm, inputs).maps
    finally:
        handle.remove()
    patches = seen[0][0, -(GRID**2) :]
    assert torch.equal(maps.maps[1].flatten(1).T, patches)
    assert maps.maps[1].shape == (24, GRID, GRID)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_center_crop": False},
        {"size": {"height": tiny.FRAME, "width": tiny.FRAME}},
        {"do_center_crop": False, "do_resize": False, "size": {"height": 140, "width": 140}},
    ],
)
def test_an_image_processor_that_loses_a_part_of_the_picture_is_refused(
    settings: dict[str, Any],
) -> None:
    kind = CLIPImageProcessorPil(**settings)
    with pytest.raises(InputError, match=r"boxes at its border would be lost.*do_center_crop"):
        FO1Processor(kind, kind, tiny.make_processor().tokenizer, host="llava")


def test_one_that_crops_is_made_to_squash() -> None:
    """The published image processors of LLaVA take the middle of a picture."""
    made = FAMILY.fit_image_processor(CLIPImageProcessorPil(), host_config())
    plain = FAMILY.fit_image_processor(tiny.llava_image_processor(tiny.FRAME), host_config())
    image = tiny.picture(90, 40)
    pixels = made([image], return_tensors="pt")["pixel_values"]
    assert pixels.shape[-2:] == (tiny.FRAME, tiny.FRAME)
    mean, std = (torch.tensor(v)[:, None, None] for v in (made.image_mean, made.image_std))
    own, other = (torch.tensor(v)[:, None, None] for v in (plain.image_mean, plain.image_std))
    expected = plain([image], return_tensors="pt")["pixel_values"] * other + own
    torch.testing.assert_close(pixels * std + mean, expected)


@pytest.mark.parametrize(
    "settings",
    [{"do_center_crop": False}, {"do_center_crop": False, "do_resize": False}],
)
def test_one_that_keeps_shapes_is_refused_for_a_host(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"boxes at its border would be lost.*do_center_crop"):
        FAMILY.fit_image_processor(CLIPImageProcessorPil(**settings), host_config())


def test_what_does_not_fit_the_host_is_refused() -> None:
    with pytest.raises(InputError, match=r"70 x 70 pixels, but the vision tower reads 140 x 140"):
        FAMILY.fit_image_processor(tiny.llava_image_processor(70), host_config())
    with pytest.raises(CheckpointError, match=r"no class token.*set it to 'full'"):
        FAMILY.fit_image_processor(
            tiny.llava_image_processor(), host_config(vision_config=siglip())
        )
    other = host_config()
    other.vision_config.model_type = "pixtral"
    with pytest.raises(CheckpointError, match=r"vision tower 'pixtral' is unknown here"):
        FAMILY.fit_image_processor(tiny.llava_image_processor(), other)


def test_fitting_leaves_the_given_one_alone() -> None:
    given = tiny.llava_image_processor(patch=99)
    fitted = FAMILY.fit_image_processor(given, host_config())
    assert (given.patch_size, fitted.patch_size) == (99, 14)
