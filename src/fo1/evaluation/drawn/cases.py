"""What is asked about a drawn scene, and what is true.

Legend: N boxes (objects and distractors, in random order), O objects, R regions, K names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fo1.data import language
from fo1.data.pictures import Concept
from fo1.data.scenes import Scene, SceneObject
from fo1.geometry import Boxes, box_iou
from fo1.pipeline import Request
from fo1.prompts import Task

ABSENT = 5
EXPRESSIONS = 3
COUNTS = 3
NO_OBJECT = -1
FOUND_IOU = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One scene with its questions.

    Attributes:
        objects: O things of the scene.
        boxes: (N, 4) float32 xyxy, pixels of the scene.
        owner: (N,) the object that a box shows, `NO_OBJECT` for a distractor.
        present: own names of the things, each once.
        absent: names of things that are not there.
        expressions: (referring expression, the one object it means).
        counts: (name, how many).
    """

    objects: tuple[SceneObject, ...]
    boxes: Boxes
    owner: npt.NDArray[np.int64]
    present: tuple[str, ...]
    absent: tuple[str, ...]
    expressions: tuple[tuple[str, int], ...]
    counts: tuple[tuple[str, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All names that are looked for: present ones, then absent ones."""
        return self.present + self.absent

    @property
    def rows(self) -> list[int]:
        """The boxes that show an object."""
        return np.flatnonzero(self.owner != NO_OBJECT).tolist()

    @property
    def true(self) -> Boxes:
        """(O, 4) the boxes of the objects."""
        return np.array([thing.box for thing in self.objects], np.float32).reshape(-1, 4)

    def requests(self, names: Sequence[str] = ()) -> tuple[Request, ...]:
        """Return what is asked; naming among all `names` and descriptions for true boxes alone."""
        asked = [Request(task=Task.DETECT, queries=self.names, threshold=0.0)]
        if self.expressions:
            texts = tuple(text for text, _ in self.expressions)
            asked.append(Request(task=Task.REFER, queries=texts, threshold=0.0))
        asked += [Request(task=Task.COUNT, queries=(noun,)) for noun, _ in self.counts]
        if names:
            asked.append(Request(task=Task.DETECT, queries=tuple(names), threshold=0.0))
            asked.append(Request(task=Task.DESCRIBE, regions=tuple(self.rows)))
        return tuple(asked)

    def meant(self, name: str) -> npt.NDArray[np.bool_]:
        """Return (O,) whether a name is true of each object."""
        return np.array([name in thing.names for thing in self.objects], bool)

    def unsure(self, name: str) -> npt.NDArray[np.bool_]:
        """Return (O,) whether a name is neither true nor false of each object."""
        doubtful = [name in thing.unsure for thing in self.objects]
        return np.array(doubtful, bool) & ~self.meant(name)

    def truth(self, name: str) -> tuple[Boxes, Boxes]:
        """Return the boxes that a name means and those where it is neither right nor wrong."""
        return self.true[self.meant(name)], self.true[self.unsure(name)]

    def shown_by(self, boxes: Boxes) -> npt.NDArray[np.int64]:
        """Return (R,) the object that a region shows best, `NO_OBJECT` below an IoU of 0.5."""
        overlap = box_iou(boxes, self.true)
        return np.where(overlap.max(1) >= FOUND_IOU, overlap.argmax(1), NO_OBJECT)

    def by_name_alone(self, expression: str) -> bool:
        """Return whether an expression is no more than the name of the only thing so called."""
        return int(self.meant(expression.removeprefix("the ")).sum()) == 1


def make_case(scene: Scene, vocabulary: Iterable[Concept], seed: int) -> Case:
    """Return the questions about a scene; the same seed asks the same.

    Args:
        scene: the scene.
        vocabulary: concepts whose names may be asked in vain.
        seed: of the questions; the scene's own number comes into it.
    """
    rng = np.random.default_rng([seed, scene.index, 1])
    rows = [thing.box for thing in scene.objects] + list(scene.distractors)
    owner = np.full(len(rows), NO_OBJECT)
    owner[: len(scene.objects)] = np.arange(len(scene.objects))
    order = rng.permutation(len(rows))
    counted = [(item.noun, item.number) for item in language.counting(scene, rng)]
    return Case(
        objects=scene.objects,
        boxes=np.array(rows, np.float32).reshape(-1, 4)[order],
        owner=owner[order],
        present=tuple(dict.fromkeys(thing.name for thing in scene.objects)),
        absent=tuple(language.absent(scene, rng, ABSENT, vocabulary)),
        expressions=tuple(language.referring(scene, rng)[:EXPRESSIONS]),
        counts=tuple(counted[:COUNTS]),
    )


def naming_rank(
    scores: npt.NDArray[np.floating],
    names: Sequence[str],
    thing: SceneObject,
    rng: np.random.Generator,
) -> int:
    """Return how many names beat a thing's own name, ties at random; 0 is right.

    Other names that are true of the thing, or may be, do not compete.

    Args:
        scores: (K,) of one region, negative for a name that was not said.
        names: K names, the thing's own among them.
        thing: what the region shows.
        rng: decides ties.
    """
    own = scores[names.index(thing.name)]
    if own < 0:
        return len(names)
    rivals = rival_names(names, thing)
    ties = int((scores[rivals] == own).sum())
    return int((scores[rivals] > own).sum()) + int(rng.integers(ties + 1))


def rival_names(names: Sequence[str], thing: SceneObject) -> npt.NDArray[np.int64]:
    """Return the indices of the names that would be wrong for a thing."""
    open_names = {*thing.names, *thing.unsure}
    return np.array([i for i, name in enumerate(names) if name not in open_names], np.int64)
