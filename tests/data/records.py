"""Records to draw samples from: one by hand, and random ones."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fo1.data.negatives import Vocabulary
from fo1.data.regions import RegionSet
from fo1.data.schema import Count, Exchange, Phrase, PictureRef, Record, TrueObject, check_record
from fo1.results import Proposals

SIZE = (240, 320)
PICTURE = PictureRef("p.png", SIZE)
CAT, CAT_2, DOG = range(3)
NEAR = [20, 20, 100, 102]  # IoU 0.98 with the first cat
MOST = [20, 20, 100, 80]  # 0.75
HALF = [20, 20, 100, 52]  # 0.4
DOG_PART = [220, 130, 300, 200]  # 0.78 with the dog
NOTHING = [0, 200, 30, 230]
FILLERS = tuple(f"thing{chr(97 + i)}{chr(97 + 5 * i % 26)}" for i in range(20))


def proposals(*boxes: list[int]) -> Proposals:
    return Proposals(
        np.array(boxes, np.float32), np.linspace(0.9, 0.1, len(boxes), dtype=np.float32)
    )


def scene(**changes: Any) -> Record:
    """Return two cats and a dog; all their names, "cat fish" and the fillers were looked for."""
    values: dict[str, Any] = {
        "key": "scene",
        "pictures": (PICTURE,),
        "objects": (
            TrueObject((20, 20, 100, 100), ("cat", "animal"), descriptions=("a grey cat",)),
            TrueObject((150, 40, 210, 120), ("cat", "animal")),
            TrueObject((220, 130, 300, 220), ("dog", "animal"), texts=("REX",)),
        ),
        "proposals": (proposals(NEAR, MOST, HALF, DOG_PART, NOTHING),),
        "phrases": (Phrase("the left cat", (0,)), Phrase("the red bus", ())),
        "captions": ("<ground>Cats</ground><objects><region1><region0></objects> rest.",),
        "absent": ("bus",),
        "looked_for": ("cat", "dog", "animal", "cat fish", *FILLERS),
        "turns": (Exchange("What is <region2>?", "A dog, not <region0>."),),
    }
    return check_record(Record(**(values | changes)))


def open_blank(number: int) -> Image.Image:
    return Image.new("RGB", (SIZE[1], SIZE[0]))


def vocabulary(*records: Record) -> Vocabulary:
    return Vocabulary.of(records or (scene(),))


def regions_for(regions: RegionSet, things: Iterable[int]) -> list[int]:
    """Return the region of each thing, all of which must have one."""
    found = [regions.region_of(thing) for thing in things]
    known = [region for region in found if region is not None]
    assert len(known) == len(found), "a thing has no region"
    return known


NAMES = ("cat", "dog", "animal", "hot dog", "lamp", "table lamp", "bus", "Cat")


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Return a record of up to three small pictures in which all kinds of knowledge are mixed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pictures = tuple(
        PictureRef(f"{i}.png", (int(rng.integers(30, 90)), int(rng.integers(30, 90))))
        for i in range(draw(st.integers(0, 3)))
    )
    objects = tuple(
        _object(rng, number, pictures)
        for number in range(draw(st.integers(0, 7)) if pictures else 0)
    )
    there = {name for one in objects for name in one.names}
    free = [name for name in NAMES if name not in there]

    def some(names: Any, share: float) -> tuple[str, ...]:
        return tuple(name for name in names if rng.random() < share)

    def mention() -> str:
        if not objects:
            return "nothing"
        chosen = rng.permutation(len(objects))[: int(rng.integers(1, 4))]
        return "<ground>it</ground><objects>{}</objects>".format(
            "".join(f"<region{number}>" for number in chosen)
        )

    looked_for = some(NAMES, 0.6)
    partial = some(NAMES, 0.15)
    known = [
        Count(name, sum(name in one.names for one in objects)) for name in some(looked_for, 0.2)
    ]
    return check_record(
        Record(
            key=f"r{rng.integers(100)}",
            pictures=pictures,
            objects=objects,
            proposals=tuple(_proposed(rng, objects, i) for i in range(len(pictures)))
            if rng.random() < 0.7
            else (),
            phrases=tuple(
                Phrase(f"phrase {i}", tuple(map(int, rng.permutation(len(objects))[:i])))
                for i in range(int(rng.integers(0, 4)))
            ),
            captions=tuple(f"See {mention()} here." for _ in range(int(rng.integers(0, 3)))),
            counts=(*known, Count("unseen", int(rng.integers(0, 9)))),
            absent=some(free, 0.3),
            looked_for=looked_for,
            partial=partial,
            turns=tuple(
                Exchange(f"Is {mention()} red?", f"No, {mention()}.")
                for _ in range(int(rng.integers(0, 3)))
            ),
        )
    )


def _object(rng: np.random.Generator, number: int, pictures: tuple[PictureRef, ...]) -> TrueObject:
    picture = int(rng.integers(len(pictures)))
    height, width = pictures[picture].size or (0, 0)
    x, y = int(rng.integers(0, width - 10)), int(rng.integers(0, height - 10))
    w, h = int(rng.integers(8, 40)), int(rng.integers(8, 40))
    order = [NAMES[i] for i in rng.permutation(len(NAMES))]
    named = int(rng.integers(0, 4))
    return TrueObject(
        (x, y, x + w, y + h),
        tuple(order[:named]),
        picture,
        unsure=tuple(order[named : named + int(rng.integers(0, 2))]),
        texts=(f"TEXT {number}",) if rng.random() < 0.3 else (),
        descriptions=(f"thing number {number}",) if rng.random() < 0.3 else (),
        crowd=bool(rng.random() < 0.15),
    )


def _proposed(rng: np.random.Generator, objects: tuple[TrueObject, ...], picture: int) -> Proposals:
    rows = [
        np.array(one.box) + rng.integers(-6, 7, 4) * [1, 1, 1, 1]
        for one in objects
        for _ in range(int(rng.integers(0, 4)))
        if one.picture == picture
    ]
    rows += [np.array([x, y, x + 9, y + 9]) for x, y in rng.integers(0, 60, (3, 2))]
    rows = [row for row in rows if (row[2:] > row[:2]).all()]
    return Proposals(np.array(rows, np.float32), rng.random(len(rows)))
