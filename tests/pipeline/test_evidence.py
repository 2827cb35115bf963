"""What a detection's score is, and what else is known of it."""

import math

import numpy as np
import pytest

from fo1.models.decoding import Written
from fo1.pipeline import Request
from fo1.pipeline.engine import Engine
from fo1.pipeline.rows import Text
from fo1.prompts import Task
from fo1.results import Proposals
from tests import tiny
from tests.pipeline.conftest import SIZE

BOXES = tiny.boxes(3, *SIZE)


def proposed() -> Proposals:
    return Proposals(BOXES, [0.9, 0.5, 0.2], "test")


def detect(model, boxes, *names: str, threshold: float | None = 0.0):
    scene = model.encode(tiny.picture(*SIZE), boxes)
    return scene, scene.answer(Request(task=Task.DETECT, queries=names, threshold=threshold))


def write(monkeypatch: pytest.MonkeyPatch, text: str, *chances: float) -> None:
    monkeypatch.setattr(Engine, "generate", lambda *_: [Text(text, True, chances)])


def test_of_proposals_a_score_head_gives_match_proposal_and_fusion(scoring) -> None:
    scene, found = detect(scoring, proposed(), "cat", "cup")
    assert found.scored_by == "fusion"
    assert set(found.evidence) == {"head", "proposal", "fusion"}
    match = scene.scores(["cat", "cup"])
    for row, item in enumerate(found.detections):
        own = match[item.region, ("cat", "cup").index(item.label)]
        assert found.evidence["head"][row] == pytest.approx(own, abs=1e-6)
        assert found.evidence["proposal"][row] == scene.proposal_scores[item.region]
        assert item.score == pytest.approx(math.sqrt(own * scene.proposal_scores[item.region]))


def test_of_given_boxes_the_match_is_all(scoring) -> None:
    _, found = detect(scoring, BOXES, "cat")
    assert found.scored_by == "head"
    assert set(found.evidence) == {"head"}
    assert found.evidence["head"].tolist() == found.detections.scores.tolist()


def test_written_regions_have_the_probability_of_their_token(writing, monkeypatch) -> None:
    text = "<ground>cat</ground><objects><region2><region0></objects>"
    write(monkeypatch, text, 0.75, 0.25)
    _, found = detect(writing, proposed(), "cat", "cup")
    assert found.scored_by == "proposal"
    assert found.detections.regions.tolist() == [2, 0]
    np.testing.assert_allclose(found.evidence["token"], [0.75, 0.25])
    np.testing.assert_allclose(found.evidence["proposal"], [0.2, 0.9])
    assert found.written == (text,)
    _, kept = detect(writing, proposed(), "cat", threshold=0.5)
    assert kept.detections.regions.tolist() == [0]
    assert kept.evidence["token"].tolist() == [0.25]


def test_the_first_mention_counts_and_thoughts_do_not(writing, monkeypatch) -> None:
    text = (
        "<think>maybe <region1></think><answer><ground>cat</ground><objects><region1></objects>"
        " <ground>cat</ground><objects><region1></objects></answer>"
    )
    write(monkeypatch, text, 0.1, 0.6, 0.9)
    _, found = detect(writing, proposed(), "cat")
    np.testing.assert_allclose(found.evidence["token"], [0.6])


def test_probabilities_of_index_tokens_are_those_of_decoding(writing, monkeypatch) -> None:
    engine = writing.engine
    text = "<ground>cat</ground><objects><region2><region0></objects>"
    tokens = (*engine.processor.token_ids(text), min(engine.markup.ends))
    logprobs = [-0.1 * place for place in range(len(tokens))]
    places = [place for place, token in enumerate(tokens) if token in engine.markup.regions]
    assert len(places) == 2
    monkeypatch.setattr(
        "fo1.pipeline.engine.decode", lambda *_, **__: [Written(tokens, tuple(logprobs), True)]
    )
    _, found = detect(writing, BOXES, "cat")
    assert found.written == (text,)
    assert found.evidence["token"] == pytest.approx([math.exp(logprobs[p]) for p in places])
