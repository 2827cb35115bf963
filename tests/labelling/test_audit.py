"""Planted label errors are found, on drawn scenes with the packaged model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fo1.data.pictures import PicturePack
from fo1.data.scenes import SceneGenerator
from fo1.data.schema import PictureRef, Record, TrueObject, check_record
from fo1.data.storage import open_picture
from fo1.geometry import as_boxes, box_containment, box_iou
from fo1.labelling.audit import (
    DUPLICATE,
    MISSING,
    SWAPPED,
    Failure,
    Suspicion,
    audit,
    frequent_names,
)
from fo1.pipeline import FO1

PICTURES, NAMES, SEED = 24, 8, 7001
"""As many names as a small data set of somebody's own has; which ones, the seed says."""


@dataclass(frozen=True)
class Planted:
    """What was made wrong: the box and, for `SWAPPED`, its true name."""

    file: str
    what: str
    box: tuple[float, float, float, float]
    name: str


@pytest.fixture(scope="module")
def model() -> FO1:
    return FO1.from_pretrained()


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("drawn")
    pack = PicturePack.open()
    known = [slug for slug in sorted(pack.concepts) if slug not in pack.held_out]
    chosen = np.random.default_rng(SEED).choice(known, NAMES, replace=False)
    generator = SceneGenerator(pack, size=(256, 420), concepts=tuple(map(str, chosen)), solids=0)
    records: list[Record] = []
    scenes = [generator(SEED, index) for index in range(PICTURES)]
    names = tuple(sorted({thing.name for scene in scenes for thing in scene.objects}))
    for index, scene in enumerate(scenes):
        file = folder / f"{index}.png"
        scene.image.save(file)
        objects = tuple(
            TrueObject(
                thing.box,
                tuple(dict.fromkeys((thing.name, *thing.names))),
                unsure=tuple(n for n in thing.unsure if n not in thing.names),
            )
            for thing in scene.objects
        )
        there = {name for one in objects for name in one.names}
        picture = PictureRef(str(file), (scene.image.height, scene.image.width))
        looked = tuple(sorted({*names, *there}))
        records.append(
            check_record(
                Record(key=str(index), pictures=(picture,), objects=objects, looked_for=looked)
            )
        )
    return records


def alone(record: Record) -> list[int]:
    """Return the objects that no other one meets much."""
    boxes = as_boxes([one.box for one in record.objects])
    apart = ~np.eye(len(boxes), dtype=bool)
    meets = (box_iou(boxes, boxes) > 0.2) | (box_containment(boxes, boxes) > 0.4)
    return [place for place in range(len(boxes)) if not (meets & apart)[place].any()]


@pytest.fixture(scope="module")
def spoiled(clean: list[Record]) -> tuple[list[Record], list[Planted]]:
    """One error in each picture, of the three kinds by turns, at an object that chance picks.

    It is one that no other box meets much, for a part of a labelled thing is none that is missing.
    """
    records: list[Record] = []
    planted: list[Planted] = []
    names = frequent_names(clean)
    rng = np.random.default_rng(SEED)
    for number, record in enumerate(clean):
        what = (MISSING, DUPLICATE, SWAPPED)[number % 3]
        objects = list(record.objects)
        place = int(rng.choice(alone(record)))
        chosen = objects[place]
        box = chosen.box
        if what == MISSING:
            del objects[place]
        elif what == DUPLICATE:
            x1, y1, x2, y2 = box
            box = (x1, y1, x2 - (x2 - x1) * 0.05, y2)
            objects.append(replace(chosen, box=box))
        else:
            there = {n for one in objects for n in (*one.names, *one.unsure)}
            wrong = str(rng.choice([name for name in names if name not in there]))
            objects[place] = replace(chosen, names=(wrong,), unsure=())
        records.append(replace(record, objects=tuple(objects)))
        planted.append(Planted(record.pictures[0].file, what, box, chosen.names[0]))
    return records, planted


def suspicions(model: Any, records: list[Record]) -> list[Suspicion]:
    told = list(audit(model, records, frequent_names(records)))
    assert not [one for one in told if isinstance(one, Failure)]
    every = [s for one in told if not isinstance(one, Failure) for s in one]
    return sorted(every, key=lambda one: -one.score)


@pytest.fixture(scope="module")
def found(model: FO1, spoiled: tuple[list[Record], list[Planted]]) -> list[Suspicion]:
    return suspicions(model, spoiled[0])


class Mistaken:
    """A model that takes every name for the next one: what it suspects is the floor."""

    def __init__(self, model: FO1) -> None:
        self.model, self.engine = model, model.engine

    def propose(self, *given: Any, **named: Any) -> Any:
        return self.model.propose(*given, **named)

    def encode(self, *given: Any) -> "Mistaken":
        self.scene = self.model.encode(*given)
        return self

    def scores(self, names: list[str]) -> Any:
        return np.roll(self.scene.scores(names), 1, axis=1)


def hits(found: list[Suspicion], planted: list[Planted], what: str) -> int:
    """Return how many of the planted errors of a kind are told."""
    return sum(
        any(
            one.what == what
            and one.file == error.file
            and box_iou(as_boxes([one.box]), as_boxes([error.box]))[0, 0] > 0.5
            for one in found
        )
        for error in planted
        if error.what == what
    )


class Knowing:
    """A model that proposes every true box and some others, and knows what is in them."""

    def __init__(self, model: FO1, records: list[Record]) -> None:
        self.model, self.engine = model, model.engine
        self.truth = {open_picture(one).tobytes(): one.objects for one in records}

    def propose(self, image: Image.Image, *, limit: int) -> Any:
        boxes = as_boxes([one.box for one in self.truth[image.tobytes()]])
        others = self.model.propose(image, limit=limit)
        return replace(
            others,
            boxes=np.concatenate([boxes + 2, others.boxes]),
            scores=np.concatenate([np.ones(len(boxes), np.float32), others.scores]),
        )

    def encode(self, image: Image.Image, boxes: Any) -> "Knowing":
        self.things = self.truth[image.tobytes()]
        self.overlap = box_iou(boxes, as_boxes([one.box for one in self.things]))
        return self

    def scores(self, names: list[str]) -> Any:
        true = np.array([[name in one.names for name in names] for one in self.things])
        close = np.where(self.overlap > 0.6, self.overlap, 0)
        return (close[:, :, None] * true[None]).max(axis=1)


def test_a_model_that_knows_finds_all_planted_errors_and_nothing_else(
    model: FO1, clean: list[Record], spoiled: tuple[list[Record], list[Planted]]
) -> None:
    records, planted = spoiled
    found = suspicions(Knowing(model, clean), records)
    for what in (MISSING, SWAPPED):
        own = [one for one in found if one.what == what]
        wanted = [one for one in planted if one.what == what]
        assert hits(own, planted, what) == len(own) == len(wanted)
        named = {one.file: one.suggested for one in own}
        assert named == {one.file: one.name for one in wanted}


def test_swapped_names_are_told_far_more_often_than_by_a_model_that_mistakes_every_name(
    model: FO1, found: list[Suspicion], spoiled: tuple[list[Record], list[Planted]]
) -> None:
    """The packaged model, against the likeliest as many suspicions of one that suspects more."""
    records, planted = spoiled
    floor = suspicions(Mistaken(model), records)
    own = [one for one in found if one.what == SWAPPED]
    others = [one for one in floor if one.what == SWAPPED][: len(own)]
    assert hits(own, planted, SWAPPED) >= max(2, 2 * hits(others, planted, SWAPPED))


def test_swapped_names_stand_above_others(
    found: list[Suspicion], spoiled: tuple[list[Record], list[Planted]]
) -> None:
    """At least half of the planted ones among the first as many suspicions, of more than a hundred boxes."""
    records, planted = spoiled
    count = sum(one.what == SWAPPED for one in planted)
    first = [one for one in found if one.what == SWAPPED][:count]
    assert sum(len(one.objects) for one in records) > 100
    assert hits(first, planted, SWAPPED) >= count / 2


def test_the_suggested_name_is_mostly_the_true_one(
    found: list[Suspicion], spoiled: tuple[list[Record], list[Planted]]
) -> None:
    told = [
        one.suggested == error.name
        for error in spoiled[1]
        for one in found
        if error.what == one.what == SWAPPED and (one.file, one.box) == (error.file, error.box)
    ]
    assert sum(told) > len(told) / 2


def test_duplicates_are_told_without_a_model_and_exactly(
    found: list[Suspicion], spoiled: tuple[list[Record], list[Planted]]
) -> None:
    files = [one.file for one in found if one.what == DUPLICATE]
    planted = [one.file for one in spoiled[1] if one.what == DUPLICATE]
    assert set(planted) <= set(files)
    for one in found:
        if one.what == DUPLICATE and one.file in planted:
            assert one.score == pytest.approx(0.95, abs=0.01)
            assert one.suggested is None
            assert one.other is not None


def test_a_name_that_was_not_looked_for_is_not_missing(model: FO1, clean: list[Record]) -> None:
    record = replace(clean[0], objects=clean[0].objects[:1], looked_for=())
    (told,) = audit(model, [record], frequent_names(clean))
    assert not isinstance(told, Failure)
    assert all(one.what != MISSING for one in told)


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(
    model: FO1, clean: list[Record], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    bad = replace(clean[0], key="bad", pictures=(PictureRef(str(broken)),))
    first, second = audit(model, [bad, clean[1]], frequent_names(clean))
    assert isinstance(first, Failure)
    assert first.file == str(broken)
    assert not isinstance(second, Failure)


def test_a_crowd_is_no_duplicate(model: FO1, clean: list[Record]) -> None:
    one = clean[0].objects[0]
    record = replace(clean[0], objects=(one, replace(one, crowd=True)))
    (told,) = audit(model, [record], ())
    assert not isinstance(told, Failure)
    assert all(s.what != DUPLICATE for s in told)
