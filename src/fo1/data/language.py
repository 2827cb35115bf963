"""Exact language about a scene: referring expressions, counts, absent names, captions.

Nothing here looks at pixels. A sentence is made only where the boxes and names leave no doubt:
differences of place or size must exceed a margin, and a name that a thing might also deserve
(`SceneObject.unsure`) blocks every sentence that depends on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from numpy.random import Generator

from fo1.data.nouns import UNCOUNTED, article, plural
from fo1.data.pictures import Concept
from fo1.data.scenes import Scene, SceneObject

PLACE_MARGIN = 0.04  # of the picture's side
SIZE_RATIO = 1.4
NEAR_RATIO = 1.5

_NEIGHBOURS = {
    "red": ("orange", "pink", "brown"),
    "orange": ("red", "yellow", "brown"),
    "yellow": ("orange", "white"),
    "green": (),
    "blue": ("purple",),
    "purple": ("blue", "pink"),
    "pink": ("red", "purple"),
    "brown": ("red", "orange", "black"),
    "black": ("gray", "brown"),
    "white": ("gray", "yellow"),
    "gray": ("white", "black"),
}
_NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
)
_GROUNDS = {
    "wood": "on wooden planks",
    "grass": "on grass",
    "room": "in a room",
    "outdoors": "outdoors",
    "bricks": "in front of a brick wall",
    "checker": "on tiles",
    "stripes": "on stripes",
    "voronoi": "on cobbles",
}


@dataclass(frozen=True, slots=True)
class Count:
    """How many: `noun` and its `plural`, the `number`, and the indices of the things counted."""

    noun: str
    plural: str
    number: int
    objects: tuple[int, ...]


def _holders(scene: Scene, noun: str) -> tuple[int, ...] | None:
    """Return the indices of things called `noun`, or None when one of the others might be."""
    if any(noun in thing.unsure and noun not in thing.names for thing in scene.objects):
        return None
    return tuple(i for i, thing in enumerate(scene.objects) if noun in thing.names)


def _centre(thing: SceneObject, axis: int) -> float:
    return (thing.box[axis] + thing.box[axis + 2]) / 2


def _area(thing: SceneObject) -> float:
    return (thing.box[2] - thing.box[0]) * (thing.box[3] - thing.box[1])


def _ordered(scene: Scene, members: Iterable[int], axis: int) -> list[int] | None:
    """Return members sorted along an axis, or None when two are too close to call.

    Centres must be a margin apart and both edges must run in the same order.
    """
    order = sorted(members, key=lambda i: _centre(scene.objects[i], axis))
    margin = PLACE_MARGIN * scene.image.size[axis]
    for one, two in itertools.pairwise(order):
        a, b = scene.objects[one], scene.objects[two]
        if _centre(b, axis) - _centre(a, axis) < margin:
            return None
        if a.box[axis] > b.box[axis] or a.box[axis + 2] > b.box[axis + 2]:
            return None
    return order


def _extreme(scene: Scene, members: tuple[int, ...], axis: int, last: bool) -> int | None:
    """Return the member that is clearly first (or last) along an axis, or None."""
    sign = -1.0 if last else 1.0
    order = sorted(members, key=lambda i: sign * _centre(scene.objects[i], axis))
    pair = _ordered(scene, order[:2], axis)
    edge = axis + 2 if last else axis
    best = scene.objects[order[0]]
    beyond = all(sign * best.box[edge] <= sign * scene.objects[i].box[edge] for i in order[1:])
    return order[0] if pair is not None and beyond else None


def _by_place(scene: Scene, noun: str, members: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Yield expressions by place among things of one name."""
    for axis, last, texts in (
        (0, False, (f"the leftmost {noun}", f"the {noun} on the left")),
        (0, True, (f"the rightmost {noun}", f"the {noun} on the right")),
        (1, False, (f"the {noun} at the top", f"the topmost {noun}")),
        (1, True, (f"the {noun} at the bottom", f"the lowest {noun}")),
    ):
        index = _extreme(scene, members, axis, last)
        if index is not None:
            yield texts[0], index
            if len(members) == 2 or axis == 1:
                yield texts[1], index
    if len(members) >= 3:
        order = _ordered(scene, members, 0)
        if order is not None:
            for rank, word in ((1, "second"), (2, "third")):
                if rank < len(order) - 1:
                    yield f"the {word} {noun} from the left", order[rank]
                    yield f"the {word} {noun} from the right", order[-1 - rank]
            if len(order) == 3:
                yield f"the {noun} in the middle", order[1]


def _by_size(scene: Scene, noun: str, members: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Yield expressions by size of the box among things of one name."""
    order = sorted(members, key=lambda i: _area(scene.objects[i]))
    areas = [_area(scene.objects[i]) for i in order]
    if areas[-1] >= SIZE_RATIO * areas[-2]:
        yield f"the largest {noun}", order[-1]
        yield f"the biggest {noun}", order[-1]
    if areas[1] >= SIZE_RATIO * areas[0]:
        yield f"the smallest {noun}", order[0]


def _by_colour(scene: Scene, noun: str, members: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Yield expressions by colour; every rival must have a clearly different colour."""
    for index in members:
        colour = scene.objects[index].colour
        if not colour or colour == noun:
            continue
        rivals = [scene.objects[i].colour for i in members if i != index]
        if all(c and c != colour and c not in _NEIGHBOURS[colour] for c in rivals):
            yield f"the {colour} {noun}", index


def _by_relation(
    scene: Scene, noun: str, members: tuple[int, ...], anchor_noun: str, anchor: int
) -> Iterator[tuple[str, int]]:
    """Yield expressions by place relative to a thing whose name is unique."""
    mark = scene.objects[anchor]
    sides: tuple[tuple[int, bool, str], ...] = (
        (0, False, "to the left of"),
        (0, True, "to the right of"),
        (1, False, "above"),
        (1, True, "below"),
    )
    for axis, after, words in sides:
        margin = PLACE_MARGIN * scene.image.size[axis]
        clear: list[int] = []
        unclear = False
        for index in members:
            centre = _centre(scene.objects[index], axis)
            if (centre > mark.box[axis + 2]) if after else (centre < mark.box[axis]):
                clear.append(index)
            elif (
                (centre > _centre(mark, axis) - margin)
                if after
                else (centre < _centre(mark, axis) + margin)
            ):
                unclear = True
        if len(clear) == 1 and not unclear:
            yield f"the {noun} {words} the {anchor_noun}", clear[0]
    if len(members) >= 2:
        gaps = sorted(
            (
                (_centre(scene.objects[i], 0) - _centre(mark, 0)) ** 2
                + (_centre(scene.objects[i], 1) - _centre(mark, 1)) ** 2,
                i,
            )
            for i in members
        )
        if gaps[1][0] >= NEAR_RATIO * NEAR_RATIO * gaps[0][0]:
            yield f"the {noun} closest to the {anchor_noun}", gaps[0][1]


def referring(scene: Scene, rng: Generator) -> list[tuple[str, int]]:
    """Return (expression, index of the one thing it singles out), shuffled.

    Every expression holds for exactly one object of the scene; expressions are all different.
    """
    nouns: dict[str, tuple[int, ...]] = {}
    for thing in scene.objects:
        for noun in dict.fromkeys((thing.name, thing.names[int(rng.integers(len(thing.names)))])):
            members = _holders(scene, noun)
            if members:
                nouns[noun] = members
    unique = [(noun, members[0]) for noun, members in nouns.items() if len(members) == 1]
    found: dict[str, int] = {}
    for noun, members in nouns.items():
        if len(members) == 1:
            found[f"the {noun}"] = members[0]
        else:
            for rule in (_by_place, _by_size):
                found.update(rule(scene, noun, members))
        found.update(_by_colour(scene, noun, members))
        anchors = [(word, index) for word, index in unique if index not in members]
        for _ in range(min(2, len(anchors))):
            word, index = anchors[int(rng.integers(len(anchors)))]
            found.update(_by_relation(scene, noun, members, word, index))
    pairs = list(found.items())
    return [pairs[int(i)] for i in rng.permutation(len(pairs))]


def counting(scene: Scene, rng: Generator) -> list[Count]:
    """Return counts of countable names in the scene, broader names included, shuffled."""
    nouns = dict.fromkeys(name for thing in scene.objects for name in thing.names)
    counts: list[Count] = []
    for noun in nouns:
        members = _holders(scene, noun)
        if members and noun not in UNCOUNTED:
            counts.append(Count(noun, plural(noun), len(members), members))
    return [counts[int(i)] for i in rng.permutation(len(counts))]


def absent(scene: Scene, rng: Generator, n: int, vocabulary: Iterable[Concept]) -> list[str]:
    """Return up to `n` names of things that are not in the scene.

    A name is left out when it is true of something present, might be, is a finer word for
    something present ("duck" beside "bird"), or names a thing easily taken for one present.

    Args:
        scene: the scene.
        rng: source of chance.
        n: how many names.
        vocabulary: concepts to draw from, e.g. `SceneGenerator.concepts.values()`.
    """
    concepts = list(vocabulary)
    taken = {name for thing in scene.objects for name in (*thing.names, *thing.unsure)}
    own = {thing.name for thing in scene.objects}
    slugs = {thing.concept for thing in scene.objects}
    own |= {s for concept in concepts if concept.slug in slugs for s in concept.synonyms}
    doubtful = {kind for concept in concepts if concept.name in taken for kind in concept.kinds}
    candidates: dict[str, None] = {}
    for concept in concepts:
        labels = (concept.name, *concept.synonyms)
        if (
            own.isdisjoint(concept.kinds)
            and own.isdisjoint(concept.lookalikes)
            and taken.isdisjoint(labels)
        ):
            candidates.update(dict.fromkeys((*labels, *concept.kinds)))
        else:
            # A word can name one concept and be the broad word for another ("melon").
            doubtful.update(labels)
    names = [name for name in candidates if name not in taken and name not in doubtful]
    return [names[int(i)] for i in rng.permutation(len(names))[:n]]


def caption(scene: Scene) -> str:
    """Return one sentence that names what is in the scene, larger things first."""
    groups: dict[str, list[SceneObject]] = {}
    for thing in sorted(scene.objects, key=_area, reverse=True):
        groups.setdefault(thing.name, []).append(thing)
    parts: list[str] = []
    for name, things in groups.items():
        colours = {thing.colour for thing in things}
        colour = colours.pop() if len(colours) == 1 else ""
        label = f"{colour} {name}" if colour and colour != name else name
        if len(things) == 1:
            parts.append(article(label))
        elif name in UNCOUNTED:
            parts.append(f"several {label}")
        else:
            word = _NUMBERS[len(things)] if len(things) < len(_NUMBERS) else str(len(things))
            parts.append(f"{word} {plural(label)}")
    text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    text = f"{text} {_GROUNDS.get(scene.background, 'on a plain background')}"
    return text[0].upper() + text[1:] + "."
