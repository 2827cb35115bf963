"""Published layout to ours and back: every bit, every option, all files or none."""

import json
import shutil
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from fo1.errors import CheckpointError
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.models.checkpoints import convert as converting
from fo1.models.checkpoints.convert import convert
from fo1.models.checkpoints.dry_loading import our_names
from fo1.models.checkpoints.model_card import stated_facts
from fo1.models.checkpoints.verification import verify
from fo1.models.published.export import export_config
from fo1.models.published.names import our_name_to_published, published_name_to_ours
from fo1.models.published.reading import published_config
from fo1.models.tensor_files import main_dtype, read_header
from fo1.pipeline.loading import packaged_folder
from tests import tiny
from tests.parity.cases import CASES, FIXTURES, load_picture

CHECKPOINTS = sorted(path.name for path in FIXTURES.glob("VLM-FO1*"))
MAIN = FIXTURES / "VLM-FO1_Qwen2.5-VL-tiny"
# Where the authors kept files, and what no code reads.
PLACES = {"mm_vision_tower", "mm_vision_tower_aux", "tokenizer_model_max_length", "vision_token_id"}
LIBRARY = {"transformers_version", "sliding_window"}
CARD = """---
license: apache-2.0
license_link: https://example.org/licence
base_model: owner/base
widget: [1]
---
license: mine
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MAIN, tmp_path / "VLM-FO1-tiny"))


def stored(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype, name
        assert torch.equal(tensor, right[name]), name


def read(folder: Path, name: str = "config.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def without_types(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config without the types that its parts repeat."""
    return {
        key: without_types(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key != "dtype"
    }


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    source, ours, again = FIXTURES / name, tmp_path / "ours", tmp_path / "again"
    convert(source, ours)
    convert(ours, again, layout="published", shard_bytes=1_000_000)
    assert len(list(again.glob("*.safetensors"))) > 3
    assert_same(stored(again), stored(source))

    before, after = read(source), read(again)
    for key in (before.keys() | after.keys()) - PLACES - LIBRARY:
        assert after.get(key) == before.get(key), key
    options = [published_config(folder).to_dict() for folder in (source, again)]
    assert options[0] == options[1]
    for file in ("vocab.json", "added_tokens.json", "tokenizer.json"):
        assert read(again, file) == read(source, file), file
    assert (again / "merges.txt").read_text() == (source / "merges.txt").read_text()
    for file in ("eos_token", "pad_token", "added_tokens_decoder", "additional_special_tokens"):
        assert (
            read(again, "tokenizer_config.json")[file]
            == read(source, "tokenizer_config.json")[file]
        )
    text = "<ground>a cat</ground><objects><region7></objects> caf\u00e9  42<|im_end|>"
    ids = [AutoTokenizer.from_pretrained(f)(text)["input_ids"] for f in (source, again)]
    assert ids[0] == ids[1]


def test_converted_is_what_saving_would_write(tmp_path: Path) -> None:
    model = FO1ForConditionalGeneration.from_pretrained(MAIN)
    model.save_pretrained(tmp_path / "saved")
    convert(MAIN, tmp_path / "converted")
    assert_same(stored(tmp_path / "converted"), stored(tmp_path / "saved"))
    assert without_types(read(tmp_path / "converted")) == without_types(read(tmp_path / "saved"))
    assert read(tmp_path / "converted")["dtype"] == "float32"


def test_converted_answers_the_same(tmp_path: Path) -> None:
    convert(MAIN, tmp_path / "ours")
    case = CASES["small_2"]
    given = {
        "images": [load_picture(case["image"])],
        "boxes": [case["boxes"]],
        "text": case["prompt"],
    }
    logits = []
    for folder in (MAIN, tmp_path / "ours"):
        processor = FO1Processor.from_pretrained(folder)
        model = FO1ForConditionalGeneration.from_pretrained(folder).eval()
        with torch.inference_mode():
            logits.append(model(**processor(**given)).logits)
    assert torch.equal(*logits)
    auto = AutoModelForImageTextToText.from_pretrained(tmp_path / "ours")
    assert type(auto) is FO1ForConditionalGeneration
    assert type(AutoProcessor.from_pretrained(tmp_path / "ours")) is FO1Processor


def test_types_are_kept_tensor_by_tensor(checkpoint: Path, tmp_path: Path) -> None:
    weights = stored(checkpoint)
    mixed = {n: t if "mm_projector" in n else t.bfloat16() for n, t in weights.items()}
    save_file(mixed, checkpoint / "model.safetensors")
    convert(checkpoint, tmp_path / "ours")
    ours = stored(tmp_path / "ours")
    assert {str(t.dtype) for t in ours.values()} == {"torch.bfloat16", "torch.float32"}
    assert_same(ours, {published_name_to_ours(n): t for n, t in mixed.items()})
    assert read(tmp_path / "ours")["dtype"] == "bfloat16"
    convert(tmp_path / "ours", tmp_path / "again", layout="published")
    assert_same(stored(tmp_path / "again"), mixed)
    assert read(tmp_path / "again")["torch_dtype"] == "bfloat16"


def test_cast(tmp_path: Path) -> None:
    convert(MAIN, tmp_path / "ours", dtype=torch.bfloat16)
    expected = {published_name_to_ours(n): t.bfloat16() for n, t in stored(MAIN).items()}
    assert_same(stored(tmp_path / "ours"), expected)
    assert read(tmp_path / "ours")["dtype"] == "bfloat16"


def test_stored_copy_of_tied_head_survives(checkpoint: Path, tmp_path: Path) -> None:
    weights = stored(checkpoint)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, checkpoint / "model.safetensors")
    convert(checkpoint, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "again", layout="published")
    assert_same(stored(tmp_path / "again"), weights)


# A model made here.


def save_with_published_limits(model: FO1ForConditionalGeneration, folder: Path) -> None:
    """Write a model whose pixel limits the published layout can express."""
    processor = tiny.make_processor()
    processor.image_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 2048 * 2048}
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def test_trained_here_runs_elsewhere(tmp_path: Path) -> None:
    """A score head has no place there; all else comes back as it was."""
    model = tiny.make_model(score=True)
    save_with_published_limits(model, tmp_path / "ours")
    done = convert(tmp_path / "ours", tmp_path / "published", layout="published")
    assert len(done.left_behind) == sum(n.startswith("score_head.") for n in model.state_dict())
    assert any("score head" in note for note in done.notes)
    loaded = FO1ForConditionalGeneration.from_pretrained(tmp_path / "published")
    kept = {n: t for n, t in model.state_dict().items() if not n.startswith("score_head.")}
    assert_same(loaded.state_dict(), kept)


def test_what_a_mode_never_reads_is_left_behind(tmp_path: Path) -> None:
    model = tiny.make_model(use_auxiliary=False)
    save_with_published_limits(model, tmp_path / "ours")
    done = convert(tmp_path / "ours", tmp_path / "published", layout="published")
    assert "not restored: vision_tower_aux.*" in done.notes[0]
    file = tmp_path / "published/model.safetensors"
    idle = "model.vision_tower_aux.image_tower.convs.0.proj.weight"
    save_file(load_file(file) | {idle: torch.ones(3)}, file)
    notes = [f.detail for f in verify(tmp_path / "published", run=False).findings]
    assert "1 are never read in this mode" in notes
    done = convert(tmp_path / "published", tmp_path / "again")
    assert done.left_behind == (idle,)
    again = FO1ForConditionalGeneration.from_pretrained(tmp_path / "again")
    assert_same(again.state_dict(), model.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {"use_pyramid": False, "projector": "linear"},
        {"layer_norm": True},
        {"box_embedding": False},
        {"box_embedding": False, "map_embedding": True},
        {"map_embedding": True},
        {"box_frame": "auxiliary"},
        {"use_auxiliary": False},
        {"use_host": False, "box_frame": "auxiliary"},
        {"combination": "mean", "pyramid_width": 12},
        {"combination": "mean", "pyramid_width": 12, "box_frame": "auxiliary", "output_size": 14},
    ],
)
def test_every_mode_there_and_back(options: dict[str, Any]) -> None:
    from fo1.models.published.options import read_config

    model = tiny.make_model(**options)
    raw = export_config(model.config, "squash")
    assert raw["aux_image_aspect_ratio"] == "squash"
    again = read_config(raw, model.config.region_placeholder_id)
    ours, back = model.config.region_config.to_dict(), again.region_config.to_dict()
    ignored = {"dtype", "transformers_version", "_name_or_path", "architectures"}
    assert {k: v for k, v in back.items() if k not in ignored | {"auxiliary_config"}} == {
        k: v for k, v in ours.items() if k not in ignored | {"auxiliary_config"}
    }
    for name in model.state_dict():
        assert published_name_to_ours(our_name_to_published(name, model.config)) == name


@pytest.mark.parametrize("name", ["", "model.mm_projector.", "lm_head.", "model.mm_projectors.0"])
def test_names_without_a_place(name: str) -> None:
    with pytest.raises(CheckpointError, match="has no place in the published layout"):
        published_name_to_ours(name)


def test_names_at_the_published_widths() -> None:
    config = published_config(MAIN)
    for line in (FIXTURES / "published_tensors.txt").read_text().splitlines():
        name = line.split("\t")[0]
        assert our_name_to_published(published_name_to_ours(name), config) == name


# What cannot be converted.


def refuses(source: Path, out: Path, *words: str, **options: Any) -> None:
    """Assert that nothing is written, and that one line says why."""
    with pytest.raises(CheckpointError) as caught:
        convert(source, out, **options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert not out.with_name(f"{out.name}.partial").exists()


def test_nano_has_no_place_in_the_published_layout(tmp_path: Path) -> None:
    words = ("cannot express this model", "auxiliary encoder 'fo1_light_encoder'")
    refuses(packaged_folder(), tmp_path / "out", *words, layout="published")
    assert not (tmp_path / "out").exists()


def test_other_pixel_limits_have_no_option(tmp_path: Path) -> None:
    tiny.make_model().save_pretrained(tmp_path / "ours")
    tiny.make_processor().save_pretrained(tmp_path / "ours")
    words = ("pixel limits of the host (784, 200704), need (3136, 4194304)",)
    refuses(tmp_path / "ours", tmp_path / "out", *words, layout="published")


def test_other_stride_has_no_option() -> None:
    config = tiny.make_config(host_stride=16)
    with pytest.raises(CheckpointError, match="host_stride 16, need 14"):
        export_config(config)


YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 1024,
    "rope_theta": 1e4,
    "mrope_section": [2, 1, 1],
}


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        (
            "vlm_config.text_config",
            {"rope_parameters": YARN},
            "vlm_config.text_config.rope_parameters.factor 4.0, need None",
        ),
        (
            "vlm_config.text_config",
            {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8},
            "vlm_config.text_config.layer_types ['full_attention', 'sliding_attention'], need",
        ),
        (
            "vlm_config.vision_config",
            {"rope_parameters": {"rope_type": "axial", "rope_theta": 100.0}},
            "vlm_config.vision_config.rope_parameters.rope_theta 100.0, need 10000.0",
        ),
        (
            "region_config.auxiliary_config",
            {"mlp_ratio": 2.0},
            "region_config.auxiliary_config.mlp_ratio 2.0, need 4.0",
        ),
        (
            "region_config.auxiliary_config",
            {"qkv_bias": False},
            "region_config.auxiliary_config.qkv_bias False, need True",
        ),
    ],
)
def test_settings_that_would_be_lost(part: str, changes: dict[str, Any], words: str) -> None:
    config = tiny.make_config()
    place = attrgetter(part)(config)
    for key, value in changes.items():
        setattr(place, key, value)
    with pytest.raises(CheckpointError) as caught:
        export_config(config)
    assert f"cannot express this model: {words}" in str(caught.value)


def test_settings_that_do_not_count() -> None:
    """As the host's own config.json has them, and as training leaves them."""
    config = tiny.make_config(score=True)
    host, davit = config.vlm_config, config.region_config.auxiliary_config
    host.vision_token_id = 1803
    host.text_config.rope_parameters["type"] = "mrope"
    host.text_config.pad_token_id = 1793
    host.architectures, host.dtype = ["Host"], torch.bfloat16
    davit.projection_dim, davit.embed_dim = 768, tuple(davit.embed_dim)
    config.repeat_regions = True
    assert export_config(config)["mm_region_hidden_size"] == 80


def test_layout_it_has_already(tmp_path: Path) -> None:
    refuses(MAIN, tmp_path / "out", "in the layout 'published' already", layout="published")
    refuses(packaged_folder(), tmp_path / "out", "in the layout 'fo1' already")


def test_names_that_the_library_turns_into_its_own(tmp_path: Path) -> None:
    """A model that was never loaded is stored under the host's older names."""
    model = tiny.make_model()
    model.save_pretrained(tmp_path)
    header = read_header(tmp_path / "model.safetensors")
    assert header.keys() != model.state_dict().keys()
    found = our_names(model.config, header)
    weights = load_file(tmp_path / "model.safetensors")
    state = model.state_dict()
    assert {*found.values(), "vlm.lm_head.weight"} == state.keys()
    assert all(torch.equal(weights[name], state[ours]) for name, ours in found.items())


def test_the_state_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once per tensor, which takes minutes for a large model."""
    listed: list[Any] = []
    plain = FO1ForConditionalGeneration.state_dict
    model = tiny.make_model()
    model.save_pretrained(tmp_path)
    header = read_header(tmp_path / "model.safetensors")

    def state_dict(self: Any, *args: Any, **kwargs: Any) -> Any:
        listed.append(self)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(FO1ForConditionalGeneration, "state_dict", state_dict)
    our_names(model.config, header)
    assert 0 < len(listed) < 10 < len(header)


def test_damaged_source(checkpoint: Path, tmp_path: Path) -> None:
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refuses(checkpoint, tmp_path / "out", "weights: model.safetensors is cut off")


def test_folder_that_is_taken(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    convert(MAIN, out)  # empty is free
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    refuses(MAIN, out, "exists and is not empty")
    assert before == {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    (tmp_path / "file").write_text("x")
    refuses(MAIN, tmp_path / "file", "exists and is not empty")


@pytest.mark.parametrize("out", [".", "../work", "p/q/r"])
def test_any_way_to_name_the_folder(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    done = convert(MAIN, out)
    assert done.folder == Path(out)
    assert (Path.cwd() / out / "model.safetensors").is_file()
    name = "r" if out == "p/q/r" else "work"
    assert f"# {name}\n" in (Path.cwd() / out / "README.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_parents_made_for_nothing_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        assert (tmp_path / "kept/p/q/r.partial").is_dir()
        raise KeyboardInterrupt

    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(converting, "write_shards", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(MAIN, tmp_path / "kept/p/q/r")
    assert list(tmp_path.rglob("*")) == [tmp_path / "kept"]
    (tmp_path / "file").write_text("x")
    refuses(MAIN, tmp_path / "file/q/r", "cannot write beside")


def test_a_folder_half_filled_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name == "tokenizer.json":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    refuses(MAIN, out, "cannot write", "No space left")
    assert list(tmp_path.rglob("*")) == [out]


def test_other_conversion_running(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    with pytest.raises(CheckpointError, match=r"out\.partial is there from another conversion"):
        convert(MAIN, tmp_path / "out")
    assert (tmp_path / "out.partial").is_dir()


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda path: usage)
    refuses(MAIN, tmp_path / "out", "GB left", "larger disk")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_stopped_half_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def stop(*args: Any, **kwargs: Any) -> None:
        assert (tmp_path / "out.partial/model.safetensors").is_file()
        raise error

    monkeypatch.setattr(converting, "write_card", stop)
    with pytest.raises(error):
        convert(MAIN, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# Beside the weights.


def test_licence_and_card(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "README.md").write_text(CARD)
    (checkpoint / "LICENSE").write_text("terms")
    done = convert(checkpoint, tmp_path / "mine", dtype=torch.bfloat16)
    assert (tmp_path / "mine/LICENSE").read_text() == "terms"
    card = (tmp_path / "mine/README.md").read_text()
    assert "fo1 convert VLM-FO1-tiny mine --dtype bfloat16" in card
    assert "`apache-2.0`, as the source's card states; see LICENSE" in card
    assert str(tmp_path) not in card
    facts = {
        "license": "apache-2.0",
        "license_link": "https://example.org/licence",
        "base_model": "owner/base",
    }
    assert stated_facts(tmp_path / "mine") == facts
    assert done.files == {file.name: file.stat().st_size for file in done.folder.iterdir()}


def test_card_states_no_licence_that_the_source_does_not(tmp_path: Path) -> None:
    convert(MAIN, tmp_path / "out")
    assert "not stated by the source's card" in (tmp_path / "out/README.md").read_text()
    assert stated_facts(tmp_path / "out") == {}


def test_files_may_be_read_by_others(tmp_path: Path) -> None:
    convert(MAIN, tmp_path / "out")
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "out").iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_main_type_is_that_of_most_bytes() -> None:
    header = read_header(MAIN / "model.safetensors")
    assert main_dtype(header.values()) == torch.float32
    assert main_dtype([]) == torch.float32
