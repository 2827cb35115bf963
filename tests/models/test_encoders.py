"""The contract of auxiliary encoders, for every kind that can be named, and one of a user's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from fo1 import CheckpointError, FO1ForConditionalGeneration, InputError
from fo1.models import FO1Processor, RegionEncoderConfig, register_encoder
from fo1.models.encoders import ENCODERS, make_auxiliary
from fo1.training.stages import alignment, apply_stage, group_of
from tests import tiny
from tests.models.slow_region_encoder import pool

FOUR = (4, 8, 16, 32)
STAGES: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16]}
HEADS = {"depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "embed_dim": 8}
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
MLP = {"intermediate_size": 32, "image_size": 64}


class OwnConfig(hf.PreTrainedConfig):
    model_type = "own_encoder"

    def __init__(self, channels: int = 8, **kwargs: Any):
        self.channels = channels
        super().__init__(**kwargs)


class OwnEncoder(nn.Module):
    """One convolution; knows nothing of masks."""

    def __init__(self, config: OwnConfig):
        super().__init__()
        self.width = config.channels
        self.strides, self.offset = (16,), 0.5
        self.conv = nn.Conv2d(3, config.channels, 16, stride=16)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        return (self.conv(pixel_values),)

    def pool(self, maps: tuple[Tensor, ...], boxes: Tensor, output_size: int) -> Tensor:
        from fo1.models.pooling import pool_regions

        return pool_regions(maps[0][0], boxes - 8, 16, output_size)


register_encoder(OwnConfig, OwnEncoder, mean=(0.5, 0.5, 0.5))

# config, strides of the maps that are pooled, cells from an edge to the middle of the first cell
KINDS: dict[str, tuple[Any, tuple[float, ...], float]] = {
    "dinov2": (lambda: hf.Dinov2Config(**VIT, image_size=56, patch_size=14), (3.5, 7, 14, 28), 0.5),
    "dinov3_vit": (lambda: hf.DINOv3ViTConfig(**VIT, **MLP), FOUR, 0.5),
    "dinov3_convnext": (lambda: hf.DINOv3ConvNextConfig(**STAGES), FOUR, 0.5),
    "swin": (lambda: hf.SwinConfig(**HEADS, window_size=4, image_size=64), FOUR, 0.5),
    "resnet": (
        lambda: hf.ResNetConfig(**STAGES, embedding_size=8, layer_type="basic"),
        FOUR,
        0.0,
    ),
    "radio": (lambda: hf.RadioConfig(**VIT, max_img_size=128, image_size=64), FOUR, 0.5),
    "siglip_vision_model": (lambda: hf.SiglipVisionConfig(**VIT, **MLP), FOUR, 0.5),
    "clip_vision_model": (
        lambda: hf.CLIPVisionConfig(**VIT, **MLP, patch_size=16),
        FOUR,
        0.5,
    ),
    "own_encoder": (OwnConfig, (16,), 0.5),
}
PLAIN = {"dinov2", "dinov3_vit", "radio", "siglip_vision_model", "clip_vision_model"}
WIDTH, HEIGHT = 150, 101


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str) -> Any:
    config = KINDS[kind][0]()
    return tiny.make_model(auxiliary_config=config, box_embedding=False, output_size=3)


@torch.inference_mode()
def test_maps_cover_the_picture_in_whole_cells(kind: str, model: Any) -> None:
    encoder, strides = model.region_encoder.auxiliary, KINDS[kind][1]
    assert encoder.strides == strides
    maps = encoder(torch.zeros(1, 3, HEIGHT, WIDTH))
    for level, stride in zip(maps, strides, strict=True):
        assert level.shape[0] == 1
        if kind != "own_encoder":
            assert level.shape[2] >= HEIGHT / stride
            assert level.shape[3] >= WIDTH / stride
            assert level.shape[2] * stride < HEIGHT + 64
    assert encoder.width == sum(m.shape[1] for m in maps)


@torch.inference_mode()
def test_regions_equal_the_slow_form(kind: str, model: Any) -> None:
    encoder, (_, strides, offset) = model.region_encoder.auxiliary, KINDS[kind]
    boxes = torch.from_numpy(tiny.boxes(4, WIDTH, HEIGHT))
    maps = encoder(torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)))
    expected = torch.cat(
        [pool(m[0], boxes - offset * s, s, 3) for m, s in zip(maps, strides, strict=True)], dim=1
    )
    found = model.region_encoder.pool_auxiliary(maps, boxes)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=1e-4)
    if kind != "own_encoder":
        whole = model.region_encoder.pool_auxiliary(maps, boxes, torch.ones(4, 8, 8))
        torch.testing.assert_close(whole, found, atol=3e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_lit_square_lights_its_own_box(kind: str) -> None:
    """Of 3 x 4 boxes, on the finest map; with weights as the library draws them patches say most of themselves."""
    torch.manual_seed(0)
    config = KINDS[kind][0]()
    config._attn_implementation = "eager"
    region = RegionEncoderConfig(auxiliary_config=config, use_host=False, pyramid_width=8)
    encoder: Any = make_auxiliary(region)
    encoder.eval()
    side = 64
    boxes = [[x, y, x + side, y + side] for y in range(0, 192, side) for x in range(0, 256, side)]
    # Noise: of a flat picture, norms would make much out of nothing.
    dark = torch.randn(1, 3, 192, 256)
    maps = encoder(dark)
    width = maps[0].shape[1]
    plain = encoder.pool(maps, torch.tensor(boxes).float(), 7)[:, :width]
    for number in (0, 6, 11):
        x1, y1, x2, y2 = boxes[number]
        lit = dark.clone()
        lit[..., y1 + 8 : y2 - 8, x1 + 8 : x2 - 8] += 3
        change = encoder.pool(encoder(lit), torch.tensor(boxes).float(), 7)[:, :width] - plain
        assert int(change.norm(dim=1).argmax()) == number


def test_frozen_in_stage_one_but_for_what_is_new(kind: str, model: Any) -> None:
    groups = group_of(model)
    own = {
        n.removeprefix("region_encoder.auxiliary."): g
        for n, g in groups.items()
        if ".auxiliary." in n
    }
    learning = apply_stage(model, alignment(1, 1))
    fresh = {name for name in own if name.startswith("pyramid.")}
    assert bool(fresh) == (kind in PLAIN)
    for name, group in own.items():
        assert group == ("regions" if name in fresh else "auxiliary")
        assert (f"region_encoder.auxiliary.{name}" in learning) == (name in fresh)
    inputs = tiny.make_processor()(images=[tiny.picture(84, 56)], boxes=[tiny.boxes(2, 84, 56)])
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    model.encode_regions(model.encode_images(inputs), *boxes).embeddings.square().sum().backward()
    for name, parameter in model.region_encoder.auxiliary.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == (name in fresh), name


@torch.inference_mode()
def test_saved_and_loaded(kind: str, model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded, info = FO1ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert type(loaded.config.region_config.auxiliary_config) is type(KINDS[kind][0]())
    inputs = tiny.collate(tiny.make_processor(), tiny.scene(84, 56, 3))
    assert torch.equal(loaded.eval()(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("kind", ["siglip_vision_model", "dinov3_convnext"])
def test_taken_from_a_folder_with_weights_and_colours(kind: str, tmp_path: Path) -> None:
    config = KINDS[kind][0]()
    known = {"dinov3_convnext": hf.AutoBackbone}.get(kind, hf.AutoModel)
    theirs = known.from_config(config)
    theirs.save_pretrained(tmp_path)
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}
    (tmp_path / "preprocessor_config.json").write_text(str(colours).replace("'", '"'))
    vlm = hf.AutoModelForImageTextToText.from_config(tiny.HOSTS["llava"].config())
    model, processor = FO1ForConditionalGeneration.from_vlm(
        vlm,
        tokenizer=tiny.plain_tokenizer(),
        image_processor=tiny.HOSTS["llava"].image_processor(),
        auxiliary_config=tmp_path,
        pyramid_width=8,
    )
    state = model.region_encoder.auxiliary.backbone.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in theirs.state_dict().items())
    assert list(processor.auxiliary_image_processor.image_mean) == colours["image_mean"]
    assert processor.auxiliary_resize == ("squash" if kind in PLAIN else "dynamic")
    out = tmp_path / "out"
    processor.save_pretrained(out)
    again = FO1Processor.from_pretrained(out)
    assert list(again.auxiliary_image_processor.image_std) == colours["image_std"]
    seen = again.auxiliary_pixels(tiny.picture(90, 60))
    assert np.isfinite(seen.numpy()).all()


def test_what_gives_no_maps_says_so(tmp_path: Path) -> None:
    for config in (hf.Siglip2VisionConfig(**VIT, intermediate_size=32), hf.BertConfig(**VIT)):
        with pytest.raises(CheckpointError, match=r"gives no feature maps .*register_encoder"):
            make_auxiliary(RegionEncoderConfig(auxiliary_config=config))
    with pytest.raises(CheckpointError, match=r"'hiera': .* out of order"):
        make_auxiliary(RegionEncoderConfig(auxiliary_config=hf.HieraConfig()))
    with pytest.raises(CheckpointError, match="holds no encoder"):
        tiny_from(tmp_path)


def tiny_from(folder: Path) -> Any:
    vlm = hf.AutoModelForImageTextToText.from_config(tiny.HOSTS["llava"].config())
    return FO1ForConditionalGeneration.from_vlm(
        vlm,
        tokenizer=tiny.plain_tokenizer(),
        image_processor=tiny.HOSTS["llava"].image_processor(),
        auxiliary_config=folder,
    )


def test_names_are_taken_once() -> None:
    register_encoder(OwnConfig, OwnEncoder, mean=(0.5, 0.5, 0.5))
    assert ENCODERS["own_encoder"].mean == (0.5, 0.5, 0.5)

    class Other(hf.PreTrainedConfig):
        model_type = "own_encoder"

    with pytest.raises(InputError, match="'own_encoder' is OwnConfig's"):
        register_encoder(Other, OwnEncoder)
    with pytest.raises(InputError, match="model_type of its own"):
        register_encoder(hf.PreTrainedConfig, OwnEncoder)
