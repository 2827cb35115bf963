"""Audit: which labels of a detection data set are likely wrong, most suspicious first.

A model scores every true box and every proposed box of a picture for the names of the data set, s(box, name) in
[0, 1]. Three kinds of error, each with a score in [0, 1]:

    missing     s(proposal, name), from `SURE`, where no true box overlaps and the name was looked for
    swapped     s(box, other name) x (1 - s(box, own name)), where the other name scores at least `LIKELY` and more
    duplicate   IoU of two boxes of one name, from `SAME`; no model is asked

A suspicion is a reason to look, not a verdict: a model that does not know the names of a data set suspects much.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from fo1.data.schema import Box, Record, TrueObject
from fo1.data.storage import open_picture
from fo1.errors import FO1Error
from fo1.geometry import Boxes, as_boxes, box_containment, box_iou, clip_boxes
from fo1.pipeline import FO1

MISSING: Final = "missing"
DUPLICATE: Final = "duplicate"
SWAPPED: Final = "swapped"

SURE: Final = 0.5
"""Score from which the model counts as sure of a name."""
LIKELY: Final = 0.2
"""Score from which another name is set against a box's own; less than `SURE`, since a thing is known to be there."""
SAME: Final = 0.8
"""IoU from which two boxes of one name are one thing."""
APART: Final = 0.3
"""IoU with every true box under which a proposal is another thing."""
INSIDE: Final = 0.5
"""Share of the smaller of two boxes from which one is a part of the other."""
PROPOSALS: Final = 60
"""Boxes that are proposed for a picture."""
MOST_NAMES: Final = 200
"""Names of the data set that a picture is asked for, the most frequent ones; its own come on top."""

HOW_SCORED: Final = (
    "score, 0 to 1: missing: the model's score of the name for a proposed box that overlaps no labelled one; "
    "swapped: score of the suggested name times (1 - score of the name that it has); "
    "duplicate: IoU of the two boxes. A reason to look, not a verdict."
)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One label that is likely wrong.

    Attributes:
        key: of the record.
        file: of the picture.
        picture: index of the picture in its record.
        what: `MISSING`, `DUPLICATE` or `SWAPPED`.
        box: xyxy, pixels of the picture.
        name: that the box has; None where there is no box.
        suggested: name that it should have; None where the box should go.
        score: 0 to 1, see above.
        other: the box that a duplicate repeats.
    """

    key: str
    file: str
    picture: int
    what: str
    box: Box
    name: str | None
    suggested: str | None
    score: float
    other: Box | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; boxes with two decimals."""
        found: dict[str, Any] = {
            "file": self.file,
            "record": self.key,
            "what": self.what,
            "box": [round(side, 2) for side in self.box],
            "name": self.name,
            "suggested": self.suggested,
            "score": round(self.score, 4),
        }
        return found | ({"other": [round(s, 2) for s in self.other]} if self.other else {})


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be looked at."""

    key: str
    file: str
    error: str


def frequent_names(records: Iterable[Record], most: int = MOST_NAMES) -> tuple[str, ...]:
    """Return the own names of the objects of some records, the most frequent first."""
    counts = Counter(one.names[0] for record in records for one in record.objects if one.names)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(name for name, _ in ranked[:most])


def audit(
    model: FO1, records: Iterable[Record], names: Sequence[str]
) -> Iterator[tuple[Suspicion, ...] | Failure]:
    """Yield for each picture of some records what is suspicious in it, or why it could not be looked at.

    Args:
        model: has a score head.
        records: of detection data.
        names: of the data set, see `frequent_names`.

    Raises:
        QueryError: the model has no score head; from the first picture with boxes.
    """
    for record in records:
        for number, picture in enumerate(record.pictures):
            try:
                image = open_picture(record, number)
            except FO1Error as error:
                yield Failure(record.key, picture.file, str(error))
                continue
            try:
                yield audit_picture(model, record, number, image, names)
            except (ValueError, RuntimeError) as error:
                if not model.engine.has_score_head:
                    raise
                told = " ".join(str(error).split()) or type(error).__name__
                yield Failure(record.key, picture.file, told)


def audit_picture(
    model: FO1, record: Record, number: int, image: Image.Image, names: Sequence[str]
) -> tuple[Suspicion, ...]:
    """Return what is suspicious in one picture of a record, most suspicious first.

    Args:
        model: has a score head.
        record: that the picture belongs to.
        number: of the picture.
        image: the picture, RGB.
        names: of the data set; those of the picture are added.

    Raises:
        QueryError: the model has no score head.
    """
    things = [one for one in record.objects if one.picture == number]
    own = [name for one in things for name in one.names]
    asked = list(dict.fromkeys((*own, *names)))
    if not asked:
        return ()
    size = (image.height, image.width)
    true = clip_boxes(as_boxes([one.box for one in things]), size)
    proposed = model.propose(image, limit=PROPOSALS).boxes
    scene = model.encode(image, np.concatenate([true, proposed]))
    scores = scene.scores(asked)
    file = record.pictures[number].file

    def suspicion(what: str, box: Any, *told: Any) -> Suspicion:
        x1, y1, x2, y2 = (float(side) for side in box)
        return Suspicion(record.key, file, number, what, (x1, y1, x2, y2), *told)

    # A broader name that some things have besides their own is no label, so it is never suggested.
    labels = {*names, *(one.names[0] for one in things if one.names)}
    usable = np.array([name in labels for name in asked])
    labelled = [name for name in asked if name in labels]
    found = [
        suspicion(SWAPPED, things[thing].box, things[thing].names[0], other, score)
        for thing, other, score in _swapped(things, scores, asked, usable)
    ]
    found += [
        suspicion(DUPLICATE, things[two].box, things[two].names[0], None, iou, things[one].box)
        for one, two, iou in _duplicates(things, true)
    ]
    found += [
        suspicion(MISSING, proposed[place], None, name, score)
        for place, name, score in _missing(
            record, things, true, proposed, scores[len(things) :][:, usable], labelled
        )
    ]
    return tuple(sorted(found, key=lambda one: -one.score))


def _swapped(
    things: Sequence[TrueObject],
    scores: npt.NDArray[np.float32],
    asked: Sequence[str],
    usable: npt.NDArray[np.bool_],
) -> Iterator[tuple[int, str, float]]:
    """Yield object, the name that suits it better, and the score."""
    for thing, one in enumerate(things):
        if not one.names or one.crowd:
            continue
        fits = np.isin(asked, one.names)
        rivals = usable & ~fits & ~np.isin(asked, one.unsure)
        if not rivals.any():
            continue
        kept = float(scores[thing][fits].max())
        best = int(np.where(rivals, scores[thing], -1.0).argmax())
        rival = float(scores[thing, best])
        if rival >= LIKELY and rival > kept:
            yield thing, asked[best], rival * (1 - kept)


def _duplicates(things: Sequence[TrueObject], true: Boxes) -> Iterator[tuple[int, int, float]]:
    """Yield for each object that repeats earlier ones the one that it meets best, itself, and their IoU."""
    overlap = box_iou(true, true)
    for two, later in enumerate(things):
        same = [
            one
            for one in range(two)
            if later.names
            and things[one].names[:1] == later.names[:1]
            and not (things[one].crowd or later.crowd)
            and overlap[one, two] >= SAME
        ]
        if same:
            one = max(same, key=lambda place: overlap[place, two])
            yield one, two, float(overlap[one, two])


def _missing(
    record: Record,
    things: Sequence[TrueObject],
    true: Boxes,
    proposed: Boxes,
    scores: npt.NDArray[np.float32],
    asked: Sequence[str],
) -> list[tuple[int, str, float]]:
    """Return proposal, name and score of things that have no box, one proposal for each thing.

    Only names that were looked for can be missing. A part of a labelled thing, or a box around several, has its name
    as well and is none that is missing; nor is what lies in a crowd.
    """
    complete = {*record.looked_for, *record.absent} - set(record.partial)
    places = [place for place, name in enumerate(asked) if name in complete]
    if not places or not len(proposed):
        return []
    free = np.ones(len(proposed), np.bool_)
    within = np.zeros((len(proposed), len(things)), np.bool_)
    if things:
        free = box_iou(proposed, true).max(axis=1) < APART
        within = box_containment(proposed, true) >= INSIDE
    candidates: list[tuple[int, str, float]] = []
    for place in np.flatnonzero(free):
        parts = [things[int(thing)] for thing in np.flatnonzero(within[place])]
        taken = {name for one in parts for name in (*one.names, *one.unsure)}
        open_places = [p for p in places if asked[p] not in taken]
        if not open_places:
            continue
        best = max(open_places, key=lambda p: scores[place, p])
        # The likeliest of all names must be this one: a part of a cat is no dog, however sure.
        if scores[place, best] >= max(SURE, float(scores[place].max())):
            candidates.append((int(place), asked[best], float(scores[place, best])))
    candidates.sort(key=lambda one: -one[2])
    kept: list[tuple[int, str, float]] = []
    for one in candidates:
        chosen = proposed[[other for other, *_ in kept]] if kept else None
        box = proposed[[one[0]]]
        if chosen is None or (
            box_iou(box, chosen).max() < APART and box_containment(box, chosen).max() < INSIDE
        ):
            kept.append(one)
    return kept
