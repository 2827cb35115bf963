"""What is taken away from a scene, and only that."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fo1.evaluation.contestants import reordered, shuffled, text_only, zeroed
from tests.tiny import boxes, picture

NAMES = ("cat", "cup", "the cup on the left")


def encode(model, seed: int):
    return model.encode(picture(96, 64, seed), boxes(4, 96, 64, seed))


def test_text_only_sees_neither_picture_nor_boxes(model) -> None:
    first, second = encode(model, 1), encode(model, 2)
    before = first.scores(NAMES)
    assert not np.allclose(before, second.scores(NAMES))
    blind = text_only(first).scores(NAMES)
    assert (blind == text_only(second).scores(NAMES)).all()
    assert not np.allclose(blind, before)
    assert (first.scores(NAMES) == before).all(), "the scene itself must stay as it was"
    assert np.ptp(blind, axis=1).min() > 0, "names must still differ"


def test_shuffling_deals_the_same_embeddings_to_other_boxes(model) -> None:
    scene = encode(model, 1)
    mixed = shuffled(scene, np.random.default_rng(0))
    order = np.random.default_rng(0).permutation(4)
    assert (order != np.arange(4)).any()
    assert (mixed.regions == scene.regions).all()
    for part in ("features", "embeddings"):
        expected = getattr(scene.tensors.regions, part)[order]
        assert (getattr(mixed.tensors.regions, part) == expected).all()
    assert not np.allclose(mixed.scores(NAMES), scene.scores(NAMES))


def test_evidence_goes_with_the_embeddings(model) -> None:
    scene = encode(model, 1)
    evidence = (torch.arange(4.0)[:, None], torch.arange(4.0)[:, None] + 10)
    regions = replace(scene.tensors.regions, evidence=evidence)
    scene = replace(scene, tensors=replace(scene.tensors, regions=regions))
    dealt = reordered(scene, np.array([2, 0, 3, 1])).tensors.regions
    assert [source[:, 0].tolist() for source in dealt.evidence] == [[2, 0, 3, 1], [12, 10, 13, 11]]
    assert zeroed(scene).tensors.regions.evidence == ()


def test_zeroed_regions_leave_the_picture(model) -> None:
    first, second = encode(model, 1), encode(model, 2)
    blind = zeroed(first).scores(NAMES)
    assert not np.allclose(blind, first.scores(NAMES))
    assert not np.allclose(blind, zeroed(second).scores(NAMES))
    assert not np.allclose(blind, text_only(first).scores(NAMES))


def test_scores_are_what_detection_of_given_boxes_reports(model) -> None:
    scene = encode(model, 3)
    table = scene.scores(NAMES)
    assert table.shape == (4, 3)
    for item in scene.detect(NAMES, threshold=0.0):
        assert item.score == pytest.approx(table[item.region, NAMES.index(item.label)], abs=1e-6)
