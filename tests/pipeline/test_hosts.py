"""The whole way on every host family: taken on, saved, loaded by its folder, asked."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from fo1.errors import CheckpointError, FO1Error
from fo1.models import FO1ForConditionalGeneration
from fo1.models.families import FAMILIES
from fo1.pipeline import FO1
from fo1.pipeline.hosts import AUXILIARY, add_regions, is_host, read_host
from fo1.pipeline.loading import packaged_folder
from tests import tiny

SIZE = (140, 112)


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FO1:
    """A host with a vocabulary of its own, region tokens added, read from disk."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    row = tiny.HOSTS[request.param]
    torch.manual_seed(0)
    host = AutoModelForImageTextToText.from_config(row.config())
    tiny.randomise(host)
    model, processor = FO1ForConditionalGeneration.from_vlm(
        host,
        tokenizer=tiny.plain_tokenizer(),
        image_processor=row.image_processor(),
        auxiliary_config=tiny.davit_config(),
        pyramid_width=8,
    )
    tiny.randomise(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return FO1.from_pretrained(folder, device="cpu", proposer="grid")


def test_detect(loaded: FO1) -> None:
    boxes = tiny.boxes(5, *SIZE)
    scene = loaded.encode(tiny.picture(*SIZE), boxes)
    found = scene.detect(["cup", "big dog"], threshold=0)
    assert len(found) == 10
    assert set(found.labels) == {"cup", "big dog"}
    assert ((found.scores > 0) & (found.scores < 1)).all()
    assert len(set(found.scores.tolist())) > 2
    np.testing.assert_array_equal(found.boxes, boxes[found.regions])


def test_many_pictures_equal_single_ones(loaded: FO1) -> None:
    """Pictures of several sizes share a pass, and more regions than index tokens take several."""
    pictures = [tiny.picture(*SIZE), tiny.picture(84, 196, seed=1)]
    boxes = [tiny.boxes(103, *SIZE), tiny.boxes(4, 84, 196)]
    together = loaded.detect(pictures, ["cup"], boxes=boxes, threshold=0)
    for picture, own, found in zip(pictures, boxes, together, strict=True):
        alone = loaded.encode(picture, own).detect(["cup"], threshold=0)
        assert alone.regions.tolist() == found.regions.tolist()
        np.testing.assert_allclose(alone.scores, found.scores, atol=1e-5)


def test_ask(loaded: FO1) -> None:
    scene = loaded.encode(tiny.picture(*SIZE), tiny.boxes(3, *SIZE))
    answer = scene.ask("Where is <region1>?")
    assert isinstance(answer.text, str)
    other = loaded.encode(tiny.picture(*SIZE, seed=5), tiny.boxes(3, *SIZE, seed=5))
    other.ask("Why?")
    assert scene.ask("Where is <region1>?").text == answer.text
    assert set(answer.regions) <= {0, 1, 2}
    assert scene.describe([0, 2])


def test_a_host_s_folder_becomes_a_model_that_sees_with_the_packaged_encoder(
    tmp_path: Path,
) -> None:
    host, out = tmp_path / "host", tmp_path / "model"
    tiny.save_host("smolvlm", host)
    # As processors of several inputs keep it.
    stored = json.loads((host / "preprocessor_config.json").read_text())
    (host / "preprocessor_config.json").unlink()
    (host / "processor_config.json").write_text(json.dumps({"image_processor": stored}))
    assert is_host(host)
    add_regions(host, out, seed=1)
    assert not is_host(out)
    model = FO1.from_pretrained(out, device="cpu")
    own = model.engine.model.region_encoder.auxiliary.state_dict()
    packaged = load_file(packaged_folder() / "model.safetensors")
    for name, weights in own.items():
        assert torch.equal(weights, packaged[f"{AUXILIARY}{name}"].to(weights)), name
    assert model.engine.lexicon is not None
    assert len(model.encode(tiny.picture(*SIZE)).detect(["cup"], threshold=0)) > 0


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("config.json", "{}", "is not a model's config"),
        ("config.json", "[", "is not a model's config"),
        ("config.json", '{"model_type": "gpt2"}', "no adapter for host family 'gpt2'"),
        ("preprocessor_config.json", None, "lacks preprocessor_config.json"),
        ("preprocessor_config.json", "[", "describes no image processor"),
        ("preprocessor_config.json", "[]", "describes no image processor"),
        ("preprocessor_config.json", "{}", "describes no image processor"),
        (
            "preprocessor_config.json",
            '{"image_processor_type": "Nobody"}',
            "describes no image processor",
        ),
        (
            "preprocessor_config.json",
            '{"image_processor_type": "CLIPImageProcessor", "do_center_crop": false}',
            "preprocessor_config.json: .*do_center_crop=False",
        ),
    ],
)
def test_a_host_that_cannot_be_taken_on_is_refused_by_its_file(
    file: str, text: str | None, problem: str, tmp_path: Path
) -> None:
    tiny.save_host("llava", tmp_path)
    if text is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(text)
    with pytest.raises(FO1Error, match=problem):
        _take_on(tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_host_without_weights_or_tokenizer_is_refused(file: str, tmp_path: Path) -> None:
    host = tmp_path / "host"
    tiny.save_host("llava", host)
    with pytest.raises(
        CheckpointError, match="without region tokens; give it some with: fo1 train"
    ):
        FO1.from_pretrained(host)
    (host / file).unlink()
    with pytest.raises(CheckpointError, match="give a complete host"):
        add_regions(host, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def _take_on(folder: Path) -> None:
    assert is_host(folder)
    read_host(folder)
