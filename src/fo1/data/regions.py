"""Which boxes of a record become regions, and which objects each of them shows.

What a region is to an object, by their IoU:

    IoU >= match            and it is the object's region            shows the object: may be listed, target 1
    IoU >= match            but another is the object's region       a duplicate: never listed, target unknown
    miss <= IoU < match     half of an object, or more than it       never listed, target unknown
    IoU < miss                                                       is not the object
    half of it in a crowd, or miss <= IoU with one                   never listed, target unknown for its names

An object's region is its true box or a jittered copy where `truth` gives it one, else the one that meets it best. A
region shows one object at most: of two objects in nearly the same place each has its own, unknown for the other's
names. Proposals that lie as good as on a true box that is a region (`duplicate`) are dropped, so that duplicates stay
rare.

Source: dropping near-duplicates of true boxes follows what users of ChatRex were told (IDEA-Research/ChatRex,
issue 18); the table is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fo1.data.schema import Record
from fo1.geometry import Boxes, Size, box_area, box_iou, clip_boxes
from fo1.ordering import region_order

if TYPE_CHECKING:
    from fo1.data.sampling import Sampling

NOBODY = -1


@dataclass(frozen=True, slots=True, eq=False)
class RegionSet:
    """The regions of one record, pictures one after another.

    Attributes:
        boxes: (N, 4) float32 xyxy pixels of their original picture.
        picture: (N,) the picture of each.
        shows: (N,) the object that a region is the region of, `NOBODY` for none.
        touches: (N, O) bool, objects of which a region is a duplicate, a part or a crowd's inside: target unknown.
    """

    boxes: Boxes
    picture: npt.NDArray[np.int64]
    shows: npt.NDArray[np.int64]
    touches: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)

    def of_picture(self, number: int) -> Boxes:
        """Return the boxes of one picture."""
        return self.boxes[self.picture == number]

    def region_of(self, thing: int) -> int | None:
        """Return the region of an object, None if it has none."""
        found = np.flatnonzero(self.shows == thing)
        return int(found[0]) if len(found) else None


def draw_regions(
    record: Record, settings: "Sampling", rng: np.random.Generator, sizes: Sequence[Size]
) -> RegionSet:
    """Return the regions of a record.

    Args:
        record: what is known.
        settings: which boxes are used.
        rng: source of chance.
        sizes: (height, width) of each picture.
    """
    parts = [_of_picture(record, number, settings, rng, size) for number, size in enumerate(sizes)]
    count = len(record.objects)
    if not parts:
        return RegionSet(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros((0, count), bool),
        )
    boxes, shows, touches = (list(part) for part in zip(*parts, strict=True))
    return RegionSet(
        np.concatenate(boxes),
        np.repeat(np.arange(len(boxes)), [len(own) for own in boxes]),
        np.concatenate(shows),
        np.concatenate(touches),
    )


def _of_picture(
    record: Record, picture: int, settings: "Sampling", rng: np.random.Generator, size: Size
) -> tuple[Boxes, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    objects = [i for i, one in enumerate(record.objects) if one.picture == picture]
    things = [i for i in objects if not record.objects[i].crowd]
    true = _boxes([record.objects[i].box for i in things], size)
    given = rng.random(len(things)) < settings.truth
    own = np.array([_jittered(b, settings, rng, size) for b in true[given]], np.float32)
    own = own.reshape(-1, 4)
    proposed, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    if settings.proposals and picture < len(record.proposals):
        proposals = record.proposals[picture]
        proposed, scores = clip_boxes(proposals.boxes, size), proposals.scores
        proper = box_area(proposed) > 0
        proposed, scores = proposed[proper], scores[proper]
    extra = clip_boxes(distractors(true, settings.distractors, rng, size), size)
    others = np.concatenate([proposed, extra])
    ranks = np.concatenate([scores, np.full(len(extra), -1, np.float32)])
    if len(own) and len(others):
        clear = box_iou(others, np.concatenate([own, true[given]])).max(1) < settings.duplicate
        others, ranks = others[clear], ranks[clear]
    order = np.argsort(-ranks, kind="stable")
    others, ranks = others[order], ranks[order]
    ranks = np.concatenate([_lent(own, proposed, scores, settings, rng), ranks])
    most = settings.most_regions
    if settings.fewer_regions and rng.random() < 0.5:
        most = int(rng.integers(min(len(own), most), min(len(ranks), most) + 1))
    boxes, ranks = np.concatenate([own, others])[:most], ranks[:most]
    ranks[ranks < 0] = _any_scores(int((ranks < 0).sum()), scores, rng)
    shows = np.full(len(boxes), NOBODY)
    kept = min(len(own), len(boxes))
    shows[:kept] = np.array(things, np.int64)[given][:kept]
    boxes, shows = _order(boxes, shows, ranks, settings, rng, size)
    touches = _match(record, boxes, shows, objects, settings, size)
    return boxes, shows, touches


def _lent(
    own: Boxes,
    proposed: Boxes,
    scores: npt.NDArray[np.float32],
    settings: "Sampling",
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Return scores for true boxes: those of the proposals that meet them, so that an order does not give them away."""
    lent = _any_scores(len(own), scores, rng)
    if len(own) and len(proposed):
        iou = box_iou(own, proposed)
        lent = np.where(iou.max(1) >= settings.match, scores[iou.argmax(1)], lent)
    return lent


def _any_scores(
    count: int, scores: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    drawn = rng.choice(scores, count) if len(scores) else rng.random(count)
    return drawn.astype(np.float32)


def _order(
    boxes: Boxes,
    shows: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.float32],
    settings: "Sampling",
    rng: np.random.Generator,
    size: Size,
) -> tuple[Boxes, npt.NDArray[np.int64]]:
    """Return boxes in the order of the settings; "any" is shuffled."""
    order = rng.permutation(len(boxes))
    if settings.order != "any":
        order = region_order(boxes, ranks, settings.order, size)
    return boxes[order], shows[order]


def _match(
    record: Record,
    boxes: Boxes,
    shows: npt.NDArray[np.int64],
    objects: Sequence[int],
    settings: "Sampling",
    size: Size,
) -> npt.NDArray[np.bool_]:
    """Give objects without a region the one that meets them best, in place; return what else they touch."""
    touches = np.zeros((len(boxes), len(record.objects)), bool)
    if not len(boxes) or not objects:
        return touches
    iou = box_iou(boxes, _boxes([record.objects[i].box for i in objects], size))
    plain = np.array([not record.objects[i].crowd for i in objects])
    taken = set(shows.tolist())
    waiting = [k for k, i in enumerate(objects) if plain[k] and i not in taken]
    # Best pairs first, so that an object does not take the region that fits another better.
    pairs = [
        (-iou[r, k], r, k) for k in waiting for r in np.flatnonzero(iou[:, k] >= settings.match)
    ]
    for _, region, k in sorted(pairs):
        if shows[region] == NOBODY and objects[k] not in taken:
            shows[region] = objects[k]
            taken.add(objects[k])
    for k, i in enumerate(objects):
        if plain[k]:
            touches[:, i] = (iou[:, k] >= settings.miss) & (shows != i)
        else:
            inside = _inside(boxes, np.array(record.objects[i].box, np.float32)) >= 0.5
            touches[:, i] = inside | (iou[:, k] >= settings.miss)
    return touches


def _inside(boxes: Boxes, crowd: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return (N,) the share of each box that lies in another."""
    corners = np.concatenate(
        [np.maximum(boxes[:, :2], crowd[:2]), np.minimum(boxes[:, 2:], crowd[2:])], axis=1
    )
    return box_area(corners) / np.maximum(box_area(boxes), 1e-9)


def _jittered(
    box: npt.NDArray[np.float32], settings: "Sampling", rng: np.random.Generator, size: Size
) -> npt.NDArray[np.float32]:
    """Return a box whose edges moved, still its object's by `match`; the box itself if no try is."""
    if settings.jitter <= 0:
        return box
    side = np.tile(box[2:] - box[:2], 2)
    for _ in range(4):
        moves = rng.uniform(-settings.jitter, settings.jitter, 4) * side
        moved = clip_boxes((box + moves).astype(np.float32)[None], size)
        proper = bool((moved[0, 2:] - moved[0, :2] >= 1).all())
        if proper and box_iou(moved, box[None])[0, 0] >= max(settings.match, 0.6):
            return moved[0]
    return box


def distractors(true: Boxes, count: int, rng: np.random.Generator, size: Size) -> Boxes:
    """Return `count` boxes that are no object: half of them parts of objects, the rest anywhere."""
    height, width = size
    made: list[npt.NDArray[np.float32]] = []
    for number in range(count):
        if number % 2 and len(true):
            x1, y1, x2, y2 = true[rng.integers(len(true))]
            part = rng.uniform(0.25, 0.5, 2) * [x2 - x1, y2 - y1]
            corner = [x1, y1] + rng.random(2) * ([x2 - x1, y2 - y1] - part)
            made.append(np.array([*corner, *(corner + part)], np.float32))
            continue
        sides = np.exp(rng.uniform(np.log(0.06), np.log(0.6), 2)) * [width, height]
        corner = rng.random(2) * ([width, height] - sides)
        made.append(np.array([*corner, *(corner + sides)], np.float32))
    return np.array(made, np.float32).reshape(-1, 4)


def _boxes(rows: Sequence[Sequence[float]], size: Size) -> Boxes:
    return clip_boxes(np.array(rows, np.float32).reshape(-1, 4), size)
