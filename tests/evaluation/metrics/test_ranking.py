"""Average precision by hand and against pycocotools."""

import contextlib
import io

import numpy as np
import pytest

from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.metrics.ranking import (
    COCO_IOUS,
    average_precision,
    mean_average_precision,
    rank,
)

NONE = np.zeros((0, 4), np.float32)
BOX = np.float32([[0, 0, 10, 10]])
FAR = np.float32([[50, 50, 60, 60]])
ONE = np.ones((1, 1))


def ap50(*rankings, weights=ONE) -> float:
    return average_precision(rankings, weights)[0, 0]


def test_a_perfect_and_an_empty_ranking() -> None:
    assert ap50(rank(BOX, [0.3], BOX, NONE, 0)) == 1
    assert ap50(rank(NONE, [], BOX, NONE, 0)) == 0
    assert np.isnan(ap50(rank(BOX, [0.3], NONE, NONE, 0)))
    assert np.isnan(mean_average_precision([], ONE)[0]).all()


def test_a_better_scored_mistake_halves_it() -> None:
    boxes = np.concatenate([BOX, FAR])
    assert ap50(rank(boxes, [0.4, 0.9], BOX, NONE, 0)) == pytest.approx(0.5)
    assert ap50(rank(boxes, [0.9, 0.4], BOX, NONE, 0)) == 1


def test_equal_scores_enter_together() -> None:
    boxes = np.concatenate([BOX, FAR])
    for order in ([0, 1], [1, 0]):
        assert ap50(rank(boxes[order], [0.5, 0.5], BOX, NONE, 0)) == pytest.approx(0.5)


def test_a_box_is_found_once() -> None:
    twice = rank(np.concatenate([BOX, BOX + 1]), [0.9, 0.8], BOX, NONE, 0)
    assert twice.hits[0].tolist() == [True, False]


def test_what_lies_in_an_ignored_region_is_neither_right_nor_wrong() -> None:
    boxes = np.concatenate([BOX, FAR])
    around = np.float32([[40, 40, 80, 80]])
    assert ap50(rank(boxes, [0.4, 0.9], BOX, around, 0)) == 1
    # A true box inside an ignored region is still found.
    assert ap50(rank(FAR, [0.9], FAR, around, 0)) == 1


def test_half_recall_gives_51_of_101_points() -> None:
    found = rank(BOX, [0.9], np.concatenate([BOX, FAR]), NONE, 0)
    assert ap50(found) == pytest.approx(51 / 101)


def test_ious_are_thresholds() -> None:
    # 10 x 10 against 10 x 8: IoU 0.8.
    shifted = np.float32([[0, 0, 10, 8]])
    curve = average_precision([rank(BOX, [0.9], shifted, NONE, 0)], ONE)[:, 0]
    assert curve.tolist() == [1] * 7 + [0] * 3


def test_weights_are_copies_of_pictures() -> None:
    good, bad = rank(BOX, [0.5], BOX, NONE, 0), rank(FAR, [0.9], BOX, NONE, 1)
    weights = np.array([[1.0, 1], [2, 1], [1, 0], [0, 1]])
    copies = [rank(BOX, [0.5], BOX, NONE, 0), rank(BOX, [0.5], BOX, NONE, 1)]
    copies.append(rank(FAR, [0.9], BOX, NONE, 2))
    values = average_precision([good, bad], weights)[0]
    assert values[1] == pytest.approx(ap50(*copies, weights=np.ones((1, 3))))
    assert values[2:].tolist() == [1, 0]


def test_weights_in_blocks_give_the_same(monkeypatch) -> None:
    rankings = [rank(*entry, number) for number, entry in enumerate(random_task(2)[0])]
    weights = resampling(6, 30)
    whole = average_precision(rankings, weights)
    monkeypatch.setattr("fo1.evaluation.metrics.ranking._COPIES_AT_ONCE", 200)
    assert sum(len(one.scores) for one in rankings) > 200 / 31  # more than one block
    np.testing.assert_array_equal(average_precision(rankings, weights), whole)
    assert average_precision(rankings, weights[:0]).shape == (10, 0)


def test_the_mean_is_over_names_with_boxes() -> None:
    names = [
        [rank(BOX, [0.5], BOX, NONE, 0)],
        [rank(NONE, [], BOX, NONE, 0)],
        [rank(BOX, [0.5], NONE, NONE, 0)],
    ]
    overall, at_50 = mean_average_precision(names, ONE)
    assert overall == at_50 == [0.5]


def random_task(seed: int):
    """Return per name and picture (boxes, scores, truth, crowd), clustered so that they overlap."""
    rng = np.random.default_rng(seed)
    task = []
    for _ in range(3):
        pictures = []
        for _ in range(6):
            truth = rng.uniform(0, 60, (int(rng.integers(0, 4)), 2))
            truth = np.concatenate([truth, truth + rng.uniform(15, 40, truth.shape)], 1)
            near = np.repeat(truth, 2, 0) + rng.normal(0, 3, (2 * len(truth), 4))
            odd = rng.uniform(0, 60, (3, 2))
            boxes = np.concatenate([near, np.concatenate([odd, odd + 20], 1)])
            crowd = np.array([[30.0, 30, 90, 90]])[: int(rng.integers(0, 2))].reshape(-1, 4)
            scores = rng.permutation(10_000)[: len(boxes)] / 10_000 + rng.random() * 1e-6
            pictures.append([np.float32(boxes), scores, np.float32(truth), np.float32(crowd)])
        task.append(pictures)
    return task


def coco(task) -> tuple[float, float]:
    pycocotools_coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    annotations, results = [], []
    for name, pictures in enumerate(task, 1):
        for picture, (boxes, scores, truth, crowd) in enumerate(pictures):
            for crowded, rows in ((0, truth), (1, crowd)):
                for x1, y1, x2, y2 in rows.astype(float):
                    box = [x1, y1, x2 - x1, y2 - y1]
                    annotations.append(
                        {
                            **{"id": len(annotations) + 1, "image_id": picture},
                            **{"category_id": name, "bbox": box, "area": box[2] * box[3]},
                            "iscrowd": crowded,
                        }
                    )
            for (x1, y1, x2, y2), score in zip(boxes.astype(float), scores, strict=True):
                results.append(
                    {
                        **{"image_id": picture, "category_id": name, "score": float(score)},
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                    }
                )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = pycocotools_coco.COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(len(task[0]))],
            "categories": [{"id": number} for number in range(1, len(task) + 1)],
            "annotations": annotations,
        }
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats[0], judge.stats[1]


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_pycocotools(seed) -> None:
    task = random_task(seed)
    names = [[rank(*entry, number) for number, entry in enumerate(pictures)] for pictures in task]
    overall, at_50 = mean_average_precision(names, np.ones((1, len(task[0]))))
    assert (overall[0], at_50[0]) == pytest.approx(coco(task), abs=1e-6)


def test_resampling_gives_an_interval_around_the_figure() -> None:
    task = random_task(1)
    names = [[rank(*entry, number) for number, entry in enumerate(pictures)] for pictures in task]
    overall, _ = mean_average_precision(names, resampling(6, 200))
    assert overall.shape == (201,)
    assert np.percentile(overall, 2.5) < overall[0] < np.percentile(overall, 97.5)
    assert len(COCO_IOUS) == 10
