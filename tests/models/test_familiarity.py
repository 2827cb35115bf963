"""Familiarity: what a model learned from is familiar, what lies elsewhere is not."""

import math

import pytest
import torch

from fo1.models.encoding import RegionEmbeddings
from fo1.models.familiarity import QUANTILES, Familiarity
from fo1.models.scoring import join_evidence

WIDTH, AXES = 24, 6


def regions(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    """Return (count, WIDTH) features with a few strong directions."""
    chance = torch.Generator().manual_seed(seed)
    mixing = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(9))
    strength = torch.tensor([3.0] * AXES + [0.3] * (WIDTH - AXES))
    axes = torch.linalg.qr(mixing)[0]
    return (torch.randn(count, WIDTH, generator=chance) * strength) @ axes.T + shift * axes[:, -1]


@pytest.fixture(scope="module")
def fitted() -> Familiarity:
    made = Familiarity(WIDTH, AXES)
    made.fit(regions(4000, 0))
    return made


def test_distances_are_those_of_a_gaussian(fitted: Familiarity) -> None:
    """Against the Mahalanobis distance of the true covariance, which the fit does not know."""
    given = regions(500, 1)
    mixing = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(9))
    along = given @ torch.linalg.qr(mixing)[0]
    strength = torch.tensor([3.0] * AXES + [0.3] * (WIDTH - AXES))
    slow = (along / strength).square().mean(-1)
    torch.testing.assert_close(fitted.distance(given), slow, rtol=0.05, atol=0.02)


def test_weights_follow_the_ranks_among_training_regions(fitted: Familiarity) -> None:
    trained, given = regions(4000, 0), regions(300, 2)
    distances = fitted.distance(trained)
    weights = fitted(given)
    for own, weight in zip(fitted.distance(given), weights, strict=True):
        chance = float((distances >= own).float().mean())
        if chance > 1 / math.e + 0.01:
            assert weight == 1
        elif chance > 0.02:
            assert float(weight) == pytest.approx(-math.e * chance * math.log(chance), abs=0.03)
    assert ((weights > 0) & (weights <= 1)).all()


def test_what_lies_elsewhere_is_hardly_believed(fitted: Familiarity) -> None:
    near, far = fitted(regions(300, 3)), fitted(regions(300, 4, shift=3.0))
    least = -math.e * (0.5 / QUANTILES) * math.log(0.5 / QUANTILES)
    torch.testing.assert_close(far, torch.full_like(far, least))
    assert near.mean() > 0.75
    assert fitted(regions(1, 0)[:0]).shape == (0,)


def test_the_match_counts_as_far_as_regions_are_familiar() -> None:
    """Wholly: the match alone. Not at all: the evidence alone. Between: a quarter of one, the rest noisy or."""
    match, chance = torch.full((3, 2), 0.8), torch.tensor([0.0, 0.5]).expand(3, 2)
    names, none = torch.tensor([True, True]), torch.zeros(3, 2)
    joined = join_evidence(match, chance, none, names, torch.tensor([1.0, 0.0, 0.25]))
    between = [0.25 * 0.8 + 0.75 * 0.2, 0.25 * 0.8 + 0.75 * (1 - 0.8 * 0.5)]
    torch.testing.assert_close(joined, torch.tensor([[0.8, 0.8], [0.0, 0.5], between]))


def test_regions_are_chosen_and_joined_with_their_weights() -> None:
    one = RegionEmbeddings(torch.eye(3), torch.eye(3), (), torch.tensor([0.1, 0.2, 0.3]))
    assert one.select([2, 0]).familiar.tolist() == pytest.approx([0.3, 0.1])
    assert RegionEmbeddings.join([one, one]).familiar.shape == (6,)
    bare = RegionEmbeddings(torch.eye(3), torch.eye(3), ())
    assert bare.select([1]).familiar is None
    assert RegionEmbeddings.join([one, bare]).familiar is None
