"""Every way to make region features, against the same written out slowly; settings that contradict each other."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Florence2VisionConfig

from fo1.errors import CheckpointError
from fo1.models import FO1Config, LightEncoderConfig, RegionEncoderConfig
from fo1.models.region_encoder import make_projector
from tests import tiny
from tests.models.slow_region_encoder import slow_features

BOTH = {"use_auxiliary": True, "use_host": True}
HOST = {"use_auxiliary": False}
AUXILIARY = {"use_host": False}


def grid(**choices: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(choices, row, strict=True)) for row in itertools.product(*choices.values())]


SETTINGS = [
    *(
        BOTH | rest
        for rest in grid(
            combination=("concat", "mean"),
            use_pyramid=(True, False),
            layer_norm=(False, True),
            box_embedding=(True, False),
            map_embedding=(False, True),
            box_frame=("host", "auxiliary"),
        )
    ),
    *(
        HOST | rest
        for rest in grid(
            use_pyramid=(True, False), layer_norm=(False, True), box_embedding=(True, False)
        )
    ),
    *(
        AUXILIARY | rest
        for rest in grid(
            layer_norm=(False, True),
            box_embedding=(True, False),
            map_embedding=(False, True),
            box_frame=("host", "auxiliary"),
        )
    ),
]


def name_of(settings: dict[str, Any]) -> str:
    return "-".join(f"{key}={value}" for key, value in settings.items() if value is not True)


def davit(last: int) -> Florence2VisionConfig:
    config = tiny.davit_config()
    config.embed_dim = [8, 8, 16, last]
    return config


def make_model(settings: dict[str, Any], **more: Any) -> Any:
    """Return a model whose two pooled features are equally wide: 48 with the pyramid, else 64."""
    pyramid = settings.get("use_pyramid", True)
    if settings.get("use_auxiliary", True):
        more["auxiliary_config"] = davit(16 if pyramid else 32)
    return tiny.make_model(**{"pyramid_width": 12, **more}, **settings)


def inputs_of(processor: Any) -> dict[str, Any]:
    width, height = 93, 70
    boxes = [
        *tiny.boxes(3, width, height).tolist(),
        [0, 0, width, height],
        [10, 5, 10, 60],
        [80.5, 60.25, 120, 90],
    ]
    return processor(images=[tiny.picture(width, height)], boxes=[boxes])


@torch.inference_mode()
@pytest.mark.parametrize("settings", SETTINGS, ids=name_of)
def test_features_equal_the_slow_form(settings: dict[str, Any], processor: Any) -> None:
    model = make_model(settings, output_size=1 + len(name_of(settings)) % 7)
    inputs = inputs_of(processor)
    encoding = model.encode_images(inputs)
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    regions = model.encode_regions(encoding, *boxes)
    expected = slow_features(model, encoding, boxes[0][0], boxes[1][0])
    assert regions.features.dtype == torch.float32
    torch.testing.assert_close(regions.features, expected, atol=3e-5, rtol=1e-5)
    assert regions.embeddings.shape == (6, tiny.WIDTH)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("setting", "other"),
    [
        ("combination", "mean"),
        ("box_embedding", False),
        ("box_frame", "auxiliary"),
        ("map_embedding", True),
        ("output_size", 6),
    ],
)
def test_every_setting_shows_in_the_features(setting: str, other: Any, processor: Any) -> None:
    model, inputs = make_model(BOTH), inputs_of(processor)
    encoding = model.encode_images(inputs)
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    before = model.encode_regions(encoding, *boxes).features
    setattr(model.region_encoder.config, setting, other)
    if setting == "combination":
        model.region_encoder.width, model.region_encoder.projector = 48, torch.nn.Identity()
    after = model.encode_regions(encoding, *boxes).features
    assert before.shape != after.shape or (before - after).abs().max() > 1e-3


@torch.inference_mode()
def test_without_auxiliary_encoder_none_is_held_or_run(processor: Any) -> None:
    model, inputs = make_model(HOST), inputs_of(processor)
    assert model.region_encoder.auxiliary is None
    assert not [name for name, _ in model.named_parameters() if "auxiliary" in name]
    seen = model.encode_images(inputs)
    assert seen.auxiliary == ()
    del inputs["auxiliary_pixel_values"]
    blind = model.encode_regions(model.encode_images(inputs), None, inputs["host_boxes"])
    seeing = model.encode_regions(seen, inputs["auxiliary_boxes"], inputs["host_boxes"])
    assert torch.equal(blind.features, seeing.features)
    assert model(**processor(**_scene())).logits.isfinite().all()


@torch.inference_mode()
def test_without_host_maps_no_pyramid_is_held() -> None:
    model = make_model(AUXILIARY)
    assert model.region_encoder.pyramid is None
    assert model.region_encoder.width == model.region_encoder.auxiliary.width == 48


@torch.inference_mode()
def test_cached_features_need_the_maps_of_their_frame(processor: Any) -> None:
    """Cached features replace pooling, but only the maps tell how large the auxiliary frame is."""
    model, inputs = make_model({"box_frame": "auxiliary"}), inputs_of(processor)
    encoding = model.encode_images(inputs)
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    pooled = [model.region_encoder.pool_auxiliary(encoding.auxiliary[0], boxes[0][0])]
    plain = model.encode_regions(encoding, *boxes).features
    assert torch.equal(model.encode_regions(encoding, *boxes, pooled).features, plain)
    with pytest.raises(ValueError, match="pass auxiliary_boxes"):
        model.encode_regions(encoding, None, boxes[1], pooled)


@torch.inference_mode()
def test_low_precision_keeps_pooling_norm_and_embeddings_in_float32(processor: Any) -> None:
    settings = {"layer_norm": True, "map_embedding": True, "combination": "mean"}
    model, inputs = make_model(settings), inputs_of(processor)
    model.to(torch.bfloat16)
    encoding = model.encode_images(inputs)
    low = encoding.auxiliary[0][0].dtype
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    with torch.autocast("cpu", torch.bfloat16):
        auxiliary = model.region_encoder.pool_auxiliary(encoding.auxiliary[0], boxes[0][0])
        host = model.region_encoder.pool_host(
            encoding.levels[0], boxes[1][0], encoding.host.maps[0]
        )
        frame = encoding.host.maps[0].frame
        features = model.region_encoder.fuse(auxiliary, host, boxes[1][0], frame)
    assert low == torch.bfloat16
    assert auxiliary.dtype == host.dtype == features.dtype == torch.float32
    exact = make_model(settings).region_encoder.bfloat16().float()
    expected = exact.fuse(auxiliary, host, boxes[1][0], frame)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", SETTINGS[::5], ids=name_of)
def test_saved_and_loaded_bit_for_bit(
    settings: dict[str, Any], tmp_path: Path, processor: Any
) -> None:
    model = make_model(settings)
    model.save_pretrained(tmp_path)
    loaded, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    kept = loaded.config.region_config.to_dict()
    assert {key: kept[key] for key in settings} == settings
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"combination": "sum"}, ["combination", "'sum'", "concat", "mean"]),
        ({"combination": None}, ["combination", "None"]),
        ({"box_frame": "picture"}, ["box_frame", "'picture'", "host, auxiliary"]),
        ({"layer_norm": "yes"}, ["layer_norm", "'yes'", "true or false"]),
        ({"box_embedding": 1}, ["box_embedding", "true or false"]),
        ({"map_embedding": None}, ["map_embedding"]),
        ({"use_host": "no"}, ["use_host", "'no'"]),
        ({"use_auxiliary": 0}, ["use_auxiliary"]),
        ({"use_pyramid": 2}, ["use_pyramid"]),
        ({"output_size": 0}, ["output_size is 0", "from 1 to 64"]),
        ({"output_size": "7"}, ["output_size is '7'"]),
        ({"output_size": 7.0}, ["output_size is 7.0"]),
        ({"output_size": True}, ["output_size is True"]),
        ({"pyramid_width": -1}, ["pyramid_width is -1"]),
        ({"host_levels": None}, ["host_levels"]),
        ({"projector": "mlp0x_gelu"}, ["region projector 'mlp0x_gelu'", "mlpNx_gelu"]),
        ({"projector": "mlp100x_gelu"}, ["region projector 'mlp100x_gelu'", "1 to 99"]),
        ({"output_size": 65}, ["output_size is 65", "from 1 to 64"]),
        ({"projector": 2}, ["region projector 2"]),
        ({"use_host": False, "use_auxiliary": False}, ["use_auxiliary and use_host", "one of"]),
        ({"use_auxiliary": False, "box_frame": "auxiliary"}, ["box_frame 'auxiliary'", "DaViT"]),
        ({"use_auxiliary": False, "map_embedding": True}, ["map_embedding", "DaViT"]),
        (
            {"auxiliary_config": LightEncoderConfig(), "map_embedding": True},
            ["map_embedding", "DaViT"],
        ),
        ({"auxiliary_config": davit(14), "map_embedding": True}, ["[8, 8, 16, 14]", "4"]),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(CheckpointError) as caught:
        RegionEncoderConfig(**settings)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_widths_that_do_not_fit() -> None:
    with pytest.raises(CheckpointError, match="width 48 and host features of width 32"):
        tiny.make_model(combination="mean")
    with pytest.raises(CheckpointError, match="width 82 cannot hold a box embedding"):
        tiny.make_model(auxiliary_config=davit(18))
    assert tiny.make_model(auxiliary_config=davit(18), box_embedding=False).region_encoder.width
    with pytest.raises(CheckpointError, match="width 80 into 32"):
        tiny.make_model(projector="identity")
    assert (
        len(tiny.make_model(projector="identity", use_auxiliary=False).region_encoder.projector)
        == 0
    )


def test_projectors() -> None:
    kinds = {"identity": 0, "linear": 1, "mlp1x_gelu": 1, "mlp2x_gelu": 3, "mlp12x_gelu": 23}
    assert {kind: len(make_projector(kind, 8, 8)) for kind in kinds} == kinds
    wide = make_projector("mlp3x_gelu", 5, 7)
    assert [tuple(m.weight.shape) for m in wide if hasattr(m, "weight")] == [(7, 5), (7, 7), (7, 7)]
    with pytest.raises(CheckpointError, match="'cabstract' is unknown"):
        make_projector("cabstract", 8, 8)
    with pytest.raises(CheckpointError, match="width 8 into 9"):
        make_projector("identity", 8, 9)
    with pytest.raises(CheckpointError, match="image projector 'mlp2x'"):
        FO1Config(image_projector="mlp2x")
    with pytest.raises(CheckpointError, match="num_region_tokens"):
        FO1Config(num_region_tokens=0)


def _scene() -> dict[str, Any]:
    scene = tiny.scene(84, 56, 2)
    return {"images": [scene.image], "boxes": [scene.boxes], "text": scene.text}
