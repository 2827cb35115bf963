"""Whole checkpoints pass; each kind of damage gives the line that names it, and nothing raises."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fo1 import FO1
from fo1.errors import CheckpointError
from fo1.models.checkpoints.verification import Status, Verification, trial, verify
from fo1.models.checkpoints.verification.findings import Finding, some
from fo1.models.tensor_files import DTYPES, INDEX_FILE, SINGLE_FILE, read_header
from fo1.pipeline.loading import packaged_folder
from tests.parity.cases import FIXTURES

CHECKPOINTS = sorted(path.name for path in FIXTURES.glob("VLM-FO1*"))
MAIN = FIXTURES / "VLM-FO1_Qwen2.5-VL-tiny"
PROJECTOR = "model.mm_projector_aux.0.weight"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8300000000\n"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A copy of the main checkpoint that a test may damage."""
    return Path(shutil.copytree(MAIN, tmp_path / "checkpoint"))


def edit_config(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(raw))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(folder / SINGLE_FILE)
    change(weights)
    save_file(weights, folder / SINGLE_FILE, metadata={"format": "pt"})


def split(folder: Path) -> list[str]:
    """Turn the weight file into two shards with an index; return their names."""
    weights = load_file(folder / SINGLE_FILE)
    (folder / SINGLE_FILE).unlink()
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    place = {name: files[number % 2] for number, name in enumerate(sorted(weights))}
    for file in files:
        save_file({n: t for n, t in weights.items() if place[n] == file}, folder / file)
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": place}))
    return files


def failures(found: Verification) -> list[str]:
    return [f"{f.name}: {f.detail}" for f in found.findings if f.status is Status.FAIL]


def fails(folder: Path, *words: str, run: bool = False) -> Verification:
    """Assert that a line fails that holds all the words."""
    found = verify(folder, run=run)
    lines = failures(found)
    assert any(all(word in line for word in words) for line in lines), lines
    assert not found.ok
    assert all(line.isprintable() for line in lines)
    return found


def refused(folder: Path, words: str) -> None:
    """Assert that loading gives one line of our own with the words."""
    with pytest.raises(CheckpointError) as caught:
        FO1.from_pretrained(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_published_checkpoints_are_whole(name: str) -> None:
    found = verify(FIXTURES / name)
    assert failures(found) == []
    names = [finding.name for finding in found.findings]
    assert names[:7] == [
        *("files", "config", "options", "weights", "tensors", "tokenizer", "embedding"),
    ]
    assert {"regions", "ratio", "logits", "answer", "image tokens"} <= set(names)
    assert found.options["mm_region_feature_combination"] == "concat"
    assert found.files["config.json"] == (FIXTURES / name / "config.json").stat().st_size
    assert 0 < found.statistics["entropy"] < 1
    assert found.statistics["region_spread"] > 0.1


def test_the_packaged_model_is_whole() -> None:
    found = verify(packaged_folder())
    assert failures(found) == []
    assert found.options["score_head"] is True
    assert "<objects>" in str(found.statistics["answer"])


def test_a_trial_says_the_same_twice() -> None:
    assert verify(MAIN).statistics == verify(MAIN).statistics


def test_digest_is_that_of_names_shapes_and_types(checkpoint: Path) -> None:
    whole = verify(checkpoint, run=False).header_digest
    assert whole == verify(FIXTURES / f"{MAIN.name}-roi14", run=False).header_digest
    split(checkpoint)
    assert verify(checkpoint, run=False).header_digest == whole
    shutil.copy(MAIN / SINGLE_FILE, checkpoint)
    (checkpoint / INDEX_FILE).unlink()
    edit_weights(checkpoint, lambda w: w.update({PROJECTOR: w[PROJECTOR].bfloat16()}))
    assert verify(checkpoint, run=False).header_digest != whole


def test_not_asked_to_run() -> None:
    found = verify(MAIN, run=False)
    assert found.ok
    assert found.findings[-1] == Finding("run", Status.NOTE, "not tried: not asked for")
    assert found.statistics == {}


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "free_bytes", lambda device: 500_000_000)
    found = verify(MAIN)
    assert found.ok
    last = found.findings[-1]
    assert (last.name, last.status) == ("memory", Status.NOTE)
    assert "needs about 1.0 GB, 0.5 GB are free" in last.detail


@pytest.mark.parametrize("short", ["cpu", "cuda"])
def test_too_little_memory_on_the_way(short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is loaded on the CPU first, wherever it runs."""
    free = {"cpu": 9_000_000_000, "cuda": 9_000_000_000, short: 500_000_000}
    monkeypatch.setattr(trial, "free_bytes", lambda device: free[device.type])
    stored = read_header(MAIN / SINGLE_FILE).values()
    (only,) = trial.try_picture(MAIN, stored, torch.device("cuda"), {})
    assert (only.name, only.status) == ("memory", Status.NOTE)
    assert f"0.5 GB are free on {short}; run it on a larger machine" in only.detail


def test_mostly_bfloat16_is_run_in_bfloat16(checkpoint: Path) -> None:
    """Checkpoints made here keep a few parts in float32."""

    def halve(weights: dict[str, Tensor]) -> None:
        weights |= {n: t.bfloat16() for n, t in weights.items() if "projector" not in n}

    edit_weights(checkpoint, halve)
    (memory,) = [f for f in verify(checkpoint).findings if f.name == "memory"]
    assert memory.detail.endswith("; bfloat16 on cpu")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no folder"):
        verify(tmp_path / "nowhere")


# Files.


def test_empty_folder(tmp_path: Path) -> None:
    fails(tmp_path, "files: missing: config.json, model.safetensors or", "tokenizer.json")


def test_shards(checkpoint: Path) -> None:
    files = split(checkpoint)
    assert failures(verify(checkpoint, run=False)) == []
    (checkpoint / files[1]).unlink()
    fails(checkpoint, f"weights: {files[1]} is missing")


def test_cut_off_shard(checkpoint: Path) -> None:
    file = checkpoint / split(checkpoint)[0]
    file.write_bytes(file.read_bytes()[:1_000_000])
    fails(checkpoint, f"{file.name} is cut off at 1000000", "download it again")


@pytest.mark.parametrize("length", [0, 3, 8, 200])
def test_hardly_anything_of_the_weights(checkpoint: Path, length: int) -> None:
    file = checkpoint / SINGLE_FILE
    file.write_bytes(file.read_bytes()[:length])
    fails(checkpoint, f"weights: {SINGLE_FILE}", "download")


def test_longer_than_its_header_tells(checkpoint: Path) -> None:
    with (checkpoint / SINGLE_FILE).open("ab") as file:
        file.write(b"more")
    fails(checkpoint, "its header tells of")


@pytest.mark.parametrize("name", [SINGLE_FILE, "tokenizer.json"])
def test_git_lfs_pointer(checkpoint: Path, name: str) -> None:
    (checkpoint / name).write_text(POINTER)
    fails(checkpoint, f"files: {name}: these are git-lfs pointers", "git lfs pull")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"a": 3}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}',
        b'{"a": {"dtype": "F32", "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 8]}}',
        b"[" * 100_000,
    ],
)
def test_damaged_header(checkpoint: Path, header: bytes) -> None:
    size = len(header).to_bytes(8, "little")
    (checkpoint / SINGLE_FILE).write_bytes(size + header + bytes(8))
    fails(checkpoint, f"weights: the header of {SINGLE_FILE} is damaged")


@pytest.mark.parametrize("dtype", ["U16", "Q4"])
def test_type_that_is_not_supported(checkpoint: Path, dtype: str) -> None:
    header = json.dumps({"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, 8]}}).encode()
    size = len(header).to_bytes(8, "little")
    (checkpoint / SINGLE_FILE).write_bytes(size + header + bytes(8))
    fails(checkpoint, f"weights: {SINGLE_FILE}: dtype {dtype} of a is not supported; convert it to")


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"weight_map": {}}', "names no files"),
        ('{"weight_map": {"a": "../../secret"}}', "names '../../secret'"),
    ],
)
def test_damaged_index(checkpoint: Path, index: str, words: str) -> None:
    (checkpoint / INDEX_FILE).write_text(index)
    fails(checkpoint, f"weights: {INDEX_FILE} {words}")


def test_index_of_other_shards(checkpoint: Path) -> None:
    split(checkpoint)
    index = json.loads((checkpoint / INDEX_FILE).read_text())
    index["weight_map"]["model.norm.bias"] = index["weight_map"]["model.norm.weight"]
    (checkpoint / INDEX_FILE).write_text(json.dumps(index))
    found = fails(checkpoint, "the files disagree on model.norm.bias")
    assert [f.status for f in found.findings if f.name == "weights"] == [Status.FAIL]


@pytest.mark.parametrize("text", ["junk", "{", "", "[" * 100_000])
@pytest.mark.parametrize("name", sorted(file.name for file in MAIN.glob("*.json")))
def test_json_file_that_does_not_parse(checkpoint: Path, name: str, text: str) -> None:
    (checkpoint / name).write_text(text)
    words = [f"{name} is not valid JSON; download it again"] if text else [f"{name}: empty"]
    found = fails(checkpoint, *(f"files: {word}" for word in words))
    assert not any("Error: " in line for line in failures(found))
    assert not any(str(checkpoint) in line for line in failures(found))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ": empty"),
        (b" \n", " holds no text"),
        (b"a\0b", " holds no"),
        (b"\xff\xfe", " is not"),
    ],
)
def test_merges_that_are_no_text(checkpoint: Path, content: bytes, words: str) -> None:
    (checkpoint / "merges.txt").write_bytes(content)
    fails(checkpoint, f"files: merges.txt{words}", "download")


@pytest.mark.parametrize("dtype", ["I32", "U8", "BOOL"])
def test_weights_that_are_not_floating(checkpoint: Path, dtype: str) -> None:
    kind = DTYPES[dtype]
    edit_weights(checkpoint, lambda w: w.update({n: t.to(kind) for n, t in w.items()}))
    said = f"weights are stored as {dtype}; need floating point"
    found = fails(checkpoint, f"weights: {said}")
    assert len(failures(found)) == 1
    refused(checkpoint, said)


def test_one_tensor_that_is_not_floating(checkpoint: Path) -> None:
    name = "model.norm.weight"
    edit_weights(checkpoint, lambda w: w.update({name: w[name].int()}))
    fails(checkpoint, f"weights: weights are stored as I32; need floating point ({name})")


# Options.


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, 99999) for key in ("bos_token_id", "eos_token_id", "pad_token_id")),
        *((f"vision_{key}token_id", 2048) for key in ("", "start_", "end_")),
        ("video_token_id", -1),
        ("image_token_id", 2048),
    ],
)
def test_token_outside_the_vocabulary(checkpoint: Path, key: str, value: int) -> None:
    edit_config(checkpoint, **{key: value})
    fails(checkpoint, f"config: config.json: {key} is {value}, ")


def test_generated_token_outside_the_vocabulary(checkpoint: Path) -> None:
    (checkpoint / "generation_config.json").write_text('{"eos_token_id": [1792, 2048]}')
    fails(
        checkpoint,
        "config: generation_config.json: eos_token_id is 2048, outside the vocabulary of 2048",
    )


def test_image_token_of_another_tokenizer(checkpoint: Path) -> None:
    edit_config(checkpoint, image_token_id=5)
    said = "image_token_id is 5, but <|image_pad|> is 1804"
    fails(checkpoint, said)
    refused(checkpoint, said)


def test_image_token_of_another_tokenizer_in_our_layout(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(packaged_folder(), tmp_path / "ours"))
    raw = json.loads((folder / "config.json").read_text())
    edit_config(folder, vlm_config=raw["vlm_config"] | {"image_token_id": 5})
    fails(folder, "tokenizer: image_token_id is 5, but <|image_pad|> is 3986")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer_model_max_length": 10}, "tokenizer_model_max_length is 10; prompts"),
        ({"max_position_embeddings": 10}, "max_position_embeddings is 10; prompts"),
        ({"mm_num_region_tokens": 5}, "it has 200 index tokens, config.json uses 5 of them"),
    ],
)
def test_odd_values_are_told(checkpoint: Path, changes: dict[str, Any], words: str) -> None:
    edit_config(checkpoint, **changes)
    found = verify(checkpoint, run=False)
    assert found.ok
    assert any(f.status is Status.NOTE and words in f.detail for f in found.findings)


@pytest.mark.parametrize("text", ["junk", "[]", '{"max_new_tokens": "many"}'])
def test_damaged_generation_config(checkpoint: Path, text: str) -> None:
    (checkpoint / "generation_config.json").write_text(text)
    fails(checkpoint, "config: generation_config.json ", "download it again")
    refused(checkpoint, "generation_config.json ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "no table of options"),
        ('{"model_type": "llama"}', "model_type is 'llama'"),
        ("{}", "model_type is None"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_config_of_something_else(checkpoint: Path, text: str, words: str) -> None:
    (checkpoint / "config.json").write_text(text)
    fails(checkpoint, "config: ", words)


def test_unknown_option_is_told(checkpoint: Path) -> None:
    edit_config(checkpoint, mm_new_trick=3)
    found = verify(checkpoint, run=False)
    assert found.ok
    assert found.options["mm_new_trick"] == 3
    (note,) = [f for f in found.findings if f.name == "options" and f.status is Status.NOTE]
    assert note.detail == "unknown to this version, without effect here: mm_new_trick=3"


def test_unknown_value(checkpoint: Path) -> None:
    edit_config(checkpoint, mm_region_feature_combination="product")
    fails(checkpoint, "config: ", "mm_region_feature_combination", "'product'")


@pytest.mark.parametrize("key", ["num_hidden_layers", "vision_config"])
def test_more_layers_than_believable(checkpoint: Path, key: str) -> None:
    raw = json.loads((checkpoint / "config.json").read_text())
    edit_config(checkpoint, **{key: raw[key] | {"depth": 10**9} if key[0] == "v" else 10**9})
    fails(checkpoint, "config: ", "1000000000", "believable")


# Tensors.


def test_renamed_tensor(checkpoint: Path) -> None:
    edit_weights(
        checkpoint,
        lambda w: w.update(
            {"model.norm.wieght": w.pop("model.norm.weight"), "strange": torch.ones(1)}
        ),
    )
    found = fails(checkpoint, "tensors: 1 missing: vlm.model.language_model.norm.weight")
    assert any("2 not of this model: strange, model.norm.wieght" in f for f in failures(found))


def test_tensor_under_two_names(checkpoint: Path) -> None:
    edit_config(checkpoint, mm_projector_type="linear")
    names = ("model.mm_projector.weight", "model.mm_projector.0.weight")
    edit_weights(checkpoint, lambda w: w.update({name: torch.zeros(64, 64) for name in names}))
    fails(checkpoint, "tensors: 1 not of this model: model.mm_projector.weight")


def test_option_that_has_no_place_here(checkpoint: Path) -> None:
    """Only what is written again has to be expressed; what is read is fine."""
    raw = json.loads((checkpoint / "config.json").read_text())
    vision = raw["vision_config"] | {"rope_parameters": {"rope_type": "axial", "rope_theta": 5e3}}
    edit_config(checkpoint, vision_config=vision)
    assert failures(verify(checkpoint, run=False)) == []


def test_transposed_tensor(checkpoint: Path) -> None:
    edit_weights(checkpoint, lambda w: w.update({PROJECTOR: w[PROJECTOR].T.contiguous()}))
    fails(checkpoint, f"1 of another shape: {PROJECTOR} is [304, 64], need [64, 304]")


def test_many_missing_tensors_are_counted(checkpoint: Path) -> None:
    edit_weights(checkpoint, lambda w: [w.pop(n) for n in list(w) if ".vision_tower_aux." in n])
    fails(checkpoint, "missing: ", "region_encoder.auxiliary.", " more; ")


def test_too_few_layers_in_the_options(checkpoint: Path) -> None:
    edit_config(checkpoint, num_hidden_layers=2)
    fails(checkpoint, "12 not of this model: model.layers.2.")


# Tokens.


def test_tokenizer_without_region_tokens(checkpoint: Path) -> None:
    names = ["tokenizer.json", "tokenizer_config.json", "added_tokens.json"]
    for name in names:
        text = (checkpoint / name).read_text().replace("<region7>", "<religion7>")
        (checkpoint / name).write_text(text)
    fails(checkpoint, "tokenizer: the tokenizer lacks <region7>, 1 in all")


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 3}', "{}", "junk", "3"])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("source", [MAIN, packaged_folder()])
def test_damaged_tokenizer(tmp_path: Path, source: Path, name: str, text: str) -> None:
    if name == "tokenizer_config.json" and text == '{"model": 3}':
        text = '{"added_tokens_decoder": 3}'
    folder = Path(shutil.copytree(source, tmp_path / "checkpoint"))
    (folder / name).write_text(text)
    found = fails(folder, "tokenizer: ", name, "download ")
    assert not any("config: " in line[:8] for line in failures(found))
    refused(folder, name)


@pytest.mark.parametrize("source", [MAIN, packaged_folder()])
def test_missing_tokenizer_config(tmp_path: Path, source: Path) -> None:
    folder = Path(shutil.copytree(source, tmp_path / "checkpoint"))
    (folder / "tokenizer_config.json").unlink()
    fails(folder, "files: tokenizer_config.json is missing; download it again")
    refused(folder, "tokenizer_config.json is missing; download it again")


def test_untrained_region_rows(checkpoint: Path) -> None:
    def clear(weights: dict[str, Tensor]) -> None:
        weights["model.embed_tokens.weight"][1820:1830] = 0

    edit_weights(checkpoint, clear)
    fails(checkpoint, "embedding: 10 rows are all zero: <region0>, <region1>, <region2> and 7 more")


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.k_proj.weight", "model.embed_tokens.weight"]
)
def test_matrix_of_zeros(checkpoint: Path, name: str) -> None:
    edit_weights(checkpoint, set_all(name, 0))
    found = fails(checkpoint, f"tensors: 1 matrices are all zero: {name}; download")
    assert sum("tensors: " in line for line in failures(found)) == 1


def test_zeros_that_are_fine(checkpoint: Path) -> None:
    """Biases, norms, rows without a token, whichever they are, and what the mode never reads."""

    def clear(weights: dict[str, Tensor]) -> None:
        for tensor in weights.values():
            if tensor.ndim == 1:
                tensor.zero_()
        weights["model.embed_tokens.weight"][:1700] = 0
        weights["model.layers.0.self_attn.k_proj.weight"][:-1] = 0

    edit_weights(checkpoint, clear)
    assert failures(verify(checkpoint, run=False)) == []


# The run.


def set_all(name: str, value: float) -> Callable[[dict[str, Tensor]], object]:
    return lambda weights: weights[name].fill_(value)


def test_weights_that_are_not_numbers(checkpoint: Path) -> None:
    edit_weights(checkpoint, set_all("model.layers.1.mlp.up_proj.weight", torch.nan))
    fails(checkpoint, "numbers: 1 tensors are not finite", "layers.1.mlp.up_proj", run=True)


def test_weights_that_overflow(checkpoint: Path) -> None:
    edit_weights(checkpoint, set_all("model.mm_projector_aux.2.weight", 3e38))
    fails(checkpoint, "regions: ", "not finite", run=True)


def test_region_projector_of_nearly_zero(checkpoint: Path) -> None:
    edit_weights(checkpoint, set_all("model.mm_projector_aux.2.weight", 1e-9))
    fails(checkpoint, "regions: ", "different boxes give the same vector", run=True)


def test_image_tokens_of_nearly_zero(checkpoint: Path) -> None:
    edit_weights(checkpoint, set_all("model.vision_tower.image_tower.merger.mlp.2.weight", 1e-9))
    fails(checkpoint, "image tokens: ", "they are all the same", run=True)


def test_model_that_knows_no_word_from_another(checkpoint: Path) -> None:
    edit_weights(checkpoint, set_all("model.norm.weight", 0))
    fails(checkpoint, "logits: entropy 1 ", "does not tell words apart", run=True)


def test_region_vectors_of_absurd_length(checkpoint: Path) -> None:
    edit_weights(checkpoint, lambda w: w["model.mm_projector_aux.2.weight"].mul_(1e5))
    fails(checkpoint, "ratio: region vectors are ", "need 0.001 to 1000", run=True)


def test_lines_of_findings() -> None:
    finding = Finding.of("name", Status.OK, "a\n\x1b[31mb" + 5000 * "c")
    assert finding.detail.startswith("a ?[31mb")
    assert len(finding.detail) < 2000
    assert some(["a", "b", "c"]) == "a, b, c"
    assert some([]) == ""
