"""Arms: how a model is told where things are, and how it says so. All answer the same questions about the same scenes.

    digits      05122033                       what stands in a list for a box
    bins        four of 100 location tokens
    regions     <region7>

Location tokens are the vocabulary's index tokens, which mean shares of the picture's sides there. Whatever an arm has
beside the picture stands behind it: regions, a grid of tokens from the auxiliary map, or proposals written out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from hosts import NO_PICTURE, Cells
from numpy.random import Generator
from scenes import JITTERS, Seen

from fo1.data.collator import Collator
from fo1.data.sample import Dialogue, Sample
from fo1.geometry import Boxes, box_iou
from fo1.layout import answer_turn, query_branch, question_branch
from fo1.ordering import region_order
from fo1.tags import NONE_TEXT, OBJECTS_CLOSE, OBJECTS_OPEN, region_token, regions_in

Notation = Literal["digits", "bins", "regions"]
Beside = Literal["nothing", "auxiliary", "proposals"]
Absent = Literal["none", "silence", "unasked"]
Source = Literal["true", "moved .1", "moved .2", "moved .3", "others", "proposals"]
"""True boxes; with edges moved by up to a share of the sides; with boxes of nothing beside them; proposals."""
STEPS = 100
"""Values of a coordinate."""
MOST = (0, 24)
"""Proposals of a training sample, shown as regions or written."""
SOURCES: tuple[Source, ...] = ("others", "moved .1", "proposals", "proposals")
"""Of the boxes of training samples, equally often."""
MATCH = 0.5
"""IoU from which a proposal stands for a thing; the best one does."""
NAMED = 5
"""Boxes of a training sample whose name is asked, at most; beside them all names are."""


@dataclass(frozen=True)
class Arm:
    """One way.

    Attributes:
        notation: of boxes.
        beside: what the model has beside the picture, where it has no regions.
        absent: what is learned about names that are not there: to write none, to write nothing, or not a thing.
        regions: settings of the region encoder that differ from the usual ones.
        axes: of the auxiliary features that are read, largest spread first.
        pointer: whether index tokens are written by pointing.
    """

    notation: Notation
    beside: Beside = "nothing"
    absent: Absent = "none"
    regions: Mapping[str, Any] = field(default_factory=dict[str, Any])
    axes: int = 512
    pointer: bool = True

    @property
    def by_region(self) -> bool:
        """Whether boxes are named by region."""
        return self.notation == "regions"


@dataclass(frozen=True, slots=True, eq=False)
class Asked(Sample):
    """A sample with a text that stands before all its dialogues."""

    preface: str = ""


@dataclass(frozen=True, eq=False)
class Shown:
    """A scene as an arm is shown it.

    Attributes:
        scene: what there is.
        boxes: (N, 4) that can be named; the true boxes where coordinates are written.
        members: (M,) which of them stands for a thing, -1 if none does.
        sample: without dialogues.
    """

    scene: Seen
    boxes: Boxes
    members: np.ndarray
    sample: Asked


def choose(scene: Seen, source: Source, ranks: tuple[int, int]) -> tuple[np.ndarray, Boxes]:
    """Return the places of some regions of a scene, in rows from the top, and their boxes (N, 4).

    Args:
        scene: with its regions.
        source: of the regions.
        ranks: first and end of the proposals, best first.
    """
    if source == "proposals":
        places = scene.of_kind("proposal")[slice(*ranks)]
    elif source.startswith("moved"):
        places = scene.of_kind("jitter", JITTERS.index(float(source.split()[1])))
    else:
        places = scene.of_kind("true")
    if source not in ("true", "proposals"):
        places = np.concatenate([places, scene.of_kind("other")])
    boxes = scene.boxes[places]
    order = region_order(1000 * boxes, np.ones(len(boxes)), "raster", (1000, 1000))
    return places[order], boxes[order]


def stand_for(boxes: Boxes, objects: Boxes) -> np.ndarray:
    """Return (M,) the box that stands for each object, -1 if none does."""
    if not len(boxes):
        return np.full(len(objects), -1)
    overlap = box_iou(boxes, objects)
    return np.where(overlap.max(0) >= MATCH, overlap.argmax(0), -1)


def show(arm: Arm, scene: Seen, places: np.ndarray, boxes: Boxes) -> Shown:
    """Return a scene as an arm is shown it, with some of its regions or proposals."""
    own = np.zeros(0, np.int64)
    preface = ""
    if arm.by_region:
        own = places
    elif arm.beside == "auxiliary":
        own = scene.of_kind("grid")
    elif arm.beside == "proposals":
        preface = "".join(write_box(box, arm.notation) for box in boxes) + "\n"
    features = scene.features[own, : arm.axes].float()
    sample = Asked(
        key="scene",
        images=(Cells(scene.cells),),  # type: ignore[arg-type]
        boxes=(scene.boxes[own],),
        features=features,
        preface=preface,
    )
    if arm.by_region:
        return Shown(scene, boxes, stand_for(boxes, scene.objects), sample)
    order = region_order(1000 * scene.objects, np.ones(len(scene.objects)), "raster", (1000, 1000))
    members = np.argsort(order)
    return Shown(scene, scene.objects[order], members, sample)


@dataclass(frozen=True, eq=False)
class Draw:
    """Draws an arm's samples by their number.

    Args:
        arm: of the samples.
        scenes: that are shown.
        names: that may be asked.
        seed: of what is drawn.
    """

    arm: Arm
    scenes: Sequence[Seen]
    names: Sequence[str]
    seed: int

    def __call__(self, index: int) -> Sample:
        """Return sample `index`."""
        rng = np.random.default_rng([self.seed, index])
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        source = SOURCES[int(rng.integers(len(SOURCES)))]
        shown = show(self.arm, scene, *choose(scene, source, MOST))
        dialogues = [
            *(self._list(shown, name) for name in self._asked(scene, rng)),
            *self._names(shown, rng),
        ]
        return replace(shown.sample, dialogues=tuple(dialogues))

    def _asked(self, scene: Seen, rng: Generator) -> list[str]:
        there = sorted(set(scene.names))
        absent = [name for name in self.names if name not in there]
        asked = there if self.arm.absent == "unasked" else [*there, *absent]
        return [asked[int(i)] for i in rng.permutation(len(asked))]

    def _list(self, shown: Shown, name: str) -> Dialogue:
        return Dialogue(((question(name, self.arm), self._answer(shown, name)),), "detect")

    def _answer(self, shown: Shown, name: str) -> str:
        pairs = zip(shown.members, shown.scene.names, strict=True)
        members = sorted({int(place) for place, own in pairs if own == name and place >= 0})
        if not members and self.arm.absent == "silence":
            return ""
        written = "".join(reference(shown, place, self.arm) for place in members)
        return f"{query_branch(name)}{written or NONE_TEXT}{OBJECTS_CLOSE}"

    def _names(self, shown: Shown, rng: Generator) -> list[Dialogue]:
        pairs = zip(shown.members, shown.scene.names, strict=True)
        known = [(int(place), name) for place, name in pairs if place >= 0]
        chosen = [known[int(i)] for i in rng.permutation(len(known))[:NAMED]]
        return [
            Dialogue(((question(reference(shown, place, self.arm), self.arm), name),), "describe")
            for place, name in chosen
        ]


@dataclass(frozen=True, eq=False)
class Tables:
    """Draws samples whose boxes stand for words, and questions about them: what a host knows of looking things up.

    Written boxes are followed by a name each. Regions are of no picture and look like their names (`hosts.Copying`).

    Args:
        notation: of the boxes.
        names: that stand in tables.
        seed: of what is drawn.
    """

    notation: Notation
    names: Sequence[str]
    seed: int

    def __call__(self, index: int) -> Sample:
        """Return sample `index`."""
        rng = np.random.default_rng([self.seed, index])
        arm = Arm(self.notation)
        count = int(rng.integers(3, 17 if arm.by_region else 9))
        kinds = rng.choice(len(self.names), int(rng.integers(2, 4)), replace=False)
        own = [self.names[int(k)] for k in rng.choice(kinds, count)]
        if arm.by_region:  # as many regions show nothing
            own = [name if rng.random() < 0.5 else "" for name in own]
        low = rng.uniform(0, 0.7, (count, 2))
        boxes = np.concatenate([low, low + rng.uniform(0.1, 0.3, (count, 2))], 1)
        written = [
            region_token(place) if arm.by_region else write_box(box, self.notation)
            for place, box in enumerate(boxes)
        ]
        lists = {
            name: "".join(one for one, other in zip(written, own, strict=True) if other == name)
            for name in self.names
        }
        asked = [name for name in self.names if lists[name] or arm.by_region]
        named = [place for place, name in enumerate(own) if name]
        dialogues = [
            *(
                (name, f"{query_branch(name)}{lists[name] or NONE_TEXT}{OBJECTS_CLOSE}", "detect")
                for name in asked
            ),
            *(
                (written[named[int(k)]], own[named[int(k)]], "describe")
                for k in rng.permutation(len(named))[:NAMED]
            ),
        ]
        table = "".join(f"{one}{name}" for one, name in zip(written, own, strict=True)) + "\n"
        return Asked(
            key="table",
            images=(NO_PICTURE,) if arm.by_region else (),  # type: ignore[arg-type]
            boxes=(boxes.astype(np.float32),) if arm.by_region else (),
            dialogues=tuple(
                Dialogue(((question(text, arm), answer),), task) for text, answer, task in dialogues
            ),
            names=tuple((name,) if name else () for name in own) if arm.by_region else (),
            features=torch.zeros(count, 0) if arm.by_region else None,
            preface="" if arm.by_region else table,
        )


@dataclass(frozen=True, eq=False)
class Turns:
    """Draws from several sources in turn."""

    draws: Sequence[Callable[[int], Sample]]

    def __call__(self, index: int) -> Sample:
        """Return sample `index`."""
        return self.draws[index % len(self.draws)](index)


class ArmCollator(Collator):
    """Makes batches of samples with a preface; an answer may hold index tokens that mean no region."""

    def _scene(
        self, sample: Sample, picture_texts: Sequence[str], task_names: Sequence[str]
    ) -> Any:
        scene = super()._scene(replace(sample, dialogues=()), picture_texts, task_names)
        before = self.processor.token_ids(sample.preface if isinstance(sample, Asked) else "")
        scene.ids.extend(before)
        for marks, mark in ((scene.branch, -1), (scene.labels, -100), (scene.tasks, -1)):
            marks.extend([mark] * len(before))
        scene.words.extend([False] * len(before))
        for dialogue in sample.dialogues:
            branch, labels = self._dialogue(dialogue, scene.index, sample)
            task = task_names.index(dialogue.task)
            self._append(scene, branch, labels, [False] * len(branch), task)
        return scene

    def _dialogue(
        self, dialogue: Dialogue, index: list[int], sample: Sample
    ) -> tuple[list[int], list[int]]:
        ((asked, answer),) = dialogue.turns
        opening = self.processor.token_ids(question_branch(asked))
        told = self.processor.token_ids(answer_turn(answer))
        return opening + told, [-100] * len(opening) + told


def question(text: str, arm: Arm) -> str:
    """Return the question about a name or a box; the notation of the answer stands first."""
    return f"{arm.notation} {text}"


def reference(shown: Shown, place: int, arm: Arm) -> str:
    """Return what stands for a box in questions and answers."""
    return region_token(place) if arm.by_region else write_box(shown.boxes[place], arm.notation)


def write_box(box: np.ndarray, notation: Notation) -> str:
    """Return a box (4,) in coordinates."""
    values = (box.clip(0, 1) * (STEPS - 1)).round().astype(int).tolist()
    return "".join(region_token(v) if notation == "bins" else f"{v:02d}" for v in values)


def read_boxes(text: str, arm: Arm, boxes: Boxes) -> Boxes:
    """Return the boxes (K, 4) that an answer lists; what is cut off or inside out is no box."""
    inside = re.search(re.escape(OBJECTS_OPEN) + "(.*?)(?:</|$)", text, re.DOTALL)
    listed = inside.group(1) if inside else ""
    if arm.by_region:
        return boxes[[r for r in dict.fromkeys(regions_in(listed)) if r < len(boxes)]]
    values = regions_in(listed) if arm.notation == "bins" else re.findall("[0-9]{2}", listed)
    whole = len(values) - len(values) % 4
    found = np.array(values[:whole], dtype=np.float32).reshape(-1, 4) / (STEPS - 1)
    return found[(found[:, 2:] > found[:, :2]).all(1)]
