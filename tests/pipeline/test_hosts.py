"""The whole way on every host family: taken on, saved, loaded by its folder, asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from fo1.models import FO1ForConditionalGeneration
from fo1.models.families import FAMILIES
from fo1.pipeline import FO1
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
