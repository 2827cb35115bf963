"""Saved and loaded again, through the Auto classes: the same class, the same bits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from fo1 import FO1
from fo1.errors import CheckpointError
from fo1.models import FO1Config, FO1ForConditionalGeneration, FO1Processor, RegionEncoderConfig
from fo1.pipeline.loading import packaged_folder
from tests import tiny

PUBLISHED = tiny.TOKENIZER  # the folder holds a whole checkpoint


def tensors(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, also those that are never stored."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def assert_same(model: torch.nn.Module, other: torch.nn.Module) -> None:
    """Assert that two models are equal bit for bit, types included."""
    left, right = tensors(model), tensors(other)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        assert torch.equal(tensor, right[name]), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, processor: FO1Processor) -> Path:
    path = tmp_path_factory.mktemp("saved")
    tiny.make_model(score=True).save_pretrained(path)
    processor.save_pretrained(path)
    return path


def test_config(folder: Path) -> None:
    config = AutoConfig.from_pretrained(folder)
    assert type(config) is FO1Config
    original = tiny.make_config(score=True)
    for part in ("vlm_config", "region_config", "score_config"):
        assert type(getattr(config, part)) is type(getattr(original, part))
    auxiliary = config.region_config.auxiliary_config
    assert type(auxiliary) is type(original.region_config.auxiliary_config)
    assert auxiliary.embed_dim == [8, 8, 16, 16]
    assert config.vlm_config.vision_config.fullatt_block_indexes == [1, 2]
    assert config.get_text_config().hidden_size == tiny.WIDTH
    assert config.region_placeholder_id == tiny.PLACEHOLDER
    assert config.tie_word_embeddings is True


def test_model_bit_for_bit(folder: Path, processor: FO1Processor) -> None:
    original = tiny.make_model(score=True)
    loaded, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert type(loaded) is FO1ForConditionalGeneration
    assert not any(info.values())
    state = loaded.state_dict()
    assert state.keys() == original.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in original.state_dict().items())
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight

    inputs = tiny.collate(processor, tiny.scene(84, 56, 3))
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(**inputs).logits, original(**inputs).logits)


def test_processor_bit_for_bit(folder: Path, processor: FO1Processor) -> None:
    loaded = AutoProcessor.from_pretrained(folder)
    assert type(loaded) is FO1Processor
    scenes = tiny.scene(84, 56, 3), tiny.scene(56, 140, 1, text="How many dogs are there?")
    before, after = tiny.collate(processor, *scenes), tiny.collate(loaded, *scenes)
    assert before.keys() == after.keys()
    torch.testing.assert_close(dict(after), dict(before), rtol=0, atol=0)
    assert loaded.region_placeholder_id == tiny.PLACEHOLDER


def test_saved_twice_is_the_same_file(folder: Path, tmp_path: Path) -> None:
    FO1ForConditionalGeneration.from_pretrained(folder).save_pretrained(tmp_path)
    FO1Processor.from_pretrained(folder).save_pretrained(tmp_path)
    for name in ("processor_config.json", "tokenizer.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_dtype_reaches_every_part(folder: Path) -> None:
    model = FO1ForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    head = {parameter.dtype for parameter in model.score_head.parameters()}
    assert head == {torch.float32}, "scores keep their precision"
    others = {p.dtype for name, p in model.named_parameters() if "score_head" not in name}
    assert model.dtype == torch.bfloat16
    assert others == {torch.bfloat16}


def test_attention_choice_reaches_the_host(folder: Path, processor: FO1Processor) -> None:
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3))
    logits = {}
    for kind in ("sdpa", "eager"):
        model = FO1ForConditionalGeneration.from_pretrained(folder, attn_implementation=kind)
        assert model.vlm.model.language_model.config._attn_implementation == kind
        with torch.inference_mode():
            logits[kind] = model.eval()(**inputs).logits
    torch.testing.assert_close(logits["sdpa"], logits["eager"], atol=1e-4, rtol=1e-4)


def test_without_pyramid_or_score_head(tmp_path: Path, processor: FO1Processor) -> None:
    model = tiny.make_model(use_pyramid=False, projector="mlp3x_gelu", output_size=14)
    model.save_pretrained(tmp_path)
    loaded, info = FO1ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert loaded.score_head is None
    assert loaded.region_encoder.width == 48 + 2 * tiny.WIDTH
    inputs = tiny.collate(processor, tiny.scene(84, 56, 3))
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(**inputs).logits, model(**inputs).logits)


def test_settings_that_do_not_exist() -> None:
    with pytest.raises(CheckpointError, match="projector 'mlp2x' is unknown"):
        RegionEncoderConfig(projector="mlp2x")
    with pytest.raises(CheckpointError, match="auxiliary encoder 'abacus' is unknown"):
        RegionEncoderConfig(auxiliary_config={"model_type": "abacus"})
    with pytest.raises(CheckpointError, match="image projector 'x' is unknown"):
        FO1Config(image_projector="x")


@pytest.mark.parametrize(
    ("setting", "value", "need"),
    [
        ("repeat_regions", "no", "true or false"),
        ("region_placeholder_id", "x", "a whole number of 0 or more"),
        ("region_placeholder_id", -1, "a whole number of 0 or more"),
        ("region_placeholder_id", None, "a whole number of 0 or more"),
        ("num_region_tokens", -1, "a whole number of 1 or more"),
        ("num_region_tokens", 1.5, "a whole number of 1 or more"),
    ],
)
def test_settings_of_a_wrong_kind(setting: str, value: Any, need: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        FO1Config(**{setting: value})
    assert str(caught.value) == f"{setting} is {value!r}, need {need}; correct it"


@pytest.mark.parametrize("layout", ["ours", "published"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_map(folder: Path, layout: str, dtype: torch.dtype, device_map: Any) -> None:
    pytest.importorskip("accelerate")
    source = folder if layout == "ours" else PUBLISHED
    plain = FO1ForConditionalGeneration.from_pretrained(source, dtype=dtype)
    placed = FO1ForConditionalGeneration.from_pretrained(source, dtype=dtype, device_map=device_map)
    if torch.cuda.is_available():
        placed = placed.cpu()
    assert_same(placed, plain)


def test_parts_that_stay_on_one_device(model: FO1ForConditionalGeneration) -> None:
    """The host's own are collected from it, whatever the family."""
    blocks = {type(model.vlm.model.visual.blocks[0]).__name__, "RegionEncoder", "ScoreHead"}
    assert blocks <= model._no_split_modules


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_saved_in_half_precision(folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    model = FO1ForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    model.save_pretrained(tmp_path)
    loaded = FO1ForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.dtype == dtype
    assert_same(loaded, model)


def test_saved_in_shards(folder: Path, tmp_path: Path) -> None:
    model = FO1ForConditionalGeneration.from_pretrained(folder)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    loaded, info = FO1ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert_same(loaded, model)


def test_saved_where_it_was_loaded_from(folder: Path, tmp_path: Path) -> None:
    """Weights are views of the file that is replaced."""
    FO1ForConditionalGeneration.from_pretrained(folder).save_pretrained(tmp_path)
    model = FO1ForConditionalGeneration.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    original = FO1ForConditionalGeneration.from_pretrained(folder)
    assert_same(model, original)
    assert_same(FO1ForConditionalGeneration.from_pretrained(tmp_path), original)


@pytest.mark.parametrize("layout", ["ours", "published"])
def test_loading_leaves_the_folder_alone(folder: Path, layout: str) -> None:
    source = folder if layout == "ours" else PUBLISHED
    before = {file.name: file.stat().st_mtime_ns for file in source.iterdir()}
    modes = {file: file.stat().st_mode for file in (source, *source.iterdir())}
    try:
        for file in modes:
            file.chmod(0o555 if file.is_dir() else 0o444)
        model = FO1ForConditionalGeneration.from_pretrained(source)
        FO1Processor.from_pretrained(source)
        with torch.no_grad():  # the weights may be changed, the file may not
            for parameter in model.parameters():
                parameter.zero_()
        again = FO1ForConditionalGeneration.from_pretrained(source)
    finally:
        for file, mode in modes.items():
            file.chmod(mode)
    assert before == {file.name: file.stat().st_mtime_ns for file in source.iterdir()}
    assert any(parameter.any() for parameter in again.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cast_behind_loading_is_cast_while_loading(dtype: torch.dtype) -> None:
    """Score head, light encoder and rotary frequencies keep float32 either way."""
    whole = FO1ForConditionalGeneration.from_pretrained(packaged_folder(), dtype=torch.float32)
    kept = {
        name: tensor.clone()
        for name, tensor in tensors(whole).items()
        if name.startswith(("score_head.", "region_encoder.auxiliary.")) or "inv_freq" in name
    }
    cast = whole.half() if dtype is torch.float16 else whole.to(dtype)
    assert cast.dtype == dtype
    assert any("inv_freq" in name for name in kept)
    for name, tensor in kept.items():
        assert torch.equal(tensors(cast)[name], tensor), name
    assert_same(cast, FO1ForConditionalGeneration.from_pretrained(packaged_folder(), dtype=dtype))


def test_answers_after_a_cast() -> None:
    picture, boxes = tiny.picture(140, 112), tiny.boxes(3, 140, 112)
    loaded = FO1.from_pretrained(device="cpu", dtype=torch.bfloat16)
    cast = FO1.from_pretrained(device="cpu", dtype=torch.float32)
    cast.engine.model.to(torch.bfloat16)
    assert loaded.engine.model.dtype == cast.engine.model.dtype == torch.bfloat16
    one, other = (fo1.encode(picture, boxes) for fo1 in (loaded, cast))
    for scene in (one, other):
        assert len(scene.detect(["cat", "cup"], threshold=0)) > 0
    found = [scene.detect(["cat", "cup"], threshold=0).to_dicts() for scene in (one, other)]
    assert found[0] == found[1]
    assert one.ask("what is <region1>?").text == other.ask("what is <region1>?").text


def test_a_cast_does_not_keep_a_part_from_moving() -> None:
    model = tiny.make_model(score=True).to("meta", torch.bfloat16)
    assert {tensor.device.type for tensor in tensors(model).values()} == {"meta"}
    assert {p.dtype for p in model.score_head.parameters()} == {torch.float32}
