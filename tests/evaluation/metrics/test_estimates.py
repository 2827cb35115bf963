"""Figures worked out by hand."""

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics import estimates as metrics

ONE = np.ones((1, 1))
TWO = np.ones((1, 2))


def test_the_first_row_counts_every_picture_once_and_the_others_as_many() -> None:
    weights = metrics.resampling(7, resamples=50, seed=3)
    assert weights.shape == (51, 7)
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 7).all()
    assert (weights[1:] != 1).any()
    assert (weights == metrics.resampling(7, resamples=50, seed=3)).all()
    with pytest.raises(InputError, match="0 pictures"):
        metrics.resampling(0)


def test_accuracy_adds_up_over_pictures_and_follows_the_weights() -> None:
    correct, pictures = [1, 0, 0, 1], [0, 0, 0, 1]
    assert metrics.accuracy(correct, pictures, TWO) == [0.5]
    doubled = np.array([[1.0, 1], [2, 0], [0, 2]])
    assert metrics.accuracy(correct, pictures, doubled) == pytest.approx([0.5, 1 / 3, 1])


def test_the_interval_is_that_of_the_pictures_not_of_the_boxes() -> None:
    # 50 boxes a picture, all right or all wrong: the picture is what varies.
    right = np.repeat(np.arange(20) % 2, 50)
    weights = metrics.resampling(20)
    by_picture = metrics.estimate(metrics.accuracy(right, np.repeat(np.arange(20), 50), weights))
    assert by_picture.value == 0.5
    assert 0.2 < by_picture.low < 0.35
    assert 0.65 < by_picture.high < 0.8
    assert str(by_picture).startswith("0.500 [0.")


def test_the_spread_of_the_resamples_is_laid_around_the_figure() -> None:
    drawn = np.linspace(0.5, 0.7, 201)  # as average precision of few boxes is: too high
    one = metrics.estimate(np.array([0.4, *drawn]))
    assert (one.low, one.high) == (pytest.approx(0.4), pytest.approx(0.4 + 0.095))
    # Nothing below what was drawn or found: a share stays one.
    assert metrics.estimate(np.array([0.0, 0, 0, 0.1])).low == 0
    with_gaps = metrics.estimate(np.array([0.4, *drawn, np.nan]))
    assert (with_gaps.low, with_gaps.high) == (one.low, one.high)


def test_an_estimate_of_nothing_says_so() -> None:
    nothing = metrics.accuracy([], [], metrics.resampling(2, 10))
    assert str(metrics.estimate(nothing)) == "-"


def test_macro_accuracy_gives_every_name_one_vote() -> None:
    correct, names, pictures = [1, 1, 1, 0], ["cup", "cup", "cup", "cat"], [0, 0, 1, 1]
    assert metrics.accuracy(correct, pictures, TWO) == [0.75]
    assert metrics.macro_accuracy(correct, names, pictures, TWO) == [0.5]
    # Without the second picture there is no cat.
    assert metrics.macro_accuracy(correct, names, pictures, np.array([[1.0, 0]])) == [1.0]
    assert np.isnan(metrics.macro_accuracy([], [], [], TWO)).all()


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0], 0.75),
        ([0.5, 0.5, 0.5], [1, 0, 0], 0.5),
        ([0.5, 0.5, 0.1], [1, 0, 0], 0.75),
    ],
)
def test_auroc_counts_pairs_in_order(scores, labels, expected) -> None:
    assert metrics.auroc(scores, labels, [0] * len(scores), ONE) == pytest.approx([expected])


def test_auroc_needs_both_sides_and_weighs_pictures() -> None:
    assert np.isnan(metrics.auroc([0.1, 0.2], [1, 1], [0, 0], ONE)).all()
    weights = np.array([[3.0, 1.0]])
    # Picture 0 holds a good positive, picture 1 a bad one and the negative: 3 of 4 pairs.
    value = metrics.auroc([0.9, 0.1, 0.5], [1, 1, 0], [0, 1, 1], weights)
    assert value == pytest.approx([0.75])


def test_auroc_equals_the_count_of_all_pairs_in_every_resample() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 60) / 5, rng.random(60) < 0.4
    pictures, weights = rng.integers(0, 8, 60), metrics.resampling(8, 30)
    wins = (scores[:, None] > scores) + (scores[:, None] == scores) / 2
    for row, own in zip(
        metrics.auroc(scores, labels, pictures, weights), weights[:, pictures], strict=True
    ):
        both = np.outer(own * labels, own * ~labels)
        assert row == pytest.approx((both * wins).sum() / both.sum())
    assert np.isnan(metrics.auroc([], [], [], weights)).all()


def test_brier_and_its_skill() -> None:
    outcomes, pictures = [1, 0, 0, 0], [0] * 4
    assert metrics.brier([0.5] * 4, outcomes, pictures, ONE) == [0.25]
    assert metrics.brier_skill([0.25] * 4, outcomes, pictures, ONE) == pytest.approx([0])
    assert metrics.brier_skill(outcomes, outcomes, pictures, ONE) == [1]
    assert metrics.brier_skill([0.5] * 4, outcomes, pictures, ONE) == pytest.approx([-1 / 3])
    assert np.isnan(metrics.brier_skill([0.5], [1], [0], ONE)).all()


def test_reliability_shows_what_came_true_at_each_level() -> None:
    rows = metrics.reliability([0.05, 0.06, 0.95, 1.0], [0, 1, 1, 1])
    assert [(row[0], row[2]) for row in rows] == [(0.0, 2), (0.9, 2)]
    assert rows[0][3:] == pytest.approx((0.055, 0.5))
    assert rows[1][3:] == pytest.approx((0.975, 1.0))


def test_f1_is_two_thirds_for_half_the_answers_right() -> None:
    # 2 right of 4 given, 2 due: precision 1/2, recall 1.
    assert metrics.f1([1, 1], [3, 1], [1, 1], TWO) == pytest.approx([2 / 3])
    assert np.isnan(metrics.f1([0], [0], [0], ONE)).all()
