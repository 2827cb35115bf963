"""Saved and loaded again, through the Auto classes: the same class, the same bits."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from fo1.errors import CheckpointError
from fo1.models import FO1Config, FO1ForConditionalGeneration, FO1Processor, RegionEncoderConfig
from tests import tiny


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
    with pytest.raises(CheckpointError, match="auxiliary encoder 'resnet' is unknown"):
        RegionEncoderConfig(auxiliary_config={"model_type": "resnet"})
    with pytest.raises(CheckpointError, match="image projector 'x' is unknown"):
        FO1Config(image_projector="x")
