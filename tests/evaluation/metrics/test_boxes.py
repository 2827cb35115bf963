import numpy as np
import pytest

from fo1.evaluation.metrics.boxes import centred_boxes, overlaps


def test_an_iou_on_a_threshold_reaches_it() -> None:
    """10 x 20 against 10 x 13: 0.65, which is less than that in float32."""
    least = np.linspace(0.5, 0.95, 10)[3]
    assert overlaps([[0, 0, 10, 20]], [[0, 0, 10, 13]])[0, 0] >= least
    assert np.float64(np.float32(0.65)) < least


def test_boxes_apart_inside_and_empty() -> None:
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30], [5, 5, 5, 9]]
    others = [[0, 0, 10, 10], [0, 0, 40, 40], [5, 5, 5, 9]]
    np.testing.assert_allclose(
        overlaps(boxes, others), [[1, 100 / 1600, 0], [0, 100 / 1600, 0], [0, 0, 0]]
    )
    crowd = np.array([False, True, True])
    np.testing.assert_allclose(overlaps(boxes, others, crowd), [[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert overlaps([], others).shape == (0, 3)
    assert overlaps(boxes, []).shape == (3, 0)


def test_against_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (2, 9, 2))
    boxes, others = np.concatenate([corners, corners + rng.uniform(1, 40, corners.shape)], 2)
    crowd = rng.random(9) < 0.5
    sides = [np.hstack([rows[:, :2], rows[:, 2:] - rows[:, :2]]) for rows in (boxes, others)]
    np.testing.assert_allclose(overlaps(boxes, others, crowd), mask.iou(*sides, crowd), rtol=1e-12)


def test_fixed_boxes_are_around_the_middle() -> None:
    assert centred_boxes((80, 100)).tolist() == [
        [0, 0, 100, 80],
        [12.5, 10, 87.5, 70],
        [25, 20, 75, 60],
        [37.5, 30, 62.5, 50],
    ]
