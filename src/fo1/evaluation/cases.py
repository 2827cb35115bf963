"""What is asked about a drawn scene, and what is true.

Legend: N boxes (objects and distractors, in random order), O objects.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fo1.data import language
from fo1.data.pictures import Concept
from fo1.data.scenes import Scene, SceneObject
from fo1.geometry import Boxes

ABSENT = 5
EXPRESSIONS = 3
COUNTS = 3
NO_OBJECT = -1


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
    def queries(self) -> tuple[str, ...]:
        """Everything that is asked but naming, each once."""
        asked = [*self.names, *(text for text, _ in self.expressions), *(n for n, _ in self.counts)]
        return tuple(dict.fromkeys(asked))

    def meant(self, name: str) -> npt.NDArray[np.bool_]:
        """Return (O,) whether a name is true of each object."""
        return np.array([name in thing.names for thing in self.objects], bool)

    def unsure(self, name: str) -> npt.NDArray[np.bool_]:
        """Return (O,) whether a name is neither true nor false of each object."""
        doubtful = [name in thing.unsure for thing in self.objects]
        return np.array(doubtful, bool) & ~self.meant(name)

    def truth(self, name: str) -> tuple[Boxes, Boxes]:
        """Return the boxes that a name means and those where it is neither right nor wrong."""
        true = np.array([thing.box for thing in self.objects], np.float32).reshape(-1, 4)
        return true[self.meant(name)], true[self.unsure(name)]

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
        scores: (K,) of one region.
        names: K names, the thing's own among them.
        thing: what the region shows.
        rng: decides ties.
    """
    rivals = rival_names(names, thing)
    own = scores[names.index(thing.name)]
    ties = int((scores[rivals] == own).sum())
    return int((scores[rivals] > own).sum()) + int(rng.integers(ties + 1))


def rival_names(names: Sequence[str], thing: SceneObject) -> npt.NDArray[np.int64]:
    """Return the indices of the names that would be wrong for a thing."""
    open_names = {*thing.names, *thing.unsure}
    return np.array([i for i, name in enumerate(names) if name not in open_names], np.int64)
