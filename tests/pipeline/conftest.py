"""Tiny random models behind the public face: one that scores, one that writes, one that sees."""

import copy
from pathlib import Path

import pytest
import torch

from fo1.lexicon import Lexicon
from fo1.models import FO1ForConditionalGeneration, LightEncoderConfig
from fo1.pipeline import FO1
from fo1.pipeline.engine import Engine
from fo1.pipeline.rows import Row, Text
from tests import tiny

SIZE = (140, 112)  # width, height


def front(
    model: FO1ForConditionalGeneration, lexicon: Lexicon | None = None, host: str = "qwen2_5_vl"
) -> FO1:
    engine = Engine("tiny", model, tiny.make_processor(host), lexicon)
    return FO1(engine, Path("nowhere"), proposer="grid")


def record(monkeypatch: pytest.MonkeyPatch, *texts: str) -> list[Row]:
    """Let models write these texts; the list returned fills with the rows that they were given."""
    rows: list[Row] = []
    left = iter(texts)

    def generate(self: Engine, given: list[Row], most: int | None = None) -> list[Text]:
        rows.extend(given)
        return [Text(next(left)) for _ in given]

    monkeypatch.setattr(Engine, "generate", generate)
    return rows


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fo1.pipeline.engine.MAX_NEW_TOKENS", 6)


@pytest.fixture(scope="module")
def scoring() -> FO1:
    return front(tiny.make_model(score=True))


@pytest.fixture(scope="module")
def writing() -> FO1:
    return front(tiny.make_model())


@pytest.fixture(scope="module")
def seeing() -> FO1:
    """A model whose auxiliary encoder reads out evidence and holds a detector."""
    config = tiny.make_config(score=True, auxiliary_config=LightEncoderConfig(sides=(160,)))
    config.score_config.evidence_sources = ["imagenet", "coco"]
    config.repeat_regions = True
    torch.manual_seed(0)
    model = FO1ForConditionalGeneration(config).eval()
    convolutions = copy.deepcopy(model.region_encoder.auxiliary.state_dict())
    tiny.randomise(model)
    model.region_encoder.auxiliary.load_state_dict(convolutions)
    model.generation_config.pad_token_id = 1793
    return front(model, Lexicon.load())
