"""Every switch of `Sampling` does something: what it promises holds with it and does not without."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fo1.data.sample import UNKNOWN, Query, Sample
from fo1.data.sampling import Sampling, draw
from fo1.data.schema import Exchange, PictureRef, Record, TrueObject
from fo1.errors import InputError
from fo1.geometry import box_iou
from fo1.ordering import region_order
from fo1.tags import NONE_TEXT
from tests.data.records import (
    CAT,
    DOG_PART,
    FILLERS,
    HALF,
    NOTHING,
    SIZE,
    open_blank,
    records,
    scene,
    vocabulary,
)

TRUTH = np.array([one.box for one in scene().objects], np.float32)
EXACT = Sampling(truth=1, jitter=0, distractors=0, positives=9, synonyms=False, fewer_regions=False)
DETECT = replace(EXACT, tasks={"detect": 1.0}, dialogues=4)


def draw_scene(switches: Sampling, seed: int) -> Sample:
    return draw(scene(), switches, np.random.default_rng(seed), open_blank, vocabulary())


def holds(sample: Sample, box: Sequence[float]) -> bool:
    return bool((sample.boxes[0] == np.array(box, np.float32)).all(1).any())


def texts(sample: Sample, task: str = "detect") -> set[str]:
    return {query.text for query in sample.queries if query.task == task}


def target(sample: Sample, text: str, box: Sequence[float]) -> float:
    row = int(np.flatnonzero((sample.boxes[0] == np.array(box, np.float32)).all(1))[0])
    return next(float(query.targets[row]) for query in sample.queries if query.text == text)


def all_true_boxes(sample: Sample) -> bool:
    return all(holds(sample, box) for box in TRUTH)


def absent_texts(sample: Sample) -> set[str]:
    return texts(sample) - {"cat", "dog", "animal"}


def edges_moved(sample: Sample) -> bool:
    best = box_iou(TRUTH, sample.boxes[0]).max(1)
    return bool((best < 1).any() and (best >= 0.5).all())


def never_a_duplicate(sample: Sample) -> bool:
    iou = box_iou(sample.boxes[0], TRUTH).max(1)
    return bool((iou >= 0.9).sum() == len(TRUTH))


def in_rows(sample: Sample) -> bool:
    boxes = sample.boxes[0]
    order = region_order(boxes, np.ones(len(boxes)), "raster", SIZE)
    return order.tolist() == list(range(len(boxes)))


def answers(sample: Sample) -> str:
    return "".join(answer for dialogue in sample.dialogues for _, answer in dialogue.turns)


def named_regions(sample: Sample) -> int:
    return sum(bool(names) for names in sample.names)


@dataclass(frozen=True)
class Switch:
    """What a switch promises of every sample, or of one of them at least."""

    name: str
    on: Sampling
    off: Any
    promise: Callable[[Sample], bool]
    always: bool = True

    def kept(self, switches: Sampling) -> bool:
        found = [self.promise(draw_scene(switches, seed)) for seed in range(40)]
        return all(found) if self.always else any(found)


NO_PROPOSALS = replace(EXACT, proposals=False)
SWITCHES = (
    Switch("truth", EXACT, 0.0, all_true_boxes),
    Switch("jitter", replace(EXACT, jitter=0.2), 0.0, edges_moved),
    Switch("proposals", EXACT, False, lambda s: holds(s, NOTHING)),
    Switch("distractors", replace(NO_PROPOSALS, distractors=4), 0, lambda s: s.num_regions > 3),
    Switch(
        "match",
        replace(EXACT, truth=0, match=0.5),
        0.95,
        lambda s: target(s, "dog", DOG_PART) == 1,
    ),
    Switch("miss", EXACT, 0.5, lambda s: target(s, "cat", HALF) == UNKNOWN),
    Switch("duplicate", EXACT, 2.0, never_a_duplicate),
    Switch(
        "most_regions",
        replace(EXACT, most_regions=4),
        100,
        lambda s: s.num_regions == 4 and named_regions(s) == 3,
    ),
    Switch(
        "fewer_regions",
        replace(EXACT, fewer_regions=True),
        False,
        lambda s: s.num_regions == named_regions(s) == 3,
        always=False,
    ),
    Switch("order", replace(EXACT, order="raster"), "any", in_rows),
    Switch("positives", EXACT, 0, lambda s: "dog" in texts(s)),
    Switch("negatives", EXACT, 0, lambda s: len(absent_texts(s)) == EXACT.negatives),
    Switch("hard_negatives", replace(EXACT, negatives=1), False, lambda s: "cat fish" in texts(s)),
    Switch("expressions", EXACT, 0, lambda s: "the left cat" in texts(s, "refer")),
    Switch(
        "synonyms",
        replace(EXACT, synonyms=True),
        False,
        lambda s: "animal" in texts(s),
        always=False,
    ),
    Switch("say_none", DETECT, False, lambda s: NONE_TEXT in answers(s), always=False),
    Switch(
        "templates",
        DETECT,
        False,
        lambda s: any(not d.turns[0][0].startswith("Please detect") for d in s.dialogues),
        always=False,
    ),
    Switch("scales", replace(EXACT, scales=(0.4, 0.5)), None, lambda s: s.images[0].width < 200),
    Switch("dialogues", replace(DETECT, dialogues=3), 1, lambda s: len(s.dialogues) == 3),
    Switch(
        "tasks",
        replace(DETECT, tasks={"read": 1.0}),
        Sampling().tasks,
        lambda s: {d.task for d in s.dialogues} == {"read"},
    ),
)


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_does_what_it_says(switch: Switch) -> None:
    assert switch.kept(switch.on)
    assert not switch.kept(replace(switch.on, **{switch.name: switch.off}))


def test_every_switch_has_its_row() -> None:
    # Region sets repeat in the drawer, which is tested with it.
    assert {f.name for f in fields(Sampling)} - {"variants"} == {s.name for s in SWITCHES}


def same(one: Sample, other: Sample) -> bool:
    queries = [[(q.text, q.task, q.targets.tolist()) for q in s.queries] for s in (one, other)]
    boxes = [[own.tolist() for own in s.boxes] for s in (one, other)]
    return queries[0] == queries[1] and boxes[0] == boxes[1] and one.dialogues == other.dialogues


def test_a_sample_follows_from_its_seed() -> None:
    assert same(draw_scene(Sampling(), 3), draw_scene(Sampling(), 3))
    assert not same(draw_scene(Sampling(), 3), draw_scene(Sampling(), 4))


def test_regions_may_have_chance_of_their_own() -> None:
    drawn = [
        draw(
            scene(),
            Sampling(scales=(0.5, 2.0)),
            np.random.default_rng(seed),
            open_blank,
            vocabulary(),
            np.random.default_rng(9),
        )
        for seed in range(2)
    ]
    assert drawn[0].boxes[0].tolist() == drawn[1].boxes[0].tolist()
    assert drawn[0].images[0].size == drawn[1].images[0].size != SIZE[::-1]
    assert drawn[0].dialogues != drawn[1].dialogues


@settings(deadline=None, max_examples=40)
@given(records(), st.integers(0, 2**32 - 1))
def test_a_sample_fits_together(record: Record, seed: int) -> None:
    def open_picture(number: int) -> Image.Image:
        height, width = record.pictures[number].size or SIZE
        return Image.new("RGB", (width, height))

    switches = Sampling(scales=(0.5, 2.0))
    words = vocabulary(record)
    one, other = (
        draw(record, switches, np.random.default_rng(seed), open_picture, words) for _ in range(2)
    )
    assert same(one, other)
    assert len(one.images) == len(one.boxes) == len(record.pictures)
    assert len(one.names) == one.num_regions
    for image, boxes in zip(one.images, one.boxes, strict=True):
        assert (boxes >= 0).all()
        assert (boxes <= np.array([image.width, image.height] * 2) + 1e-3).all()
    for query in one.queries:
        assert query.targets.shape == (one.num_regions,)
        assert query.targets.dtype == np.float32
        assert set(query.targets.tolist()) <= {0.0, 1.0, UNKNOWN}
        if query.task == "detect":
            shown = [query.text in names for names in one.names]
            assert (query.targets == 1).tolist() == shown


def test_boxes_are_scaled_with_their_picture() -> None:
    for seed in range(10):
        sample = draw_scene(replace(EXACT, scales=(0.5, 2.0)), seed)
        ratio = np.array([sample.images[0].width / SIZE[1], sample.images[0].height / SIZE[0]] * 2)
        best = box_iou((TRUTH * ratio).astype(np.float32), sample.boxes[0]).max(1)
        np.testing.assert_allclose(best, 1, atol=1e-4)


def test_a_text_alone_is_a_dialogue_without_regions() -> None:
    record = Record(key="text", turns=(Exchange("Hello?", "Hi."), Exchange("Well?", "Yes.")))
    sample = draw(record, Sampling(), np.random.default_rng(0), open_blank, vocabulary(record))
    assert (sample.images, sample.boxes, sample.queries, sample.names) == ((), (), (), ())
    assert [d.task for d in sample.dialogues] == ["general"]
    assert sample.dialogues[0].turns == (("Hello?", "Hi."), ("Well?", "Yes."))


def test_a_picture_of_which_only_absence_is_known_teaches_that() -> None:
    record = Record(key="empty", pictures=(PictureRef("p.png", SIZE),), absent=("bus",))
    sample = draw(record, Sampling(), np.random.default_rng(0), open_blank, vocabulary(record))
    assert sample.num_regions == Sampling().distractors
    assert [(q.text, set(q.targets.tolist())) for q in sample.queries] == [("bus", {0.0})]
    assert {d.task for d in sample.dialogues} <= {"detect", "count"}
    assert all(NONE_TEXT in d.turns[0][1] for d in sample.dialogues)
    assert sample.dialogues


def test_regions_are_numbered_from_picture_to_picture() -> None:
    record = Record(
        key="two",
        pictures=(PictureRef("a.png", SIZE), PictureRef("b.png", SIZE)),
        objects=(
            TrueObject((150, 40, 210, 120), ("dog",), 1),
            TrueObject((20, 20, 100, 100), ("cat",), 0),
        ),
        turns=(Exchange("Is <region0> the same as <region1>?", "No."),),
    )
    switches = replace(EXACT, tasks={"general": 1.0})
    sample = draw(record, switches, np.random.default_rng(0), open_blank, vocabulary(record))
    assert sample.names == (("cat",), ("dog",))
    assert [boxes.tolist() for boxes in sample.boxes] == [
        [[20, 20, 100, 100]],
        [[150, 40, 210, 120]],
    ]
    assert sample.dialogues[0].turns[0][0] == "Is <region1> the same as <region0>?"


def test_no_regions_no_queries() -> None:
    sample = draw_scene(replace(EXACT, most_regions=0), 0)
    assert sample.num_regions == 0
    assert sample.queries == ()


def test_absent_names_of_a_sample_are_known_to_be() -> None:
    allowed = {"bus", "cat fish", *FILLERS}
    for seed in range(20):
        for query in draw_scene(EXACT, seed).queries:
            if query.task == "detect" and query.text not in ("cat", "dog", "animal"):
                assert query.text in allowed
                assert set(query.targets.tolist()) == {0.0}


def test_expressions_mean_their_objects_only() -> None:
    sample = draw_scene(EXACT, 0)
    found: dict[str, Query] = {q.text: q for q in sample.queries if q.task == "refer"}
    assert set(found) == {"the left cat", "the red bus"}
    assert set(found["the red bus"].targets.tolist()) == {0.0}
    left = found["the left cat"].targets
    assert sample.boxes[0][left == 1].tolist() == [list(scene().objects[CAT].box)]
    assert sorted(sample.boxes[0][left == UNKNOWN].tolist()) == sorted(
        [[20, 20, 100, 80], [float(v) for v in HALF]]
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"order": "random"}, "order is 'random'"),
        ({"miss": 0.6}, "miss is 0.6 and match 0.5"),
        ({"truth": 1.5}, "truth is 1.5"),
        ({"jitter": -1}, "jitter -1"),
        ({"scales": (2.0, 1.0)}, "scales are"),
        ({"tasks": {"guess": 1.0}}, "of task 'guess'; known are count"),
        ({"tasks": {"ask": 1.0}}, "of task 'ask'"),
        ({"tasks": {"count": -1.0}}, "weight of 'count' is -1"),
        ({"tasks": {"count": float("nan")}}, "weight of 'count' is nan"),
        ({"dialogues": -1}, "dialogues is -1"),
        ({"variants": 0}, "variants is 0"),
    ],
)
def test_switches_that_make_no_sense_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Sampling(**wrong)
