import json
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fo1.data.mixture import BLOCK, Draw, Mixture, Source, permute
from fo1.data.schema import Record
from fo1.errors import InputError

BOUND = 2
KEYS = st.integers(0, 2**64 - 1)


def rows(count: int) -> Sequence[Record]:
    return [Record(key=str(number)) for number in range(count)]


class Many(Sequence[Record]):
    """A source with more records than would fit anywhere."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        return Record(key=str(index))


def mixture(**options: Any) -> Mixture:
    sources = [Source("a", rows(7), 0.7), Source("b", rows(5), 0.2), Source("c", rows(1), 0.1)]
    return Mixture(sources, **options)


@pytest.mark.parametrize("size", [*range(1, 130), 255, 256, 257, 1000, 4097])
def test_every_number_has_one_place(size: int) -> None:
    for key in (0, 1, 2**64 - 1):
        assert sorted(permute(number, size, key) for number in range(size)) == list(range(size))


@given(st.integers(1, 600), KEYS)
@settings(max_examples=60, deadline=None)
def test_every_number_has_one_place_under_any_key(size: int, key: int) -> None:
    assert {permute(number, size, key) for number in range(size)} == set(range(size))


@given(st.integers(1, 2**62), KEYS, st.data())
@settings(max_examples=100, deadline=None)
def test_large_sources_need_no_memory(size: int, key: int, data: st.DataObject) -> None:
    numbers = data.draw(st.sets(st.integers(0, size - 1), max_size=20))
    places = {permute(number, size, key) for number in numbers}
    assert len(places) == len(numbers)
    assert all(0 <= place < size for place in places)


def test_orders_are_all_about_as_likely() -> None:
    mixed = Mixture([Source("a", rows(4))])
    found = Counter(
        tuple(mixed.draw(seed, index).record for index in range(4)) for seed in range(2400)
    )
    assert len(found) == 24
    assert 50 <= min(found.values()) <= max(found.values()) <= 160  # 100 expected, sigma 10


def test_neighbours_are_torn_apart() -> None:
    size = 1000
    steps = Counter(permute(n + 1, size, 5) - permute(n, size, 5) for n in range(size - 1))
    assert max(steps.values()) <= 8


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12),
    st.booleans(),
    st.integers(0, 10**12),
)
@settings(max_examples=60, deadline=None)
def test_counts_stay_with_their_shares(weights: list[float], shuffle: bool, seed: int) -> None:
    sources = [Source(str(number), rows(3), weight) for number, weight in enumerate(weights)]
    mixed = Mixture(sources, shuffle=shuffle)
    counts = [0] * len(sources)
    bound = BOUND + (BLOCK / 4 if shuffle else 0) + 1e-6
    for index in range(300):
        counts[mixed.draw(seed, index).source] += 1
        for count, share in zip(counts, mixed.shares.values(), strict=True):
            assert abs(count - (index + 1) * share) <= bound


def test_shares_hold_after_a_billion_draws() -> None:
    """A record's epoch tells how many draws its source had: no drift adds up."""
    mixed = Mixture([Source("a", Many(1000), 0.7), Source("b", Many(1000), 0.3)], shuffle=False)
    draws = [mixed.draw(0, 10**9 + index) for index in range(20)]
    for draw in draws:
        share = (0.7, 0.3)[draw.source]
        assert abs(draw.epoch * 1000 + draw.record - share * 10**9) <= 20


def test_rare_source_comes_as_often_as_told() -> None:
    mixed = Mixture([Source("often", rows(9), 999), Source("rare", rows(9), 1)])
    found = Counter(mixed.draw(1, index).source for index in range(10_000))
    assert found[1] in (9, 10, 11)


@pytest.mark.parametrize("shuffle", [True, False])
def test_each_record_comes_once_in_each_epoch(shuffle: bool) -> None:
    mixed = mixture(shuffle=shuffle)
    draws = [mixed.draw(3, index) for index in range(400)]
    for number, source in enumerate(mixed.sources):
        own, size = [draw for draw in draws if draw.source == number], len(source.records)
        assert [draw.epoch for draw in own] == [place // size for place in range(len(own))]
        for start in range(0, len(own) - size, size):
            assert {draw.record for draw in own[start : start + size]} == set(range(size))


def test_an_epoch_has_an_order_of_its_own() -> None:
    mixed = Mixture([Source("a", rows(50))])
    orders = {
        tuple(mixed.draw(seed, 50 * epoch + index).record for index in range(48))
        for seed in (0, 1)
        for epoch in range(3)
    }
    assert len(orders) == 6


def test_without_shuffling_records_come_in_order() -> None:
    mixed = Mixture([Source("a", rows(3)), Source("b", rows(2))], shuffle=False)
    draws = [mixed.draw(9, index) for index in range(12)]
    assert [(d.record, d.epoch) for d in draws if d.source == 0][:6] == [
        (number, epoch) for epoch in (0, 1) for number in range(3)
    ]
    assert {tuple(draws)} == {tuple(mixed.draw(8, index) for index in range(12))}


def test_processes_that_take_turns_see_all_sources() -> None:
    mixed = Mixture([Source("a", rows(30)), Source("b", rows(30))])
    for rank in range(2):
        found = Counter(mixed.draw(0, 2 * step + rank).source for step in range(200))
        assert min(found[0], found[1]) > 50


def test_order_of_calls_does_not_matter() -> None:
    mixed = mixture()
    forwards = [mixed.draw(2, index) for index in range(200)]
    backwards = [mixture().draw(2, index) for index in reversed(range(200))]
    assert forwards == backwards[::-1]
    assert [pickle.loads(pickle.dumps(mixed)).draw(2, index) for index in (7, 150)] == [
        forwards[7],
        forwards[150],
    ]


def test_another_process_draws_the_same() -> None:
    code = (
        "import json\n"
        "from fo1.data.mixture import Mixture, Source\n"
        "m = Mixture([Source('a', range(7), 0.7), Source('b', range(5), 0.2), Source('ü', range(3), 0.1)])\n"
        "print(json.dumps([m.draw(11, index) for index in range(64)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sources = [Source("a", rows(7), 0.7), Source("b", rows(5), 0.2), Source("ü", rows(3), 0.1)]
    own = [list(Mixture(sources).draw(11, index)) for index in range(64)]
    assert json.loads(done.stdout) == own


def test_draws_are_the_same_in_every_version() -> None:
    """Old runs go on only while this holds; whoever changes it must say so in the changelog."""
    assert [tuple(mixture().draw(5, index)) for index in (0, 1, 2, 100, 10**15)] == PINNED


def test_adding_a_source_keeps_the_order_of_the_others() -> None:
    alone = Mixture([Source("a", rows(20))])
    mixed = Mixture([Source("z", rows(3)), Source("a", rows(20))])
    order = [d.record for i in range(200) if (d := mixed.draw(4, i)).source == 1]
    assert order[:60] == [alone.draw(4, index).record for index in range(60)]


def test_weights_by_name_and_by_size() -> None:
    sources = [Source("coco", rows(30)), Source("general", rows(10), 5.0)]
    assert Mixture(sources).shares == pytest.approx({"coco": 1 / 6, "general": 5 / 6})
    named = Mixture(sources, {"general": 0.3, "coco": 0.7})
    assert named.shares == pytest.approx({"coco": 0.7, "general": 0.3})
    assert Mixture(sources, "size").shares == pytest.approx({"coco": 0.75, "general": 0.25})


def test_record_of_a_draw() -> None:
    mixed = mixture()
    assert mixed.record(Draw(1, 4, 0)).key == "4"


@pytest.mark.parametrize(
    ("sources", "weights", "problem"),
    [
        ([], None, "no source; give at least one"),
        ([Source("a", [])], None, "source 'a' has no records; leave it out"),
        ([Source("a", rows(1)), Source("a", rows(1))], None, "two sources are named 'a'"),
        ([Source("a", rows(1), 0.0)], None, "weight of 'a' is 0.0; give a number above 0"),
        ([Source("a", rows(1), -1)], None, "weight of 'a' is -1"),
        ([Source("a", rows(1), float("nan"))], None, "weight of 'a' is nan"),
        ([Source("a", rows(1), float("inf"))], None, "weight of 'a' is inf"),
        ([Source("a", rows(1), True)], None, "weight of 'a' is True"),
        ([Source("a", rows(1))], {"a": "x"}, "weight of 'a' is 'x'"),
        ([Source("a", rows(1))], {"a": 1, "b": 1}, "a weight is for 'b'; the sources are: 'a'"),
        ([Source("a", rows(1)), Source("b", rows(1))], {"a": 1}, "no weight for source 'b'"),
        ([Source("a", rows(1))], "sizes", "weights are 'sizes'; expected \"size\""),
    ],
)
def test_wrong_mixtures_are_told_in_one_line(
    sources: list[Source], weights: Any, problem: str
) -> None:
    with pytest.raises(InputError) as caught:
        Mixture(sources, weights)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_index_below_zero() -> None:
    with pytest.raises(InputError, match="index is -1; expected 0 or more"):
        mixture().draw(0, -1)


PINNED = [(0, 4, 0), (0, 5, 0), (1, 2, 0), (0, 0, 10), (0, 6, 100000000000000)]
