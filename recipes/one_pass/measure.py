"""Measures all ways of asking on scenes that training never saw, and makes the table of docs/one_pass.md.

Legend: P scenes, N regions, K names, L pairs of region and name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from crowds import KINDS, Crowd
from tqdm import tqdm
from train import asked_of, targets
from ways import WAYS, Read, Scene

from fo1.data.sample import UNKNOWN
from fo1.evaluation.metrics.estimates import brier_skill, estimate, f1, ratio, resampling
from fo1.evaluation.metrics.ranking import average_precision, rank
from fo1.formats.markdown import table
from fo1.pipeline.engine import Engine

RESAMPLES = 200
THRESHOLDS = np.linspace(0.02, 0.98, 49)
HEADER = (
    *("lists", "way", "AP", "F1", "false per absent name", "Brier skill"),
    *("passes", "ms", "changed by renumbering"),
)


@dataclass(eq=False)
class Seen:
    """What one way said of all scenes, pair by pair."""

    scores: list[np.ndarray] = field(default_factory=list)  # per scene (N, K)
    again: list[np.ndarray] = field(default_factory=list)  # the same with regions renumbered
    passes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, read: Read, again: Read, order: np.ndarray) -> None:
        """Take in one scene; `again` has region `order[i]` at place i."""
        back = np.empty_like(again.scores)
        back[order] = again.scores
        self.scores.append(read.scores)
        self.again.append(back)
        self.passes.append(read.passes)
        self.seconds.append(read.seconds)


@dataclass(frozen=True, eq=False)
class Questions:
    """Scenes and the names that are asked in each, half of them absent."""

    crowds: Sequence[Crowd]
    names: Sequence[Sequence[str]]
    targets: Sequence[np.ndarray]  # per scene (N, K)

    @classmethod
    def of(cls, crowds: Sequence[Crowd], vocabulary: list[str]) -> "Questions":
        """Return the same questions for the same scenes."""
        rngs = [np.random.default_rng([9, place]) for place in range(len(crowds))]
        names = [asked_of(one, vocabulary, rng) for one, rng in zip(crowds, rngs, strict=True)]
        known = [
            np.stack([targets(one, name) for name in own], 1)
            for one, own in zip(crowds, names, strict=True)
        ]
        return cls(crowds, names, known)


def ask(engine: Engine, questions: Questions, label: str) -> dict[str, Seen]:
    """Return what every way says."""
    seen = {way: Seen() for way in WAYS}
    pairs = zip(questions.crowds, questions.names, strict=True)
    for place, (crowd, names) in enumerate(tqdm(pairs, desc=label, total=len(questions.crowds))):
        order = np.random.default_rng([8, place]).permutation(len(crowd.boxes))
        scenes = [
            Scene(engine, engine.encode(one.image, one.boxes), names)
            for one in (crowd, crowd.permuted(order))
        ]
        texts = {}
        for way, run in WAYS.items():
            read, again = (scene.timed(run) for scene in scenes)
            seen[way].add(read, again, order)
            texts[way] = read.scores > 0
        if (texts["greedy"] != texts["greedy, drafted"]).any():
            raise SystemExit(f"scene {place}: drafts changed what was written")
    return seen


def average(questions: Questions, scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return (R,) AP at IoU 0.5 to 0.95, mean over names; pairs of score 0 are no detections."""
    rankings: dict[str, list] = {}
    empty = np.zeros((0, 4), np.float32)
    for place, (crowd, names) in enumerate(zip(questions.crowds, questions.names, strict=True)):
        for column, name in enumerate(names):
            own = scores[place][:, column]
            said = own > 0
            truth = crowd.objects[[label == name for label in crowd.names]]
            found = rank(crowd.boxes[said], own[said], truth, empty, place)
            rankings.setdefault(name, []).append(found)
    there = [own for own in rankings.values() if sum(one.positives for one in own)]
    return np.nanmean([average_precision(own, weights).mean(0) for own in there], 0)


def pairs_of(
    questions: Questions, scores: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (L,) scores, truths and scenes of all pairs of which the truth is known."""
    parts = [
        (own[known != UNKNOWN], known[known != UNKNOWN], np.full((known != UNKNOWN).sum(), place))
        for place, (own, known) in enumerate(zip(scores, questions.targets, strict=True))
    ]
    chances, truths, places = (np.concatenate(part) for part in zip(*parts, strict=True))
    return chances, truths > 0, places


def best_threshold(questions: Questions, scores: Sequence[np.ndarray]) -> float:
    """Return the threshold of best F1 over all pairs."""
    chances, truths, _ = pairs_of(questions, scores)
    figures = [
        2 * (truths & (chances >= t)).sum() / max(1, truths.sum() + (chances >= t).sum())
        for t in THRESHOLDS
    ]
    return float(THRESHOLDS[int(np.argmax(figures))])


def bounds(questions: Questions) -> dict[str, Seen]:
    """Return what chance says, what is said by who knows which names are there and nothing else, and the truth."""
    rng = np.random.default_rng(7)
    found = {"chance": Seen(), "presence alone": Seen(), "truth": Seen()}
    for known in questions.targets:
        drawn = rng.random(known.shape)
        there = (known.max(0) > 0)[None]
        found["chance"].scores.append(drawn)
        found["presence alone"].scores.append((there + drawn) / 2)
        found["truth"].scores.append(0.999 * (known > 0) + 0.001 * drawn)
    for seen in found.values():
        seen.again, seen.passes, seen.seconds = seen.scores, [0], [0.0]
    return found


def row_of(style: str, way: str, test: Questions, seen: Seen, threshold: float) -> list[str]:
    """Return one row of the table."""
    count = len(test.crowds)
    weights = resampling(count, RESAMPLES)
    chances, truths, places = pairs_of(test, seen.scores)
    said = chances >= threshold
    per_scene = [
        np.bincount(places, kind, minlength=count) for kind in (said & truths, said, truths)
    ]
    wrong = [
        int((own[:, known.max(0) <= 0] >= threshold).sum())
        for own, known in zip(seen.scores, test.targets, strict=True)
    ]
    absent = [int((known.max(0) <= 0).sum()) for known in test.targets]
    changed = [
        float(((one >= threshold) != (other >= threshold)).mean() * 100)
        for one, other in zip(seen.scores, seen.again, strict=True)
    ]
    return [
        style,
        way,
        estimate(100 * average(test, seen.scores, weights)).show(1),
        estimate(100 * f1(*per_scene, weights)).show(1),
        estimate(ratio(wrong, absent, weights)).show(2),
        estimate(brier_skill(chances, truths, places, weights)).show(2),
        f"{np.mean(seen.passes):.1f}",
        f"{1000 * median(seen.seconds):.1f}",
        f"{np.mean(changed):.2f} %",
    ]


def report(
    engines: Mapping[str, Engine],
    vocabulary: list[str],
    validation: Sequence[Crowd],
    test: Sequence[Crowd],
) -> str:
    """Return the table as Markdown; thresholds come from the validation scenes."""
    kept, asked = Questions.of(validation, vocabulary), Questions.of(test, vocabulary)
    rows: list[list[str]] = []
    for style, engine in engines.items():
        tuned = ask(engine, kept, f"{style}, thresholds")
        for way, seen in ask(engine, asked, f"{style}, test").items():
            threshold = best_threshold(kept, tuned[way].scores)
            rows.append(row_of(style, way, asked, seen, threshold))
    for way, seen in bounds(asked).items():
        rows.append([*row_of("-", way, asked, seen, 0.5)[:-3], "-", "-", "-"])
    pairs = [known != UNKNOWN for known in asked.targets]
    regions = np.mean([len(one.boxes) for one in test])
    there = np.mean([len(one.objects) for one in test])
    head = (
        f"{len(test)} scenes, {regions:.1f} regions and {there:.1f} things of {KINDS} names each; {2 * KINDS} names "
        f"asked of each; {sum(int(p.sum()) for p in pairs)} pairs; thresholds of best F1 on "
        f"{len(validation)} other scenes."
    )
    return f"{head}\n\n{table(HEADER, rows)}"
