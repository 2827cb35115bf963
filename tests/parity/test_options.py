"""Options of the published line: each one's result against the reference's, and what is refused.

The checkpoints are drawn anew in every run, see `drawn`; fixtures/options holds what the reference made of them.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fo1.errors import CheckpointError
from fo1.layout import Picture, Turn, build_prompt
from fo1.models import FO1Config, FO1ForConditionalGeneration, FO1Processor
from fo1.models.published.names import published_name_to_ours
from fo1.models.published.options import auxiliary_resize, read_config, unused_tensors
from fo1.models.published.reading import published_config
from tests.parity.cases import load_picture
from tests.parity.drawn import CASES_FILE, MAIN, changed, draw, write_config

CASES: dict[str, dict[str, Any]] = json.loads(CASES_FILE.read_text())
GOLDENS = load_file(CASES_FILE.with_name("goldens.safetensors"))
RAW: dict[str, Any] = json.loads((MAIN / "config.json").read_text())
PLACEHOLDER = 2020
EXACT = ("aux_pixels", "aux_boxes", "vt_boxes")


def published_shapes(case: str) -> dict[str, list[int]]:
    """Return name and shape of all tensors that the reference stores for a case."""
    with safe_open(MAIN / "model.safetensors", framework="pt") as tensors:
        shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    info = CASES[case]
    return {
        n: s for n, s in (shapes | info["other_tensors"]).items() if n not in info["no_tensors"]
    }


@dataclass(frozen=True)
class Run:
    """One case through our model."""

    case: str
    folder: Path
    model: Any
    processor: Any
    inputs: Any
    encoding: Any
    boxes: tuple[Any, Any]

    def check(self, stage: str, ours: torch.Tensor, relative: float = 1e-4) -> None:
        """Assert that a tensor is the reference's, up to a share of its spread."""
        info = CASES[self.case]["goldens"][stage]
        assert list(ours.shape) == info["shape"]
        golden = GOLDENS[f"{self.case}/{stage}"]
        if stage in EXACT:
            assert torch.equal(ours.reshape(-1)[:: info["step"]], golden), stage
        difference = (ours.reshape(-1)[:: info["step"]] - golden).abs().max().item()
        assert difference <= relative * info["std"], f"{stage} differs by {difference:.3g}"


def picture_of(case: str) -> Any:
    """Return the picture of a case, or the stripe of it that the case is about."""
    picture, stripe = load_picture(CASES[case]["picture"]), CASES[case]["stripe"]
    return picture.crop((0, stripe[0], picture.width, stripe[1])) if stripe else picture


@pytest.fixture(scope="module", params=CASES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    case = request.param
    info = CASES[case]
    folder = tmp_path_factory.mktemp("drawn") / case
    write_config(info["options"], folder)
    weights = {
        n: torch.from_numpy(draw(case, n, tuple(s))) for n, s in published_shapes(case).items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model, found = FO1ForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values())
    processor = FO1Processor.from_pretrained(folder)
    prompt = build_prompt(Turn("user", (Picture(len(info["boxes"])), info["text"])))
    inputs = processor(images=[picture_of(case)], boxes=[info["boxes"]], text=prompt)
    boxes = inputs["auxiliary_boxes"], inputs["host_boxes"]
    with torch.inference_mode():
        encoding = model.eval().encode_images(inputs)
    yield Run(case, folder, model, processor, inputs, encoding, boxes)
    (folder / "model.safetensors").unlink()


@torch.inference_mode()
def test_every_stage_equals_the_reference(run: Run) -> None:
    regions = run.model.encode_regions(run.encoding, *run.boxes)
    given = {"encoding": run.encoding, "regions": regions}
    names = ("input_ids", "attention_mask", "region_index", "image_grid_thw")
    stages = {
        "aux_pixels": run.inputs["auxiliary_pixel_values"][0],
        "aux_boxes": run.boxes[0][0],
        "vt_boxes": run.boxes[1][0],
        "image_tokens": run.encoding.host.tokens[0],
        "region_features": regions.features,
        "region_embeddings": regions.embeddings,
        "logits": run.model(**{name: run.inputs[name] for name in names}, **given).logits[0, -1],
    }
    for stage in CASES[run.case]["goldens"]:
        run.check(stage, stages[stage])


def test_stored_tensors_are_used_or_dropped_by_rule(run: Run) -> None:
    unused = unused_tensors(json.loads((run.folder / "config.json").read_text()))
    names = published_shapes(run.case)
    kept = {published_name_to_ours(name) for name in names if not name.startswith(unused)}
    assert kept == set(run.model.state_dict()) - {"vlm.lm_head.weight"}
    assert all(any(name.startswith(prefix) for name in names) for prefix in unused)


def test_our_layout_keeps_every_bit(run: Run, tmp_path: Path) -> None:
    run.model.save_pretrained(tmp_path)
    run.processor.save_pretrained(tmp_path)
    model, found = FO1ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(found.values())
    state = model.state_dict()
    assert all(torch.equal(tensor, state[n]) for n, tensor in run.model.state_dict().items())
    processor = FO1Processor.from_pretrained(tmp_path)
    assert processor.auxiliary_resize == run.processor.auxiliary_resize
    again = processor(images=[picture_of(run.case)], boxes=[CASES[run.case]["boxes"]])
    torch.testing.assert_close(dict(again), {k: run.inputs[k] for k in again}, rtol=0, atol=0)
    kept, wanted = (m.config.region_config.to_dict() for m in (model, run.model))
    assert kept | {"dtype": None} == wanted | {"dtype": None}


@torch.inference_mode()
def test_tolerance_sees_every_other_option(run: Run) -> None:
    """A model that took one setting of the region encoder for another would fail above."""
    config = run.model.region_encoder.config
    other = {"output_size": config.output_size + 1, "box_embedding": not config.box_embedding}
    if config.use_auxiliary:
        other["map_embedding"] = not config.map_embedding
    # Where both sides are multiples of 4 the frames differ in rounding alone.
    uneven = run.inputs["auxiliary_pixel_values"][0].shape[-1] % 4
    if config.use_auxiliary and config.use_host and config.box_embedding and uneven:
        other["box_frame"] = {"host": "auxiliary", "auxiliary": "host"}[config.box_frame]
    for setting, value in other.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(config, setting, value)
            wrong = run.model.encode_regions(run.encoding, *run.boxes).features
        with pytest.raises(AssertionError, match="region_features differs"):
            run.check("region_features", wrong)


def test_defaults_are_those_of_the_authors() -> None:
    region = read_config(changed(RAW, CASES["defaults"]["options"]), PLACEHOLDER).region_config
    assert (region.use_pyramid, region.layer_norm, region.output_size) == (False, False, 7)
    assert (region.combination, region.box_frame, region.map_embedding) == ("concat", "host", False)
    assert region.box_embedding is True
    assert region.projector == "linear"


@pytest.mark.parametrize(("tower", "width"), [("davit-large", 256), ("davit-base", 128)])
def test_named_auxiliary_encoders(tower: str, width: int) -> None:
    changes = {
        "aux_vision_config": None,
        "mm_vision_tower_aux": f"resources/{tower}.pth",
        "mm_region_hidden_size": 15 * width + 64,
    }
    davit: Any = read_config(changed(RAW, changes), PLACEHOLDER).region_config.auxiliary_config
    assert davit.embed_dim == [width, 2 * width, 4 * width, 8 * width]
    assert davit.depths == [1, 1, 9, 1]
    assert davit.num_heads == davit.num_groups == [w // 32 for w in davit.embed_dim]


def test_options_left_out_of_the_vision_config_have_the_library_defaults() -> None:
    raw = copy.deepcopy(RAW)
    for key in ("depth", "num_heads", "window_size", "fullatt_block_indexes", "patch_size"):
        del raw["vision_config"][key]
    vision: Any = read_config(raw, PLACEHOLDER).vlm_config.vision_config
    assert (vision.depth, vision.num_heads, vision.window_size) == (32, 16, 112)
    assert list(vision.fullatt_block_indexes) == [7, 15, 23, 31]


def test_width_of_unread_image_tokens_is_not_asked_for() -> None:
    """The authors' code reads it only to build a projector."""
    assert (
        read_config(changed(RAW, {"mm_hidden_size": 1280}), PLACEHOLDER).image_projector
        == "identity"
    )


@pytest.mark.parametrize("size", [512, 768, 1024, None])
def test_auxiliary_image_size_never_matters(size: int | None) -> None:
    changes = {"aux_image_size": size, "aux_image_aspect_ratio": "squash"}
    assert auxiliary_resize(changed(RAW, changes)) == "squash"


def message_of(raw: dict[str, Any]) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_config(raw, PLACEHOLDER)
    message = str(caught.value)
    assert "\n" not in message
    return message


HOST_ONLY = {"mm_use_vt_region_feature_only": True, "mm_region_hidden_size": 64}
AUXILIARY_ONLY = {"mm_use_vision_tower_region_feature": False, "mm_region_hidden_size": 240}
LINEAR = {"mm_projector_type": "linear"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mm_projector_type": "cabstract"}, ["mm_projector_type", "'cabstract'", "mlpNx_gelu"]),
        ({"mm_projector_aux_type": "tokenpacker"}, ["mm_projector_aux_type", "'tokenpacker'"]),
        ({"mm_projector_aux_type": "mlp0x_gelu"}, ["'mlp0x_gelu'"]),
        ({"mm_projector_aux_type": "mlp100x_gelu"}, ["'mlp100x_gelu'", "1 to 99"]),
        ({"mm_projector_aux_type": "mlp99999x_gelu"}, ["'mlp99999x_gelu'", "1 to 99"]),
        ({"mm_projector_type": 2}, ["mm_projector_type", "2"]),
        (LINEAR | {"mm_hidden_size": 60}, ["mm_hidden_size is 60", "64", "out_hidden_size"]),
        (LINEAR | {"mm_hidden_size": None}, ["does not set mm_hidden_size"]),
        ({"mm_roi_output_size": 0}, ["mm_roi_output_size is 0", "from 1 to 64"]),
        ({"mm_roi_output_size": -7}, ["mm_roi_output_size is -7"]),
        ({"mm_roi_output_size": "7"}, ["mm_roi_output_size is '7'"]),
        ({"mm_roi_output_size": 1000000}, ["mm_roi_output_size is 1000000", "from 1 to 64"]),
        ({"mm_roi_output_size": 65}, ["mm_roi_output_size is 65"]),
        ({"mm_roi_output_size": 7.5}, ["mm_roi_output_size is 7.5"]),
        ({"mm_region_feature_combination": "sum"}, ["mm_region_feature_combination", "'sum'"]),
        ({"mm_region_feature_combination": "mean"}, ["width 240", "width 64", "concat"]),
        ({"mm_region_feature_combination": "mean_aux_pos"}, ["width 240", "width 64"]),
        *(
            ({"mm_region_feature_combination": name}, [name, "2880", "5120", "concat_aux_pos"])
            for name in (
                *("concat_sep_pos", "mean_sep_pos"),
                *("concat_sep_no_vt_pos", "mean_sep_no_vt_pos"),
            )
        ),
        (AUXILIARY_ONLY | {"mm_region_feature_combination": "concat_sep_pos"}, ["2880"]),
        ({"mm_pos_embedding_strategy": "learned"}, ["mm_pos_embedding_strategy", "'learned'"]),
        ({"mm_apply_position_embedding": "true"}, ["mm_apply_position_embedding", "'true'"]),
        ({"mm_apply_region_layer_norm": 1}, ["mm_apply_region_layer_norm", "true or false"]),
        ({"mm_use_simpleFPN_for_vt": "no"}, ["mm_use_simpleFPN_for_vt", "'no'"]),
        (
            {
                "mm_pos_embedding_strategy": "hybrid",
                "mm_region_hidden_size": 302,
                "aux_vision_config": {"dim_embed": [16, 32, 64, 126], "num_heads": [2, 4, 4, 2]}
                | {"num_groups": [2, 4, 4, 2]},
            },
            ["[16, 32, 64, 126]", "multiples of 4"],
        ),
        ({"aux_image_aspect_ratio": "pad"}, ["aux_image_aspect_ratio", "'pad'", "dynamic_square"]),
        ({"aux_image_aspect_ratio": None}, ["does not set aux_image_aspect_ratio"]),
        (
            AUXILIARY_ONLY | {"mm_use_vt_region_feature_only": True},
            ["mm_use_vt_region_feature_only", "mm_use_vision_tower_region_feature"],
        ),
        ({"mm_region_hidden_size": 300}, ["mm_region_hidden_size is 300", "width 304"]),
        (HOST_ONLY | {"mm_region_hidden_size": 304}, ["is 304", "width 64"]),
        (AUXILIARY_ONLY | {"mm_region_hidden_size": 304}, ["is 304", "width 240"]),
        ({"mm_use_region_index_token": False}, ["mm_use_region_index_token", "False"]),
        ({"mm_vision_tower": "resources/clip-vit"}, ["mm_vision_tower", "'resources/clip-vit'"]),
        (
            {"aux_vision_config": None, "mm_vision_tower_aux": "a/davit-huge.pth"},
            ["'davit-huge'", "davit-base, davit-large"],
        ),
        ({"aux_vision_config": {"depths": [1, 1]}}, ["depths", "[1, 1]", "4 stages"]),
        ({"aux_vision_config": {"num_heads": [3, 4, 4, 8]}}, ["num_heads", "3", "16"]),
        ({"aux_vision_config": {"patch_prenorm": 1}}, ["patch_prenorm", "4 stages"]),
        ({"vision_config": {"hidden_size": "64"}}, ["vision_config: hidden_size", "'64'"]),
        ({"vision_config": {"num_heads": 5}}, ["vision_config: num_heads", "divisor of 64"]),
        ({"vision_config": {"fullatt_block_indexes": [1, 8]}}, ["[1, 8]", "depth 8"]),
        ({"vision_config": {"fullatt_block_indexes": []}}, ["fullatt_block_indexes", "[]"]),
        ({"rope_scaling": {"mrope_section": [2, 3, 4]}}, ["mrope_section", "[2, 3, 4]", "8"]),
        ({"rope_scaling": {"type": "yarn"}}, ["rope_scaling", "'yarn'", "mrope"]),
        ({"hidden_act": "foo"}, ["config.json: hidden_act is 'foo', which the library does not"]),
        ({"hidden_act": ["silu"]}, ["hidden_act is ['silu']"]),
        ({"vision_config": {"hidden_act": "foo"}}, ["vision_config: hidden_act is 'foo'"]),
        ({"num_attention_heads": 5}, ["num_attention_heads is 5", "divisor of 64"]),
        ({"num_key_value_heads": 3}, ["num_key_value_heads is 3", "divisor of 4"]),
        ({"image_token_id": 5000}, ["image_token_id is 5000"]),
        ({"image_token_id": None}, ["image_token_id"]),
        ({"rms_norm_eps": "small"}, ["rms_norm_eps"]),
        ({"tie_word_embeddings": "yes"}, ["tie_word_embeddings", "'yes'"]),
    ],
)
def test_options_that_cannot_be(changes: dict[str, Any], words: list[str]) -> None:
    message = message_of(changed(RAW, changes))
    for word in words:
        assert word in message, message


REQUIRED = (
    *("vision_config", "rope_scaling", "hidden_size", "vocab_size", "num_hidden_layers"),
    *("intermediate_size", "num_attention_heads", "mm_vision_tower", "mm_vision_tower_aux"),
    *("mm_region_hidden_size", "mm_use_region_index_token", "aux_image_aspect_ratio"),
)


@pytest.mark.parametrize("key", REQUIRED)
def test_missing_option(key: str) -> None:
    for raw in (changed(RAW, {key: None}), RAW | {key: None}):
        assert f"config.json does not set {key}" in message_of(raw)


@pytest.mark.parametrize("key", ["hidden_size", "out_hidden_size"])
def test_width_that_the_vision_config_leaves_out(key: str) -> None:
    raw = copy.deepcopy(RAW)
    del raw["vision_config"][key]
    words = f"config.json: vision_config does not set {key}; download config.json again"
    assert words in message_of(raw)
    assert "vision_config does not set hidden_size" in message_of(RAW | {"vision_config": {}})


def test_only_combinations_that_can_run_are_recommended() -> None:
    for host_only in ({}, HOST_ONLY):
        changes = host_only | {"mm_region_feature_combination": "sum"}
        assert "_sep_" not in message_of(changed(RAW, changes))


READ = (
    *sorted(key for key in RAW if key.startswith(("mm_", "aux_image_aspect"))),
    *("hidden_size", "vision_config", "rope_scaling", "aux_vision_config", "vocab_size"),
    *("num_hidden_layers", "num_attention_heads", "intermediate_size", "tie_word_embeddings"),
)


@pytest.mark.parametrize("key", READ)
@pytest.mark.parametrize("value", ["", -1, 0, 1.5, [], [1], "seven"])
def test_option_of_a_wrong_type(key: str, value: Any) -> None:
    raw = RAW | LINEAR if key == "mm_hidden_size" else RAW
    if key == "mm_vision_tower_aux":
        raw, value = changed(RAW, {"aux_vision_config": None}), value or None
        assert any(word in message_of(raw | {key: value}) for word in (key, "auxiliary encoder"))
    else:
        assert key in message_of(raw | {key: value})


@pytest.mark.parametrize(
    "text",
    ["[]", "3", '"omchat_qwen2_5_vl"', "null", "\xff", '{"model_type": "omchat_qwen2_5_vl"}'],
)
def test_config_file_that_is_no_table_of_options(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    write_config({}, folder)
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    for load in (FO1ForConditionalGeneration.from_pretrained, FO1Processor.from_pretrained):
        with pytest.raises(CheckpointError) as caught:
            load(folder)
        assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "model.object_vp_extractor.vt_region_norm.weight"),
        ({}, "model.object_vp_extractor.aux_region_norm.weight"),
        ({}, "model.object_vp_extractor.vision_tower_region_feature_projector.0.weight"),
        (HOST_ONLY, "model.object_vp_extractor.vt_region_norm.weight"),
        (
            HOST_ONLY | {"mm_apply_region_layer_norm": True},
            "model.object_vp_extractor.aux_region_norm.weight",
        ),
        (
            AUXILIARY_ONLY | {"mm_region_feature_combination": "mean"},
            "model.object_vp_extractor.vision_tower_region_feature_projector.0.weight",
        ),
    ],
)
def test_tensor_of_another_mode_is_left_over(
    changes: dict[str, Any], name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    write_config(changes, folder)
    weights = load_file(MAIN / "model.safetensors")
    width = changes.get("mm_region_hidden_size", 304)
    projector = "model.mm_projector_aux.0.weight"
    weights |= {projector: weights[projector][:, :width].clone(), name: torch.zeros(2)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"left over|no place"):
        FO1ForConditionalGeneration.from_pretrained(folder)
    save_file({n: t for n, t in weights.items() if n != name}, folder / "model.safetensors")
    assert published_config(folder).region_config.output_size == 7
    FO1ForConditionalGeneration.from_pretrained(folder)


def test_pixel_statistics_of_the_host_are_those_in_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "pixels"
    write_config({}, folder)
    file = folder / "preprocessor_config.json"
    raw = json.loads(file.read_text())
    file.write_text(json.dumps(raw | {"image_mean": [0.5, 0.25, 0.125]}))
    processor = FO1Processor.from_pretrained(folder).image_processor
    assert list(processor.image_mean) == [0.5, 0.25, 0.125]
    assert list(processor.image_std) == raw["image_std"]
    file.write_text(json.dumps(raw | {"image_std": [1, 2]}))
    with pytest.raises(CheckpointError, match=r"image_std is \[1, 2\], need three numbers"):
        FO1Processor.from_pretrained(folder)
    file.unlink()
    assert (
        list(FO1Processor.from_pretrained(folder).image_processor.image_mean) == raw["image_mean"]
    )


def test_tensor_stored_twice(tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    write_config({"mm_projector_type": "linear"}, folder)
    names = ("model.mm_projector.weight", "model.mm_projector.0.weight")
    weights = load_file(MAIN / "model.safetensors") | {name: torch.zeros(64, 64) for name in names}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="stored twice"):
        FO1ForConditionalGeneration.from_pretrained(folder)


def test_config_is_ours_whatever_the_mode() -> None:
    """The config of every mode is written and read like any other."""
    for info in CASES.values():
        config = read_config(changed(RAW, info["options"]), PLACEHOLDER)
        again = FO1Config.from_dict(json.loads(config.to_json_string(use_diff=False)))
        assert again.region_config.to_dict() == config.region_config.to_dict()
        assert again.image_projector == config.image_projector
