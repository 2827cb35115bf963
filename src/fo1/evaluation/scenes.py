"""Measures a model on drawn scenes of a lineage it was not trained on, each figure by its floors.

    python -m fo1.evaluation.scenes --model DIR --lineage twemoji --scenes 200 --seed 9001 --out DIR
    ... --held-out-concepts    draws things whose names were never trained, apart from the others

Naming, detection, referring, counting, absent names and probabilities come from the score head;
descriptions and lists that are written word by word are measured on the first `--written` scenes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fo1.data.pictures import PicturePack
from fo1.data.scenes import HELD_OUT_LINEAGE, SceneGenerator
from fo1.evaluation import judging, report, writing
from fo1.evaluation.cases import Case, make_case
from fo1.evaluation.floors import shuffled, text_only
from fo1.evaluation.metrics import RESAMPLES, resampling
from fo1.evaluation.ranking import rank
from fo1.evaluation.report import Table
from fo1.evaluation.scene_tables import (
    BLANK,
    CEILING,
    CENTRED,
    MODEL,
    OWN,
    OWN_SHUFFLED,
    SHUFFLED,
    Measurement,
    tables,
)
from fo1.geometry import Boxes, box_iou
from fo1.pipeline import DEFAULT_THRESHOLD, FO1, Request, Scene
from fo1.prompts import Task


class Runner:
    """Asks one model about scene after scene.

    Args:
        model: with a score head.
        generator: draws the scenes.
        names: what every true box is called one of.
        seed: of scenes, questions and ties.
        proposer: where the model's own boxes come from; its default if None.
        written: on how many scenes written answers are measured.
    """

    def __init__(
        self,
        model: FO1,
        generator: SceneGenerator,
        names: Sequence[str],
        *,
        seed: int,
        proposer: str | None = None,
        written: int = 0,
    ) -> None:
        self.model, self.generator, self.seed = model, generator, seed
        self.proposer, self.written = proposer, written
        self.measured = Measurement(tuple(names))

    def step(self, index: int) -> None:
        """Draws scene `index`, asks about it and adds what came back."""
        drawn = self.generator(self.seed, index)
        case = make_case(drawn, self.generator.concepts.values(), self.seed)
        rng = np.random.default_rng([self.seed, index, 2])
        self.measured.cases.append(case)
        self._true_boxes(index, case, drawn.image, rng)
        self._own_boxes(index, case, drawn.image, rng)

    def _true_boxes(
        self, index: int, case: Case, image: Image.Image, rng: np.random.Generator
    ) -> None:
        names = self.measured.names
        scene = self.model.encode(image, case.boxes)
        mixed = shuffled(scene, rng)
        for who, asked in ((MODEL, scene), (SHUFFLED, mixed), (BLANK, text_only(scene))):
            queries = tuple(dict.fromkeys((*names, *case.queries)))
            table = asked.scores(queries)  # (N, K)
            column = {query: table[:, place] for place, query in enumerate(queries)}
            judged = self.measured.of(who)
            judged.judge_naming(index, case, table[:, : len(names)], names, rng)
            judged.judge_boxes(index, case, case.boxes, column, rng, DEFAULT_THRESHOLD)
            judged.judge_chances(index, case, column)
        centred = centred_boxes(*image.size)
        same = dict.fromkeys(case.queries, np.ones(len(centred)))
        self.measured.of(CENTRED).judge_boxes(index, case, centred, same, rng, DEFAULT_THRESHOLD)
        if index < self.written:
            for who, asked in ((MODEL, scene), (SHUFFLED, mixed)):
                judge = self.measured.written.setdefault(who, writing.Written())
                judge.add(index, case, asked)

    def _own_boxes(
        self, index: int, case: Case, image: Image.Image, rng: np.random.Generator
    ) -> None:
        scene = self.model.encode(image, proposer=self.proposer)
        self.measured.proposer = scene.proposer
        for who, asked in ((OWN, scene), (OWN_SHUFFLED, shuffled(scene, rng))):
            column = found_scores(asked, case)
            self.measured.of(who).judge_boxes(
                index, case, scene.regions, column, rng, DEFAULT_THRESHOLD
            )
        ceiling = self.measured.of(CEILING)
        for name in case.names:
            truth, unsure = case.truth(name)
            overlap = box_iou(scene.regions, truth).max(1, initial=0.0)
            judged = rank(scene.regions, overlap, truth, unsure, index)
            ceiling.rankings.setdefault(name, []).append(judged)
        true = np.array([thing.box for thing in case.objects], np.float32)
        hit = box_iou(true, scene.regions).max(1, initial=0.0) >= judging.FOUND_IOU
        self.measured.recall.append((int(hit.sum()), len(hit)))


def found_scores(scene: Scene, case: Case) -> dict[str, npt.NDArray[np.float64]]:
    """Return per query (N,) the score that the model's own verbs give a region, -1 for none."""
    names = tuple(dict.fromkeys((*case.names, *(noun for noun, _ in case.counts))))
    texts = tuple(text for text, _ in case.expressions)
    column = {query: np.full(len(scene), -1.0) for query in case.queries}
    for task, asked in ((Task.DETECT, names), (Task.REFER, texts)):
        if asked:
            request = Request(task=task, queries=asked, threshold=0.0)
            for item in scene.answer(request).detections:
                column[item.label][item.region] = item.score
    return column


def centred_boxes(width: int, height: int) -> Boxes:
    """Return four boxes around the middle: 100, 75, 50 and 25 % of each side."""
    shares = np.array([[1], [0.75], [0.5], [0.25]]) * [[-1, -1, 1, 1]]
    return ((shares + 1) / 2 * [width, height, width, height]).astype(np.float32)


def run(
    model: FO1,
    pack: PicturePack,
    *,
    lineage: str = HELD_OUT_LINEAGE,
    scenes: int = 200,
    seed: int = 9001,
    held_out_concepts: bool = False,
    proposer: str | None = None,
    written: int = 20,
    resamples: int = RESAMPLES,
    size: tuple[int, int] = (256, 640),
) -> tuple[Measurement, list[Table]]:
    """Return all judgements and the tables made of them.

    Args:
        model: with a score head.
        pack: the drawings.
        lineage: drawing lineage of the scenes.
        scenes: how many.
        seed: of the scenes.
        held_out_concepts: draw only things whose names were kept out of training.
        proposer: where the model's own boxes come from; its default if None.
        written: on how many scenes written answers are measured.
        resamples: of the pictures, for the intervals.
        size: shortest and longest long side of a scene, pixels.
    """
    known = [concept.name for concept in pack.concepts.values() if not concept.held_out]
    unknown = [concept.name for concept in pack.concepts.values() if concept.held_out]
    slugs = {info.concept for info in pack.select(lineages=[lineage])}
    chosen = sorted(slugs & pack.held_out if held_out_concepts else slugs - pack.held_out)
    # Rendered solids look the same in every lineage, so they would not be held out.
    generator = SceneGenerator(pack, lineages=[lineage], concepts=chosen, size=size, solids=0)
    names = dict.fromkeys(known + unknown if held_out_concepts else known)
    runner = Runner(model, generator, tuple(names), seed=seed, proposer=proposer, written=written)
    for index in range(scenes):
        runner.step(index)
    weights = resampling(scenes, resamples)
    return runner.measured, tables(runner.measured, weights)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m fo1.evaluation.scenes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="nano", help="folder or name; default nano")
    parser.add_argument("--lineage", default=HELD_OUT_LINEAGE)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=9001)
    parser.add_argument("--held-out-concepts", action="store_true")
    parser.add_argument("--proposer", help="of the model's own boxes; default: the model's")
    parser.add_argument("--written", type=int, default=20, help="scenes with written answers")
    parser.add_argument("--pack", type=Path, help="picture pack; default that of the checkout")
    parser.add_argument("--out", type=Path, required=True, help="folder for .md and .json")
    options = parser.parse_args(arguments)
    model = FO1.from_pretrained(options.model)
    measured, found = run(
        model,
        PicturePack.open(options.pack),
        lineage=options.lineage,
        scenes=options.scenes,
        seed=options.seed,
        held_out_concepts=options.held_out_concepts,
        proposer=options.proposer,
        written=options.written,
    )
    concepts = "held-out concepts" if options.held_out_concepts else "seen concepts"
    facts = [
        f"{options.scenes} scenes of seed {options.seed}, lineage {options.lineage}, {concepts}, "
        f"{sum(len(case.objects) for case in measured.cases)} things, "
        f"{sum(len(case.boxes) - len(case.objects) for case in measured.cases)} distractors",
        *report.circumstances("fo1.evaluation.scenes", arguments),
    ]
    name = f"scenes-{options.lineage}{'-held-out-concepts' if options.held_out_concepts else ''}"
    heading = f"{model.name} on scenes of the lineage {options.lineage}, {concepts}"
    text = report.write(found, heading=heading, facts=facts, out=options.out, name=name)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
