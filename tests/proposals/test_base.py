"""Ranking and removal of copies."""

import numpy as np
import pytest
from PIL import Image

from fo1.errors import InputError
from fo1.geometry import box_iou
from fo1.proposals import get_proposer, names, rank_and_dedupe
from fo1.proposals.base import OVERLAP, check_limit

SIZE = (100, 200)


def flood(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    near = random.uniform([-20, -20], [190, 90], (count, 2))
    boxes = np.concatenate([near, near + random.uniform(0.5, 80, (count, 2))], 1)
    return boxes.astype(np.float32), random.uniform(size=count).astype(np.float32)


def greedy(boxes: np.ndarray, rank: np.ndarray, limit: int) -> list[int]:
    """The oracle: take the best box that does not copy one already taken."""
    clipped = np.clip(boxes, 0, [200, 100, 200, 100]).astype(np.float32)
    kept: list[int] = []
    for index in np.argsort(-rank, kind="stable"):
        thin = (clipped[index, 2:] - clipped[index, :2]).min() < 1
        near = [box_iou(clipped[[index]], clipped[[other]])[0, 0] for other in kept]
        if not thin and max(near, default=0) <= OVERLAP and len(kept) < limit:
            kept.append(int(index))
    return kept


@pytest.mark.parametrize(("count", "limit"), [(1, 5), (40, 100), (300, 7), (300, 40), (450, 80)])
def test_equals_a_greedy_loop(count: int, limit: int) -> None:
    boxes, scores = flood(count)
    kept = greedy(boxes, scores, limit)
    found = rank_and_dedupe(boxes, scores, SIZE, "test", limit=limit)
    np.testing.assert_array_equal(found.scores, scores[kept])
    np.testing.assert_array_equal(found.boxes, np.clip(boxes[kept], 0, [200, 100, 200, 100]))
    assert found.source == "test"


def test_priority_decides_the_order_and_scores_are_only_carried() -> None:
    boxes, scores = flood(50)
    priority = np.arange(50, dtype=np.float32)
    found = rank_and_dedupe(boxes, scores, SIZE, "test", priority=priority)
    np.testing.assert_array_equal(found.scores, scores[greedy(boxes, priority, 100)])


@pytest.mark.parametrize(
    "boxes", [np.zeros((0, 4)), [[250, 10, 300, 20]], [[10, 10, 10.5, 90]], [[5, -9, 9, 0]]]
)
def test_when_nothing_is_left_the_whole_picture_is_proposed(boxes) -> None:
    boxes = np.asarray(boxes, np.float32)
    found = rank_and_dedupe(boxes, np.ones(len(boxes), np.float32), SIZE, "test")
    assert found.boxes.tolist() == [[0, 0, 200, 100]]
    assert found.scores.tolist() == [0]


def test_wrong_use_names_the_cure() -> None:
    with pytest.raises(InputError, match="limit is 0 proposals; give a whole number, 1 or more"):
        check_limit(0)
    with pytest.raises(InputError, match="limit is -1"):
        get_proposer("grid", limit=-1)
    with pytest.raises(InputError, match=r"unknown proposer 'yolo'; choose one of: nanodet\+ssd, "):
        get_proposer("yolo")
    with pytest.raises(InputError, match="own boxes are those of a model"):
        get_proposer("own")
    known = {"nanodet+ssd", "nanodet", "ssd", "tiled", "own", "selective-search", "grid", "none"}
    assert set(names()) == known
    assert len(get_proposer("none").propose(Image.new("RGB", (30, 20)))) == 0
