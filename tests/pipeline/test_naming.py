"""Verbs that a model with a list of names answers without writing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fo1.errors import QueryError
from fo1.pipeline import FO1
from fo1.pipeline.engine import Engine
from fo1.pipeline.vocabulary import Vocabulary
from fo1.results import Proposals
from tests import tiny
from tests.pipeline.conftest import SIZE

NAMES = ("cat", "coffee cup", "tree")
FAR = [[0, 0, 40, 40], [60, 60, 100, 100], [2, 2, 41, 41], [100, 0, 140, 30]]


@pytest.fixture
def named(scoring: FO1) -> FO1:
    engine = scoring.engine
    encoded = engine.processor.tokenizer(list(NAMES), add_special_tokens=False)["input_ids"]
    sources = engine.model.config.score_config.evidence_sources
    vocabulary = Vocabulary(NAMES, tuple(map(tuple, encoded)), ((((),) * 3),) * len(sources))
    return FO1(replace(engine, vocabulary=vocabulary), Path("nowhere"), proposer="grid")


def fit_of(monkeypatch: pytest.MonkeyPatch, table: list[list[float]]) -> None:
    fit = np.array(table, np.float32)
    monkeypatch.setattr(Engine, "name_fit", lambda _, __, regions: (NAMES, fit[list(regions)]))


def test_describe_gives_the_best_name(named: FO1) -> None:
    engine = named.engine
    scene = named.encode(tiny.picture(*SIZE), boxes=tiny.boxes(4, *SIZE))
    texts = scene.describe(regions=[2, 0])
    assert [t.region for t in texts] == [2, 0]
    # The slow way: each name alone, without packing.
    table = engine.model.get_input_embeddings().weight
    encoded = engine.processor.tokenizer(list(NAMES), add_special_tokens=False)["input_ids"]
    words = torch.stack([table[list(ids)].mean(0) for ids in encoded])
    logits = engine.model.score_head.name_logits(scene.tensors.regions.embeddings[[2, 0]], words)
    assert [t.text for t in texts] == [NAMES[i] for i in logits.argmax(-1).tolist()]


def test_ground_names_what_it_is_sure_of(named: FO1, monkeypatch) -> None:
    fit_of(monkeypatch, [[0.9, 0.1, 0], [0.2, 0.8, 0], [0.7, 0, 0], [0.1, 0.1, 0.3]])
    given = named.encode(tiny.picture(*SIZE), FAR)
    answer = given.ground()
    assert answer.text == (
        "<ground>cat</ground><objects><region0><region2></objects>, "
        "<ground>coffee cup</ground><objects><region1></objects>"
    )
    assert not answer.problems
    assert [(item.phrase, item.regions) for item in answer.groundings] == [
        ("cat", (0, 2)),
        ("coffee cup", (1,)),
    ]
    proposed = named.encode(tiny.picture(*SIZE), Proposals(FAR, [1, 0.81, 1, 0.1], "mine"))
    assert proposed.ground().regions == (0, 1), "region 2 is a copy of region 0"
    assert named.encode(tiny.picture(*SIZE), []).ground().groundings == ()


def test_similar_regions_share_a_name(named: FO1, monkeypatch) -> None:
    fit_of(monkeypatch, [[0.9, 0.5, 0], [0.1, 0.9, 0], [0.8, 0, 0], [0, 0, 0.9]])
    scene = named.encode(tiny.picture(*SIZE), FAR)
    found = scene.similar(0, threshold=0.6)
    assert (found.regions.tolist(), found.labels) == ([2, 1], ("cat", "coffee cup"))
    np.testing.assert_allclose(found.scores, np.sqrt([0.72, 0.45]), rtol=1e-5)
    proposed = named.encode(tiny.picture(*SIZE), Proposals(FAR, np.ones(4), "mine"))
    assert proposed.similar(0, threshold=0.6).regions.tolist() == [1], "its own copy is no other"
    with pytest.raises(QueryError, match="region 4 does not exist"):
        scene.similar(4)
