"""Which box is what, against the table of `fo1.data.regions` read line by line."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fo1.data.regions import NOBODY, RegionSet, distractors, draw_regions
from fo1.data.sample import UNKNOWN
from fo1.data.sampling import Sampling
from fo1.data.schema import PictureRef, Record, TrueObject
from fo1.data.targets import Known
from fo1.geometry import box_iou
from tests.data.records import (
    CAT,
    DOG,
    DOG_PART,
    HALF,
    MOST,
    NAMES,
    NEAR,
    NOTHING,
    SIZE,
    proposals,
    records,
    regions_for,
    scene,
    vocabulary,
)

SWITCHES = st.builds(
    Sampling,
    truth=st.sampled_from([0.0, 0.5, 1.0]),
    jitter=st.sampled_from([0.0, 0.1, 0.3]),
    proposals=st.booleans(),
    distractors=st.integers(0, 5),
    match=st.sampled_from([0.5, 0.7]),
    miss=st.sampled_from([0.2, 0.4]),
    duplicate=st.sampled_from([0.9, 2.0]),
    most_regions=st.sampled_from([0, 3, 100]),
    fewer_regions=st.booleans(),
    order=st.sampled_from(["any", "raster", "score"]),
)
SEEDS = st.integers(0, 2**32 - 1)
EXACT = Sampling(truth=1, jitter=0, distractors=0, fewer_regions=False)
FOUND = Sampling(truth=0, distractors=0, fewer_regions=False)


def regions_of(record: Record, switches: Sampling, seed: int = 0) -> RegionSet:
    sizes = [picture.size or SIZE for picture in record.pictures]
    return draw_regions(record, switches, np.random.default_rng(seed), sizes)


def row(regions: RegionSet, box: list[int]) -> int:
    return int(np.flatnonzero((regions.boxes == np.array(box)).all(1))[0])


def targets(record: Record, regions: RegionSet, name: str) -> np.ndarray:
    return Known(record, regions, Sampling(), vocabulary(record), np.random.default_rng(0)).targets(
        name
    )


def slow_iou(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(np.float32(shared / (sum(areas) - shared))) if sum(areas) > shared else 0.0


def slow_share(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0) / ((one[2] - one[0]) * (one[3] - one[1]))


def true_box(record: Record, thing: int) -> np.ndarray:
    one = record.objects[thing]
    height, width = record.pictures[one.picture].size or SIZE
    return np.clip(np.array(one.box, float), 0, [width, height, width, height])


def expected(record: Record, regions: RegionSet, switches: Sampling, name: str, r: int) -> float:
    """Return the target of region r by the words of the table."""
    box, own = regions.boxes[r].astype(float), int(regions.shows[r])
    if own != NOBODY and name in record.objects[own].names:
        return 1.0
    for i, one in enumerate(record.objects):
        if i == own or one.picture != regions.picture[r] or name not in (*one.names, *one.unsure):
            continue
        if slow_iou(box, true_box(record, i)) >= np.float32(switches.miss):
            return UNKNOWN
        if one.crowd and slow_share(box, np.array(one.box)) >= 0.5:
            return UNKNOWN
    if own != NOBODY and record.objects[own].names:
        return UNKNOWN if name in record.objects[own].unsure else 0.0
    looked = name in record.looked_for or name in record.absent
    return 0.0 if looked and name not in record.partial else UNKNOWN


@settings(deadline=None, max_examples=80)
@given(records(), SWITCHES, SEEDS)
def test_targets_follow_the_table(record: Record, switches: Sampling, seed: int) -> None:
    regions = regions_of(record, switches, seed)
    for name in NAMES:
        got = targets(record, regions, name).tolist()
        assert got == [expected(record, regions, switches, name, r) for r in range(len(regions))], (
            name
        )


@settings(deadline=None, max_examples=80)
@given(records(), SWITCHES, SEEDS)
def test_what_a_region_shows_is_there(record: Record, switches: Sampling, seed: int) -> None:
    regions = regions_of(record, switches, seed)
    shown = [int(thing) for thing in regions.shows if thing != NOBODY]
    assert len(set(shown)) == len(shown)
    for r, thing in enumerate(regions.shows):
        if thing == NOBODY:
            continue
        one = record.objects[thing]
        assert not one.crowd
        assert one.picture == regions.picture[r]
        iou = slow_iou(regions.boxes[r].astype(float), true_box(record, int(thing)))
        assert iou >= np.float32(switches.match) - 1e-6
        assert not regions.touches[r, thing]


@settings(deadline=None, max_examples=60)
@given(records(), SEEDS)
def test_the_best_free_region_is_the_objects(record: Record, seed: int) -> None:
    regions = regions_of(record, FOUND, seed)
    for thing, one in enumerate(record.objects):
        own = regions.region_of(thing)
        truth = true_box(record, thing)
        for r in np.flatnonzero(regions.shows == NOBODY):
            if regions.picture[r] != one.picture or one.crowd:
                continue
            iou = slow_iou(regions.boxes[r].astype(float), truth)
            least = 0.5 if own is None else slow_iou(regions.boxes[own].astype(float), truth)
            assert iou < least if own is None else iou <= least


@settings(deadline=None, max_examples=60)
@given(records(), SWITCHES, SEEDS)
def test_regions_are_proper_boxes_of_their_pictures_in_order(
    record: Record, switches: Sampling, seed: int
) -> None:
    regions = regions_of(record, switches, seed)
    assert regions.boxes.dtype == np.float32
    assert (np.diff(regions.picture) >= 0).all()
    assert regions.touches.shape == (len(regions), len(record.objects))
    for number, picture in enumerate(record.pictures):
        height, width = picture.size or SIZE
        own = regions.of_picture(number)
        assert len(own) <= switches.most_regions
        assert (own >= 0).all()
        assert (own <= [width, height, width, height]).all()
        assert (own[:, 2:] > own[:, :2]).all()


@settings(deadline=None, max_examples=40)
@given(records(), SWITCHES, SEEDS)
def test_the_same_seed_draws_the_same_regions(
    record: Record, switches: Sampling, seed: int
) -> None:
    one, other = (regions_of(record, switches, seed) for _ in range(2))
    for name in ("boxes", "picture", "shows", "touches"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_second_box_of_an_object_is_a_duplicate() -> None:
    record = scene(proposals=(proposals(MOST, NEAR, HALF, NOTHING),))
    regions = regions_of(record, FOUND)
    found = targets(record, regions, "cat")
    wanted = {tuple(NEAR): 1, tuple(MOST): UNKNOWN, tuple(HALF): UNKNOWN, tuple(NOTHING): 0}
    assert {tuple(map(int, regions.boxes[r])): found[r] for r in range(4)} == wanted
    assert regions.region_of(CAT) == row(regions, NEAR)
    assert regions.region_of(DOG) is None


def test_a_true_box_is_its_object_and_what_overlaps_it_a_duplicate() -> None:
    regions = regions_of(scene(), EXACT)
    assert regions.shows[row(regions, [20, 20, 100, 100])] == CAT
    assert regions.shows[row(regions, MOST)] == NOBODY
    assert regions.touches[row(regions, MOST)].tolist() == [True, False, False]
    assert not regions.touches[row(regions, NOTHING)].any()


def test_two_things_in_one_place_keep_a_region_each_and_deny_neither() -> None:
    record = scene(
        objects=(
            TrueObject((20, 20, 100, 100), ("cat",)),
            TrueObject((20, 20, 100, 101), ("dog",)),
        ),
        phrases=(),
        captions=(),
        turns=(),
        proposals=(),
    )
    regions = regions_of(record, EXACT)
    cat, dog = regions_for(regions, (0, 1))
    assert cat != dog
    assert targets(record, regions, "cat")[[cat, dog]].tolist() == [1, UNKNOWN]
    assert targets(record, regions, "dog")[[cat, dog]].tolist() == [UNKNOWN, 1]


@pytest.mark.parametrize(
    ("box", "target"),
    [
        ([100, 100, 200, 200], UNKNOWN),  # the crowd itself
        ([130, 130, 160, 160], UNKNOWN),  # inside
        ([90, 130, 150, 160], UNKNOWN),  # five sixths of it
        ([70, 70, 230, 230], UNKNOWN),  # more than the crowd, IoU 0.39
        ([60, 130, 110, 160], 0),  # a fifth of it
        ([0, 0, 30, 30], 0),
    ],
)
def test_inside_a_crowd_nobody_knows(box: list[int], target: float) -> None:
    record = scene(
        objects=(TrueObject((100, 100, 200, 200), ("cat",), crowd=True),),
        proposals=(proposals(box),),
        phrases=(),
        captions=(),
        turns=(),
    )
    regions = regions_of(record, FOUND)
    assert regions.shows.tolist() == [NOBODY]
    assert targets(record, regions, "cat").tolist() == [target]
    assert targets(record, regions, "bus").tolist() == [0]


def test_a_thing_that_nobody_named_may_be_anything_that_was_not_looked_for() -> None:
    record = scene(
        objects=(TrueObject((20, 20, 100, 100)),),
        phrases=(),
        captions=(),
        turns=(),
        proposals=(),
    )
    regions = regions_of(record, EXACT)
    assert targets(record, regions, "zebra").tolist() == [UNKNOWN]
    assert targets(record, regions, "cat").tolist() == [0]


def test_the_cap_keeps_true_boxes_then_the_best_proposals() -> None:
    switches = replace(EXACT, distractors=6, most_regions=4)
    for seed in range(20):
        regions = regions_of(scene(), switches, seed)
        assert sorted(regions.shows.tolist()) == [NOBODY, 0, 1, 2]
        assert regions.boxes[regions.shows == NOBODY].tolist() == [MOST]  # NEAR is a duplicate


def test_every_other_picture_gets_fewer_regions_but_all_its_true_boxes() -> None:
    """Models that saw one number of regions only fail at others."""
    record = scene()
    fewer = replace(EXACT, distractors=6, fewer_regions=True)
    drawn = [regions_of(record, fewer, seed) for seed in range(60)]
    counts = [len(one) for one in drawn]
    things = len(record.objects)
    assert min(counts) >= things
    assert len(set(counts)) > 4
    assert 20 <= sum(count == max(counts) for count in counts) <= 45
    for one in drawn:
        assert {*range(things)} <= set(one.shows.tolist())
    off = replace(fewer, fewer_regions=False)
    assert {len(regions_of(record, off, seed)) for seed in range(60)} == {max(counts)}


def test_proposals_without_area_are_no_regions() -> None:
    record = scene(proposals=(proposals([5, 5, 5, 90], NOTHING),))
    assert regions_of(record, FOUND).boxes.tolist() == [NOTHING]


def test_jittered_boxes_stay_their_objects() -> None:
    truth = np.array([one.box for one in scene().objects], np.float32)
    for seed in range(20):
        regions = regions_of(scene(), Sampling(truth=1, jitter=0.5, match=0.7), seed)
        own = regions.boxes[regions_for(regions, range(3))]
        assert (box_iou(own, truth).diagonal() >= 0.7).all()


def test_distractors_lie_in_the_picture_or_on_a_part_of_a_thing() -> None:
    truth = np.array([[20, 20, 100, 100]], np.float32)
    made = distractors(truth, 200, np.random.default_rng(0), SIZE)
    assert made.shape == (200, 4)
    parts = made[1::2]
    assert ((parts >= 19.99) & (parts <= 100.01)).all()
    assert (box_iou(parts, truth) <= 0.26).all()
    assert (made[:, 2:] > made[:, :2]).all()
    assert distractors(truth[:0], 3, np.random.default_rng(0), SIZE).shape == (3, 4)


def test_without_pictures_there_are_no_regions() -> None:
    regions = regions_of(Record(key="text"), Sampling())
    assert len(regions) == 0
    assert regions.touches.shape == (0, 0)


def test_objects_are_met_in_their_own_picture_only() -> None:
    one = (20.0, 20.0, 100.0, 100.0)
    record = scene(
        pictures=(PictureRef("a.png", SIZE), PictureRef("b.png", SIZE)),
        objects=(TrueObject(one, ("cat",), 0), TrueObject(one, ("dog",), 1)),
        proposals=(proposals(NEAR), proposals(NEAR)),
        phrases=(),
        captions=(),
        turns=(),
    )
    regions = regions_of(record, FOUND)
    assert regions.picture.tolist() == [0, 1]
    assert regions.shows.tolist() == [0, 1]
    assert not regions.touches.any()
    assert targets(record, regions, "cat").tolist() == [1, 0]


@pytest.mark.parametrize("proposed", [True, False])
def test_an_order_by_score_does_not_give_the_true_boxes_away(proposed: bool) -> None:
    record = scene() if proposed else scene(proposals=())
    firsts = [
        regions_of(record, Sampling(truth=1, order="score"), seed).shows[:3].tolist()
        for seed in range(40)
    ]
    assert any(first != NOBODY for own in firsts for first in own)
    assert any(NOBODY in own for own in firsts)


def test_a_true_box_has_the_score_of_the_proposal_that_meets_it() -> None:
    record = scene(proposals=(proposals(NOTHING, DOG_PART, NEAR),))  # 0.9, 0.5, 0.1
    for seed in range(10):
        regions = regions_of(record, replace(EXACT, jitter=0.1, order="score"), seed)
        dog, cat = regions_for(regions, (DOG, CAT))
        assert dog < cat
        assert row(regions, NOTHING) <= 1  # the second cat, which none meets, may stand before
