"""The published on-disk layout: complete, read once, whole or in shards; clear errors otherwise."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fo1.errors import CheckpointError
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.published import reading
from fo1.models.published.names import published_name_to_ours
from fo1.models.published.reading import published_config
from tests.parity.cases import CASES, FIXTURES, load_model, load_picture

MODELS = sorted({case["model"] for case in CASES.values()})
MAIN = FIXTURES / "VLM-FO1_Qwen2.5-VL-tiny"
INDEX = "model.safetensors.index.json"
PROJECTOR = "model.mm_projector_aux.0.weight"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the main checkpoint that a test may damage."""
    return Path(shutil.copytree(MAIN, tmp_path / "checkpoint"))


def edit_config(folder: Path, **changes: Any) -> None:
    """Set options; None removes one."""
    raw = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in raw.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def split(folder: Path) -> dict[str, Tensor]:
    """Turn the single weight file into two shards with an index."""
    whole = folder / "model.safetensors"
    weights = load_file(whole)
    whole.unlink()
    names = sorted(weights)
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    place = {name: files[number % 2] for number, name in enumerate(names)}
    for file in files:
        part = {name: weights[name] for name in names if place[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": place}))
    return weights


def refuses(folder: Path, *words: str) -> None:
    """Assert that loading fails with one line that holds all the words."""
    with pytest.raises(CheckpointError) as caught:
        FO1ForConditionalGeneration.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_finds_its_place(name: str) -> None:
    model, info = FO1ForConditionalGeneration.from_pretrained(
        FIXTURES / name, output_loading_info=True
    )
    assert not any(info.values())
    ours = model.state_dict()
    weights = load_file(FIXTURES / name / "model.safetensors")
    for published, tensor in weights.items():
        assert torch.equal(ours[published_name_to_ours(published)], tensor), published
    assert len({published_name_to_ours(published) for published in weights}) == len(weights)
    assert set(ours) - {published_name_to_ours(n) for n in weights} == {"vlm.lm_head.weight"}


def test_names_and_shapes_at_the_published_widths(checkpoint: Path) -> None:
    """All 1261 tensors of the real model, without allocating it."""
    raw = json.loads((checkpoint / "config.json").read_text())
    edit_config(
        checkpoint,
        **{"aux_vision_config": None, "mm_simple_fpn_out_channels": None},
        mm_vision_tower_aux="resources/davit-large.pth",
        mm_hidden_size=2048,
        mm_region_hidden_size=5888,
        vocab_size=151936,
        hidden_size=2048,
        intermediate_size=11008,
        num_hidden_layers=36,
        num_attention_heads=16,
        num_key_value_heads=2,
        rope_scaling=raw["rope_scaling"] | {"mrope_section": [16, 24, 24]},
        vision_config=raw["vision_config"]
        | {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
    )
    with torch.device("meta"):
        model = FO1ForConditionalGeneration(published_config(checkpoint))
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    published = {}
    for line in (FIXTURES / "published_tensors.txt").read_text().splitlines():
        name, shape = line.split("\t")[:2]
        published[published_name_to_ours(name)] = json.loads(shape)
    assert len(published) == 1261
    assert published == ours
    assert model.region_encoder.width == 5888


def test_weights_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()
    read: Counter[str] = Counter()
    plain_open = reading.safe_open

    class CountingFile:
        def __init__(self, file: Path, **kwargs: Any):
            opened[Path(file).name] += 1
            self.manager = plain_open(file, **kwargs)

        def __enter__(self) -> "CountingFile":
            self.file = self.manager.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self.manager.__exit__(*error)

        def keys(self) -> list[str]:
            return self.file.keys()

        def get_tensor(self, name: str) -> Tensor:
            read[name] += 1
            return self.file.get_tensor(name)

    def nobody_else(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("transformers opened a weight file as well")

    monkeypatch.setattr(reading, "safe_open", CountingFile)
    monkeypatch.setattr("transformers.modeling_utils.safe_open", nobody_else)
    FO1ForConditionalGeneration.from_pretrained(MAIN)
    assert opened == {"model.safetensors": 1}
    assert read == dict.fromkeys(load_file(MAIN / "model.safetensors"), 1)


def test_shards_load_like_one_file(checkpoint: Path) -> None:
    split(checkpoint)
    model, info = FO1ForConditionalGeneration.from_pretrained(checkpoint, output_loading_info=True)
    assert not any(info.values())
    whole = load_model(MAIN.name).state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in model.state_dict().items())


def test_missing_shard(checkpoint: Path) -> None:
    split(checkpoint)
    (checkpoint / "model-00002-of-00002.safetensors").unlink()
    refuses(checkpoint, "model-00002-of-00002.safetensors is missing", "download")


def test_missing_weight_file(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    refuses(checkpoint, "model.safetensors is missing")


def test_missing_tensor(checkpoint: Path) -> None:
    edit_weights(checkpoint, lambda weights: weights.pop(PROJECTOR))
    refuses(checkpoint, "region_encoder.projector.0.weight is missing")


def test_tensor_of_another_shape(checkpoint: Path) -> None:
    edit_weights(checkpoint, lambda weights: weights.update({PROJECTOR: torch.zeros(64, 300)}))
    refuses(checkpoint, "region_encoder.projector.0.weight", "[64, 300]", "[64, 304]")


@pytest.mark.parametrize(
    "name", ["model.something_else.weight", "model.layers.7.self_attn.q_proj.weight"]
)
def test_unknown_tensor(checkpoint: Path, name: str) -> None:
    edit_weights(checkpoint, lambda weights: weights.update({name: torch.zeros(2)}))
    refuses(checkpoint, name.removeprefix("model."))


def test_stored_copy_of_tied_head_is_fine(checkpoint: Path) -> None:
    edit_weights(
        checkpoint,
        lambda w: w.update({"lm_head.weight": w["model.embed_tokens.weight"].clone()}),
    )
    model, info = FO1ForConditionalGeneration.from_pretrained(checkpoint, output_loading_info=True)
    assert not any(info.values())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("option", ["mm_projector_type", "mm_projector_aux_type"])
def test_unknown_projector(checkpoint: Path, option: str) -> None:
    edit_config(checkpoint, **{option: "resampler"})
    refuses(checkpoint, "projector 'resampler'")


def test_unknown_auxiliary_encoder(checkpoint: Path) -> None:
    edit_config(checkpoint, aux_vision_config=None, mm_vision_tower_aux="resources/convnext.pth")
    refuses(checkpoint, "convnext", "davit-large")


def test_no_embedding_row_left_for_the_placeholder(checkpoint: Path) -> None:
    edit_config(checkpoint, vocab_size=2020)
    refuses(checkpoint, "2020", "<regionfeat>")


def test_config_that_is_no_json(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{")
    refuses(checkpoint, "config.json is not valid JSON")


def test_dtype_reaches_every_part() -> None:
    model = FO1ForConditionalGeneration.from_pretrained(MAIN, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_stored_dtype_is_kept(checkpoint: Path) -> None:
    edit_weights(
        checkpoint, lambda w: w.update({name: tensor.bfloat16() for name, tensor in w.items()})
    )
    model = FO1ForConditionalGeneration.from_pretrained(checkpoint)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_saved_in_our_layout_gives_identical_logits(tmp_path: Path) -> None:
    published = load_model(MAIN.name)
    published.save_pretrained(tmp_path)
    FO1Processor.from_pretrained(MAIN).save_pretrained(tmp_path)
    assert not reading.is_published(tmp_path)

    case = CASES["small_2"]
    given = {
        "images": [load_picture(case["image"])],
        "boxes": [case["boxes"]],
        "text": case["prompt"],
    }
    before = FO1Processor.from_pretrained(MAIN)(**given)
    after = FO1Processor.from_pretrained(tmp_path)(**given)
    assert before.keys() == after.keys()
    torch.testing.assert_close(dict(after), dict(before), rtol=0, atol=0)

    ours, info = FO1ForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert ours.generation_config.eos_token_id == [1792, 1793]
    with torch.inference_mode():
        assert torch.equal(ours.eval()(**after).logits, published(**before).logits)
