"""Read-outs of distributions over index tokens, against lists whose regions belong by known chances."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fo1.models.readouts import hazards, list_chances

MEMBERS = st.lists(st.floats(0.02, 0.98), min_size=1, max_size=9)


def rising_lists(belongs: list[float], listed: list[int]) -> torch.Tensor:
    """Return (M + 1, N + 1): what follows in a rising list that holds each region independently by its chance."""
    rows: list[list[float]] = []
    for last in (-1, *listed):
        row, none_yet = [0.0] * (len(belongs) + 1), 1.0
        for region in range(last + 1, len(belongs)):
            row[region] = none_yet * belongs[region]
            none_yet *= 1 - belongs[region]
        row[-1] = none_yet
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@given(belongs=MEMBERS, data=st.data())
def test_hazards_are_the_chances_of_membership_whatever_was_listed(
    belongs: list[float], data: st.DataObject
) -> None:
    regions = st.integers(0, len(belongs) - 1)
    listed = sorted(data.draw(st.sets(regions)))
    fit = hazards(rising_lists(belongs, listed), listed)
    assert fit.tolist() == pytest.approx(belongs, abs=1e-9)


def test_a_region_out_of_order_is_passed_over() -> None:
    belongs = [0.2, 0.7, 0.4, 0.9]
    straight = rising_lists(belongs, [2])
    crooked = torch.cat([straight, torch.full((1, 5), 0.2, dtype=torch.float64)])
    assert hazards(crooked, [2, 0]).tolist() == pytest.approx(belongs)


def test_no_regions_and_no_mass() -> None:
    assert hazards(torch.ones(1, 1), []).shape == (0,)
    assert hazards(torch.tensor([[0.0, 0.0, 0.0]]), []).tolist() == [0.0, 0.0]


def test_places_and_listed_regions_must_match() -> None:
    with pytest.raises(ValueError, match="2 places for 0 listed regions"):
        hazards(torch.ones(2, 4), [])


def test_list_chances_see_regions_and_ends_alone() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    found = list_chances(logits, [7, 3, 40], [5, 6])
    for row, own in zip(logits.double().exp(), found, strict=True):
        total = row[[7, 3, 40, 5, 6]].sum()
        expected = [*(row[[7, 3, 40]] / total).tolist(), float(row[[5, 6]].sum() / total)]
        assert own.tolist() == pytest.approx(expected, rel=1e-5)
