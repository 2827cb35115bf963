"""Drawn scenes: every task on pictures whose truth is exact, with no file but the picture pack.

Each scene is two examples: one with its true and distractor boxes given, one whose regions are
proposed. Nothing of the scenes' drawing style was seen in training.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from PIL import Image

from fo1.data.pictures import PicturePack
from fo1.data.scenes import HELD_OUT_LINEAGE, SceneGenerator
from fo1.evaluation.drawn import figures as scene_figures
from fo1.evaluation.drawn import floors as scene_floors
from fo1.evaluation.drawn.cases import Case, make_case
from fo1.evaluation.drawn.judging import Judgement, pair_chances
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import Floats
from fo1.evaluation.predicting import one_line
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.task import Chances, EvalTask, Figure, Predictions
from fo1.formats.broken import Broken
from fo1.geometry import Boxes
from fo1.pipeline import Request
from fo1.pipeline.request import Score
from fo1.prompts import Task

SEED = 9001
OWN = "own proposals, "
SHUFFLES = 3


@dataclass(frozen=True, kw_only=True)
class Scenes(EvalTask[Case]):
    """Scenes of things whose names were trained, in a lineage of drawings that was not.

    Figures that begin with "own proposals" are those of proposed regions; the others were asked
    of true and distractor boxes.

    Args:
        names: what every true box is called one of.
    """

    names: tuple[str, ...] = field(default=(), repr=False)

    name: ClassVar[str] = "scenes"
    title: ClassVar[str] = "Drawn scenes, known concepts"
    needs_data: ClassVar[bool] = False
    new_concepts: ClassVar[bool] = False
    scenes: ClassVar[int] = 200
    size: ClassVar[tuple[int, int]] = (256, 640)

    @classmethod
    def load(cls, data: Path | None = None) -> Self:
        """Return the scenes drawn from a picture pack.

        Args:
            data: the pack or its folder; by default that of the checkout.

        Raises:
            InputError: there is no pack; names where it was expected.
        """
        pack = PicturePack.open(data / "pictures.zip" if data and data.is_dir() else data)
        generator = cls.generator(pack)
        known = [concept.name for concept in pack.concepts.values() if not concept.held_out]
        unknown = [concept.name for concept in pack.concepts.values() if concept.held_out]
        names = tuple(dict.fromkeys(known + unknown if cls.new_concepts else known))
        examples: list[Example[Case]] = []
        broken: list[Broken] = []
        for index in range(cls.scenes):
            key = f"scene-{index:05}"
            try:
                drawn = generator(SEED, index)
            except (KeyError, OSError, zipfile.BadZipFile) as error:
                problem = f"a drawing of {pack.path.name} is missing or damaged: {one_line(error)}"
                broken.append(Broken(key, problem))
                continue
            case = make_case(drawn, generator.concepts.values(), SEED)
            image = partial(_draw, generator, index)
            given = Example(key, key, image, case.requests(names), case, case.boxes, image_id=key)
            own = Example(f"{key}/own", key, image, case.requests(), case, image_id=key)
            examples += [given, own]
        return cls(examples=tuple(examples), broken=tuple(broken), files=(pack.path,), names=names)

    @classmethod
    def generator(cls, pack: PicturePack) -> SceneGenerator:
        """Return what draws the scenes."""
        slugs = {info.concept for info in pack.select(lineages=[HELD_OUT_LINEAGE])}
        chosen = sorted(slugs & pack.held_out if cls.new_concepts else slugs - pack.held_out)
        # Rendered solids look the same in every lineage, so they would not be held out.
        return SceneGenerator(
            pack, lineages=[HELD_OUT_LINEAGE], concepts=chosen, size=cls.size, solids=0
        )

    def first(self, limit: int) -> Self:
        """Return the task with its first scenes alone, each asked in both ways."""
        kept = set(self.picture_names[:limit])
        return replace(self, examples=tuple(one for one in self.examples if one.picture in kept))

    def measure(self, predictions: Predictions, weights: Floats) -> list[Figure]:
        """Return the figures of true and distractor boxes, then those of proposed regions."""
        given, own = (scene_figures.figures_of(one, weights) for one in self._judged(predictions))
        return [*given, *_own(own)]

    def bounds(self, predictions: Predictions) -> Mapping[str, Sequence[Predictions]]:
        """Return the same answers dealt anew among the regions."""
        seeds = range(SHUFFLES)
        dealt = [[scene_floors.shuffled(one, seed) for one in predictions] for seed in seeds]
        return {scene_floors.SHUFFLED: dealt}

    def expected(self, predictions: Predictions, weights: Floats) -> Mapping[str, list[Figure]]:
        """Return majority, largest box, chance; for proposed regions fixed boxes and ceilings."""
        asked = self.pairs(predictions)
        cases = [(picture, one.truth) for picture, one, _ in asked if one.boxes is not None]
        proposed = [one for one in asked if one[1].boxes is None]
        own = scene_floors.of_proposals(proposed, weights)
        return {
            **scene_floors.of_true_boxes(cases, self.names, weights),
            **{who: _own(figures) for who, figures in own.items()},
        }

    def chances(self, predictions: Predictions) -> Mapping[Score, Chances]:
        """Return the score head's match of given boxes, and every other score of proposed ones."""
        found: dict[Score, Judgement] = {}
        for picture, example, prediction in self.pairs(predictions):
            said = prediction.said[0]
            for kind, scores in said.evidence.items():
                if (kind == "head") == (example.boxes is not None):
                    scored = replace(said, scores=scores)
                    chance, outcome = pair_chances(example, prediction, scored)
                    returned = chance >= 0
                    row = (picture, chance[returned], outcome[returned])
                    found.setdefault(kind, Judgement()).chances.append(row)
        flat: dict[Score, Chances] = {}
        for kind, judged in found.items():
            chance, outcome, pictures = scene_figures.flat_chances(judged)
            flat[kind] = Chances(pictures, chance, outcome)
        return flat

    def true_boxes(self, example: Example[Case]) -> Boxes | None:
        """Return true and distractor boxes of an example without given ones.

        With these it is the other example of the scene again, so `--floors` need not ask it.
        """
        return example.truth.boxes if example.boxes is None else None

    def perfect(self, example: Example[Case]) -> Prediction:
        """Return every name, expression and count as it is."""
        said = [_true_answer(example.truth, request) for request in example.requests]
        return Prediction.made(example, example.truth.boxes, *said)

    def error(self, example: Example[Case], prediction: Prediction) -> float:
        """Return 1 - F1 of the pairs of name and region that are answers."""
        judged = Judgement()
        judged.add(0, example, prediction)
        _, found, answered, due = judged.pairs[0]
        return 1 - 2 * found / (answered + due)

    def truth_to_draw(self, example: Example[Case]) -> tuple[Boxes, tuple[str, ...]]:
        """Return the things and their names."""
        return example.truth.true, tuple(thing.name for thing in example.truth.objects)

    def _judged(self, predictions: Predictions) -> tuple[Judgement, Judgement]:
        """Return the judgement of given boxes and that of proposed regions."""
        given, own = Judgement(), Judgement()
        for picture, example, prediction in self.pairs(predictions):
            judged = own if example.boxes is None else given
            judged.add(picture, example, prediction)
        return given, own


class ScenesNewConcepts(Scenes):
    """Scenes of things whose names were kept out of training."""

    name: ClassVar[str] = "scenes-new-concepts"
    title: ClassVar[str] = "Drawn scenes, concepts never trained"
    new_concepts: ClassVar[bool] = True


def _draw(generator: SceneGenerator, index: int) -> Image.Image:
    return generator(SEED, index).image


def _own(figures: Sequence[Figure]) -> list[Figure]:
    return [replace(figure, name=f"{OWN}{figure.name}") for figure in figures]


def _true_answer(case: Case, request: Request) -> Said:
    """Return the right answer to one request about given boxes."""
    if request.task is Task.REFER:
        rows = {owner: row for row, owner in enumerate(case.owner.tolist())}
        return Said.found((text, rows[target]) for text, target in case.expressions)
    if request.task is Task.DESCRIBE:
        return Said(texts={row: case.objects[case.owner[row]].name for row in case.rows})
    pairs = [
        (name, row)
        for row in case.rows
        for name in case.objects[case.owner[row]].names
        if name in request.queries
    ]
    return Said.found(pairs, count=len(pairs) if request.task is Task.COUNT else None)
