"""Cached scenes become samples: queries with targets and question-answer turns, drawn or imagined."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from imagined import Imagination, Imagined
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from fo1 import layout, prompts, tags
from fo1.data import language
from fo1.data.sample import Dialogue, Query, Sample
from fo1.data.scenes import Scene, SceneObject
from fo1.evaluation.tasks.relation_questions import relation_questions
from fo1.geometry import scale_boxes
from fo1.lexicon import Lexicon
from fo1.models.light_encoder import LightEncoder

HOST_PIXELS = (56 * 56, 224 * 224)  # what the host sees of a picture, at least and at most
MATCH, MISS = 0.55, 0.4  # IoU from which a region is the thing, and under which it is not
TURNS = {
    "describe": 2,
    "detect": 4,
    "count": 1,
    "is": 1,
    "refer": 2,
    "similar": 1,
    "relate": 2,
}
"""How often each kind of turn is drawn."""
TURNS_PER_SCENE = 6
DETECTED = 4  # names of things in one question at most; beside them fewer of nothing
IN_VAIN = 8  # names of nothing that a copying sample asks, beside all that there are
MOST_AT_ONCE = 8  # of them in one question
DESCRIBED = 3  # regions whose name it asks


@dataclass(frozen=True, slots=True)
class Thing:
    """What one object of a scene is called.

    Attributes:
        names: all that are true of it, its own first.
        unsure: names that must neither be asked nor be counted as absent.
        kind: the imagined class, None for a drawing.
        colour: a colour word or "".
    """

    names: tuple[str, ...]
    unsure: tuple[str, ...]
    kind: Imagined | None
    colour: str


class SampleMaker:
    """Draws samples from cached records; the same record and generator give the same sample.

    Args:
        encoder: finishes cached features.
        lexicon: relations between names.
        vocabulary: names that may be asked in vain.
        imagination: for imagined photographs; None for drawings only.
        imagined: share of samples that are imagined.
    """

    def __init__(
        self,
        encoder: LightEncoder,
        lexicon: Lexicon,
        vocabulary: Sequence[str],
        imagination: Imagination | None = None,
        imagined: float = 0.2,
    ):
        self.encoder = encoder
        self.lexicon = lexicon
        self.vocabulary = list(vocabulary)
        self.imagination = imagination
        self.imagined = imagined
        self._related: dict[tuple[str, str], bool] = {}

    def __call__(self, record: dict[str, Any], rng: np.random.Generator) -> Sample:
        """Return a sample of a cached record."""
        things, chosen, raw = self._draw(record, rng)
        owner, iou = record["owner"][chosen], record["iou"][chosen]
        scene = _sized(record)
        if things[0].kind is not None:
            scene = _renamed(scene, things)
        return self._sample(
            record,
            chosen,
            raw,
            queries=tuple(self._queries(scene, things, owner, iou, rng)),
            dialogues=tuple(self._turns(scene, things, owner, iou, record["boxes"][chosen], rng)),
            names=_region_names(things, owner, iou),
        )

    def copying(
        self, record: dict[str, Any], names: Sequence[str], share: float, rng: np.random.Generator
    ) -> Sample:
        """Return a sample that teaches to copy: things bear names by chance, and all of them are asked.

        Beside them names of nothing are asked, and what some regions are.

        Args:
            record: a cached one.
            names: that things may bear.
            share: of the usual regions that show no thing.
            rng: of what is drawn.
        """
        scene = _sized(record)
        kinds = list(dict.fromkeys(o.concept for o in scene.objects))
        drawn = rng.choice(len(names), len(kinds) + IN_VAIN, replace=False)
        asked = [names[int(i)] for i in drawn]
        own = dict(zip(kinds, asked[: len(kinds)], strict=True))
        things = [Thing((own[o.concept],), (), None, o.colour) for o in scene.objects]
        scene = _renamed(scene, things)
        chosen = self._choose_regions(record, rng, share)
        owner, iou = record["owner"][chosen], record["iou"][chosen]
        regions = {name: self._regions_of(name, things, owner, iou) for name in asked}
        asked = [asked[i] for i in rng.permutation(len(asked))]
        dialogues = []
        while asked:
            some, asked = asked[: (size := int(rng.integers(1, MOST_AT_ONCE + 1)))], asked[size:]
            answer = "".join(_written(name, regions[name]) for name in some)
            dialogues.append(Dialogue(((prompts.detect(some), answer),), "detect"))
        shown = [(region, name) for name, own in regions.items() for region in own]
        for i in rng.permutation(len(shown))[:DESCRIBED]:
            turn = prompts.describe([shown[i][0]]), language.article(shown[i][1])
            dialogues.append(Dialogue((turn,), "describe"))
        dialogues += self._turns(scene, things, owner, iou, record["boxes"][chosen], rng)[:2]
        return self._sample(
            record,
            chosen,
            record["raw"][torch.from_numpy(chosen)].float(),
            HOST_PIXELS[0],
            dialogues=tuple(dialogues),
            names=_region_names(things, owner, iou),
        )

    def _sample(
        self,
        record: dict[str, Any],
        chosen: np.ndarray,
        raw: torch.Tensor,
        most_pixels: int = HOST_PIXELS[1],
        **content: Any,
    ) -> Sample:
        """Return a sample that shows the chosen regions of a record, whatever is asked about them."""
        with torch.no_grad():
            features = self.encoder.finish(raw)
        size = record["size"]
        height, width = smart_resize(
            size[1], size[0], min_pixels=HOST_PIXELS[0], max_pixels=most_pixels
        )
        image = Image.fromarray(record["pixels"]).resize((width, height), Image.Resampling.BICUBIC)
        boxes = scale_boxes(
            record["boxes"][chosen], (size[1], size[0]), (image.height, image.width)
        )
        return Sample(
            key=str(record["scene"].index),
            images=(image,),
            boxes=(boxes,),
            features=features,
            **content,
        )

    def regions(
        self, record: dict[str, Any], rng: np.random.Generator
    ) -> tuple[torch.Tensor, np.ndarray, tuple[int, int], tuple[tuple[str, ...], ...]]:
        """Return raw features, boxes (N, 4), picture size and names of a record's regions, without language."""
        things, chosen, raw = self._draw(record, rng)
        names = _region_names(things, record["owner"][chosen], record["iou"][chosen])
        return raw, record["boxes"][chosen], record["size"], names

    def _draw(
        self, record: dict[str, Any], rng: np.random.Generator
    ) -> tuple[list[Thing], np.ndarray, torch.Tensor]:
        """Return what the objects are called, the candidate boxes taken and their raw features."""
        scene: Scene = record["scene"]
        imagined = self.imagination is not None and rng.random() < self.imagined
        things = self._imagine(scene, rng) if imagined else [_drawn(o) for o in scene.objects]
        chosen = self._choose_regions(record, rng)
        owner, iou = record["owner"][chosen], record["iou"][chosen]
        raw = record["raw"][torch.from_numpy(chosen)].float()
        if imagined:
            kinds = [things[o].kind if v >= MISS else None for o, v in zip(owner, iou, strict=True)]
            raw = self.imagination.move(raw, kinds, np.clip((iou - 0.2) / 0.7, 0, 1), rng)
        return things, chosen, raw

    def _imagine(self, scene: Scene, rng: np.random.Generator) -> list[Thing]:
        by_concept: dict[str, Thing] = {}
        for found in scene.objects:
            if found.concept not in by_concept:
                kind = self.imagination.choose(rng)
                by_concept[found.concept] = Thing(kind.names, (), kind, "")
        return [by_concept[o.concept] for o in scene.objects]

    def _choose_regions(
        self, record: dict[str, Any], rng: np.random.Generator, share: float = 1.0
    ) -> np.ndarray:
        """Return indices of candidate boxes: each object exactly or jittered, the rest by chance, shuffled."""
        count = len(record["scene"].objects)
        jittered = rng.random(count) < 0.5
        objects = np.arange(count) + jittered * count
        rest = np.arange(2 * count, len(record["boxes"]))
        rest = rest[rng.random(len(rest)) < share * rng.choice([0.3, 0.6, 0.9])]
        return rng.permutation(np.concatenate([objects, rest]))

    def is_named(self, thing: Thing, name: str) -> bool:
        """Return whether a name is true of a thing."""
        if thing.kind is not None:
            return self.imagination.is_a(thing.kind, name)
        return name in thing.names

    def is_unsure(self, thing: Thing, name: str) -> bool:
        """Return whether it is open if a name is true of a thing, given that it is not a known name of it."""
        if name in thing.unsure:
            return True
        for own in thing.names[:2]:
            key = (own, name)
            if key not in self._related:
                self._related[key] = self.lexicon.related(own, name)
            if self._related[key]:
                return True
        return False

    def _targets(
        self, positive: np.ndarray, unsure: np.ndarray, owner: np.ndarray, iou: np.ndarray
    ) -> np.ndarray:
        """Return (N,) targets from what is true of each object: (O,) bool each."""
        targets = np.where(positive[owner] & (iou >= MATCH), 1.0, 0.0)
        between = positive[owner] & (iou >= MISS) & (iou < MATCH)
        return np.where(between | (unsure[owner] & (iou >= MISS)), -1.0, targets).astype(np.float32)

    def name_query(
        self, name: str, things: list[Thing], owner: np.ndarray, iou: np.ndarray
    ) -> Query:
        """Return the query for a name."""
        positive = np.array([self.is_named(t, name) for t in things], bool)
        unsure = np.array(
            [not p and self.is_unsure(t, name) for p, t in zip(positive, things, strict=True)], bool
        )
        return Query(name, self._targets(positive, unsure, owner, iou))

    def absent_names(self, things: list[Thing], rng: np.random.Generator, count: int) -> list[str]:
        """Return names that are true of nothing in the scene."""
        found: list[str] = []
        for _ in range(count * 4):
            if len(found) == count:
                break
            if things and things[0].kind is not None:
                names = self.imagination.choose(rng).names
                name = names[rng.integers(min(3, len(names)))]
            else:
                name = self.vocabulary[rng.integers(len(self.vocabulary))]
            if not any(self.is_named(t, name) or self.is_unsure(t, name) for t in things):
                found.append(name)
        return found

    def present_name(self, thing: Thing, rng: np.random.Generator) -> str:
        """Return one of the names of a thing, its own more often."""
        return (
            thing.names[0]
            if rng.random() < 0.6
            else thing.names[rng.integers(min(6, len(thing.names)))]
        )

    def _queries(
        self, scene: Scene, things: list[Thing], owner, iou, rng: np.random.Generator
    ) -> list[Query]:
        queries = []
        distinct = list({t.names[0]: t for t in things}.values())
        for index in rng.permutation(len(distinct))[:5]:
            queries.append(
                self.name_query(self.present_name(distinct[index], rng), things, owner, iou)
            )
        queries += [
            self.name_query(n, things, owner, iou) for n in self.absent_names(things, rng, 4)
        ]
        expressions = language.referring(scene, rng)
        for index in rng.permutation(len(expressions))[:3]:
            text, target = expressions[index]
            positive = np.arange(len(things)) == target
            queries.append(
                Query(text, self._targets(positive, np.zeros(len(things), bool), owner, iou))
            )
        return [queries[i] for i in rng.permutation(len(queries))]

    def _turns(
        self, scene: Scene, things: list[Thing], owner, iou, boxes, rng: np.random.Generator
    ) -> list[Dialogue]:
        matched = {}  # object -> its region with the highest IoU
        for region in np.argsort(iou, kind="stable"):
            if iou[region] >= MATCH:
                matched[int(owner[region])] = int(region)
        turns = []
        share = np.array(list(TURNS.values())) / sum(TURNS.values())
        for kind in rng.choice(list(TURNS), TURNS_PER_SCENE, p=share):
            if kind == "relate":
                turn = self._relate(scene, things, matched, boxes, rng)
            else:
                turn = getattr(self, f"_{kind}")(scene, things, matched, owner, iou, rng)
            if turn is not None:
                general = kind in ("is", "relate")
                turns.append(Dialogue((turn,), "general" if general else str(kind)))
        return turns

    def _describe(self, scene, things, matched, owner, iou, rng):
        if not matched:
            return None
        objects = rng.permutation(list(matched))[:1]
        target = things[objects[0]]
        colour = f"{target.colour} " if target.colour and rng.random() < 0.8 else ""
        name = f"{colour}{target.names[0]}"
        return prompts.describe([matched[o] for o in objects]), language.article(name)

    def _regions_of(self, name, things, owner, iou) -> list[int]:
        return [
            int(r) for r in np.flatnonzero(self.name_query(name, things, owner, iou).targets == 1)
        ]

    def _listing(self, name, things, owner, iou) -> str:
        return _written(name, self._regions_of(name, things, owner, iou))

    def _detect(self, scene, things, matched, owner, iou, rng):
        distinct = list({t.names[0]: t for t in things}.values())
        names = [
            self.present_name(distinct[i], rng)
            for i in rng.permutation(len(distinct))[: rng.integers(1, DETECTED + 1)]
        ]
        names += self.absent_names(things, rng, int(rng.integers(DETECTED)))
        names = list(dict.fromkeys(names[i] for i in rng.permutation(len(names))))
        if not names:
            return None
        return prompts.detect(names), "".join(self._listing(n, things, owner, iou) for n in names)

    def _count(self, scene, things, matched, owner, iou, rng):
        name = things[rng.integers(len(things))].names[0]
        if rng.random() < 0.2:
            name = next(iter(self.absent_names(things, rng, 1)), name)
        number = sum(self.is_named(t, name) for t in things)
        return prompts.count(name), f"{self._listing(name, things, owner, iou)} {number}"

    def _is(self, scene, things, matched, owner, iou, rng):
        present = rng.random() < 0.5
        names = (
            [things[rng.integers(len(things))].names[0]]
            if present
            else self.absent_names(things, rng, 1)
        )
        if not names:
            return None
        return f"Is there {language.article(names[0])} in this image?", "yes" if present else "no"

    def _refer(self, scene, things, matched, owner, iou, rng):
        expressions = [e for e in language.referring(scene, rng) if e[1] in matched]
        if not expressions:
            return None
        text, target = expressions[rng.integers(len(expressions))]
        return prompts.refer(text), _written(text, [matched[target]])

    def _similar(self, scene, things, matched, owner, iou, rng):
        if not matched:
            return None
        shown = things[rng.choice(list(matched))]
        regions = self._regions_of(shown.names[0], things, owner, iou)
        if not regions:
            return None
        example = int(rng.choice(regions))
        others = [r for r in regions if r != example]
        return prompts.similar(example), _written(shown.names[0], others)

    def _relate(self, scene, things, matched, boxes, rng):
        objects = rng.permutation(list(matched)).tolist()
        regions, names = [matched[o] for o in objects], [things[o].names[0] for o in objects]
        size = (scene.image.height, scene.image.width)
        asked = relation_questions(boxes[regions], names, names, size, rng)
        if not asked:
            return None
        one = asked[rng.integers(len(asked))]
        numbers = dict(enumerate(regions))
        return tags.renumber(one.text, numbers), tags.renumber(one.answer, numbers)


def _written(name: str, regions: Iterable[int]) -> str:
    listed = "".join(tags.region_token(int(r)) for r in regions) or tags.NONE_TEXT.lower()
    return f"{layout.query_branch(name)}{listed}{tags.OBJECTS_CLOSE}"


def _sized(record: dict[str, Any]) -> Scene:
    # Language needs the size of the picture only, and the cache does not keep the picture.
    return replace(record["scene"], image=Image.new("1", record["size"]))


def _renamed(scene: Scene, things: Sequence[Thing]) -> Scene:
    """Return a scene whose objects are called what the things are, and have no colour."""
    objects = tuple(
        replace(o, name=t.names[0], names=t.names[:4], unsure=(), colour="")
        for o, t in zip(scene.objects, things, strict=True)
    )
    return replace(scene, objects=objects)


def _region_names(
    things: list[Thing], owner: np.ndarray, iou: np.ndarray
) -> tuple[tuple[str, ...], ...]:
    return tuple(things[o].names if v >= MATCH else () for o, v in zip(owner, iou, strict=True))


def _drawn(found: SceneObject) -> Thing:
    return Thing(found.names, found.unsure, None, found.colour)
