r"""Measures a model on annotated photographs and writes its detections for the set's own scorer.

    python -m fo1.evaluation.photos --data open.json --model DIR --proposer nanodet+ssd \
        --out predictions.jsonl
    python score.py open.json predictions.jsonl --floors

Every photo is asked for every name of the set's vocabulary, without a threshold, so that the
scorer sees the whole ranking; what it counts as a false positive is decided by score. With
`--proposer true` the regions are the annotated boxes, and naming is measured as well. Nothing may
be tuned on these figures.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fo1.evaluation import judging, metrics, report
from fo1.evaluation.floors import shuffled, text_only
from fo1.evaluation.judging import FOUND_IOU, Judgement
from fo1.evaluation.metrics import RESAMPLES, Floats, estimate, resampling
from fo1.evaluation.photo_set import Photo, PhotoSet, load_photo_set
from fo1.evaluation.report import Table
from fo1.evaluation.writing import is_name
from fo1.geometry import box_area, box_iou
from fo1.imaging import load_image
from fo1.pipeline import DEFAULT_THRESHOLD, FO1, Request, Scene
from fo1.prompts import Task
from fo1.proposals import names as proposer_names
from fo1.results import Detections

TRUE = "true"
"""Proposer of the annotated boxes."""

MODEL, SHUFFLED, BLANK = "model", "names shuffled among the boxes", "text only"


@dataclass(slots=True)
class Measurement:
    """All that was found on a set; every list has one entry per item, its photo first.

    Attributes:
        lines: one JSON line per photo for the scorer.
        named: by contestant (photo, right, true name), for true boxes only.
        described: (photo, description is exactly a name), for true boxes only.
        judged: by contestant referring, counting and presence.
        largest: (photo, the largest region is the one meant).
        chance: (photo, 1 / regions) of every expression.
    """

    lines: list[str] = field(default_factory=list)
    named: dict[str, list[tuple[int, float, str]]] = field(default_factory=dict)
    described: list[tuple[int, float]] = field(default_factory=list)
    judged: dict[str, Judgement] = field(default_factory=dict)
    largest: list[tuple[int, float]] = field(default_factory=list)
    chance: list[tuple[int, float]] = field(default_factory=list)


def measure(model: FO1, photo_set: PhotoSet, proposer: str, *, seed: int = 0) -> Measurement:
    """Return everything a model says about a photo set.

    Args:
        model: with a score head.
        photo_set: the photographs.
        proposer: where boxes come from; "true" for the annotated ones.
        seed: of ties and shuffles.
    """
    result = Measurement()
    for index, photo in enumerate(photo_set.photos):
        rng = np.random.default_rng([seed, index])
        image = load_image(photo.path)
        if proposer == TRUE:
            scene = model.encode(image, photo.boxes)
        else:
            scene = model.encode(image, proposer=proposer)
        found = scene.detect(photo_set.vocabulary, threshold=0.0)
        result.lines.append(prediction_line(photo, found))
        contestants = {MODEL: scene, SHUFFLED: shuffled(scene, rng), BLANK: text_only(scene)}
        for who, asked in contestants.items():
            _questions(index, photo, asked, result.judged.setdefault(who, Judgement()))
            if proposer == TRUE:
                result.named.setdefault(who, []).extend(
                    (index, float(said == true), true)
                    for said, true in zip(
                        best_names(asked, photo_set.vocabulary, rng), photo.labels, strict=True
                    )
                )
        if proposer == TRUE:
            texts = scene.describe(range(len(scene)))
            said = {item.region: item.text for item in texts}
            for row, label in enumerate(photo.labels):
                right = is_name(said.get(row, ""), photo_set.accepted[label])
                result.described.append((index, float(right)))
        size = box_area(scene.regions)
        for _, target in photo.referring:
            largest = scene.regions[int(size.argmax())] if len(scene) else None
            result.largest.append((index, _is_target(largest, photo, target)))
            result.chance.append((index, 1 / max(1, len(scene))))
    return result


def prediction_line(photo: Photo, found: Detections) -> str:
    """Return what the scorer reads about one photo; scores keep six digits, so few are tied."""
    rows = [
        {
            "label": item.label,
            "box": [round(float(value), 2) for value in item.box],
            "score": round(item.score, 6),
        }
        for item in found
    ]
    return json.dumps({"image_id": photo.identity, "detections": rows})


def best_names(scene: Scene, vocabulary: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Return the best-scored name of every region, ties at random."""
    scores = scene.scores(vocabulary)
    return [vocabulary[int(rng.choice(np.flatnonzero(row == row.max())))] for row in scores]


def _questions(index: int, photo: Photo, scene: Scene, judged: Judgement) -> None:
    """Adds referring, counting and presence of one photo."""
    for text, target in photo.referring:
        found = scene.refer(text, threshold=0.0)
        box = found.boxes[0] if len(found) else None
        judged.referring.append((index, _is_target(box, photo, target), False))
    for noun, number in photo.counting:
        judged.counting.append((index, scene.count(noun).count, number))
    present = tuple(dict.fromkeys(photo.labels))
    names = (*present, *photo.absent)
    if not names:
        return
    found = scene.answer(Request(task=Task.DETECT, queries=names, threshold=0.0)).detections
    scores: dict[str, list[float]] = {name: [] for name in names}
    for item in found:
        scores[item.label].append(item.score)
    for name in names:
        there = name in present
        reached = sum(score >= DEFAULT_THRESHOLD for score in scores[name])
        best = max(scores[name], default=0.0)
        judged.presence.append((index, best, there, 0 if there else reached))


def _is_target(box: np.ndarray | None, photo: Photo, target: int) -> float:
    if box is None:
        return 0.0
    return float(box_iou(box[None], photo.boxes[target : target + 1])[0, 0] >= FOUND_IOU)


def tables(measured: Measurement, vocabulary: Sequence[str], weights: Floats) -> list[Table]:
    """Return everything but average precision, which the set's own scorer computes."""
    judged = measured.judged
    naming = [_naming(measured, len(vocabulary), weights)] if measured.named else []
    expressions = len(measured.chance)
    referring = Table(
        "Referring",
        ("accuracy",),
        f"{expressions} expressions, IoU 0.5; 'text only' keeps the proposals' scores.",
    )
    for who, one in judged.items():
        referring.add(who, judging.referring_figures(one.referring, weights)[0])
    referring.add("largest region", _share(measured.largest, weights))
    referring.add("chance (1 / regions)", _share(measured.chance, weights))
    items = judged[MODEL].counting
    counting = Table("Counting", ("exact", "exact where 2 or more"), f"{len(items)} questions.")
    for who, one in judged.items():
        counting.add(who, *judging.counting_figures(one.counting, weights))
    often = Counter(true for _, _, true in items).most_common(1)
    said = often[0][0] if often else 0
    guess = [(picture, said, true) for picture, _, true in items]
    counting.add(f"majority (always {said})", *judging.counting_figures(guess, weights))
    there = sum(row[2] for row in judged[MODEL].presence)
    presence = Table(
        "Absent targets",
        ("AUROC", "none said, absent", "none said, present", "false positives / photo"),
        f"Best score of {there} names of boxed things against {len(judged[MODEL].presence) - there}"
        f" absent ones; 'none' is said when no region reaches {DEFAULT_THRESHOLD}; false positives "
        "are regions under an absent name that do. Floor of the AUROC: 0.5.",
    )
    for who in (MODEL, BLANK):
        presence.add(who, *judging.presence_figures(judged[who], weights, DEFAULT_THRESHOLD))
    return [*naming, referring, counting, presence]


def _naming(measured: Measurement, names: int, weights: Floats) -> Table:
    table = Table(
        "Naming of true boxes",
        ("macro accuracy", "accuracy"),
        f"{len(measured.described)} boxes, highest score among all {names} names of the "
        "vocabulary, ties at random; macro is the mean over the names. Descriptions are those "
        "of `describe`, right when they are exactly the name or a synonym.",
    )
    for who, rows in measured.named.items():
        table.add(who, *_both(rows, weights))
    true = [row[2] for row in measured.named[MODEL]]
    often = Counter(true).most_common(1)[0][0]
    guess = [(row[0], float(row[2] == often), row[2]) for row in measured.named[MODEL]]
    table.add(f"majority (always '{often}')", *_both(guess, weights))
    table.add("chance", 1 / names, 1 / names)
    table.add("model, description is exactly a name", None, _share(measured.described, weights))
    return table


def _both(
    rows: Sequence[tuple[int, float, str]], weights: Floats
) -> tuple[metrics.Estimate, metrics.Estimate]:
    pictures, right, true = (list(column) for column in zip(*rows, strict=True))
    macro = metrics.macro_accuracy(right, true, pictures, weights)
    return estimate(macro), estimate(metrics.accuracy(right, pictures, weights))


def _share(rows: Sequence[tuple[int, float]], weights: Floats) -> metrics.Estimate:
    return estimate(metrics.accuracy([r[1] for r in rows], [r[0] for r in rows], weights))


def main(
    arguments: Sequence[str] | None = None, load: Callable[[str], FO1] = FO1.from_pretrained
) -> None:
    """Runs the command; `load` makes the model of a name."""
    parser = argparse.ArgumentParser(
        prog="python -m fo1.evaluation.photos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="JSON file of the photo set")
    parser.add_argument("--pictures", type=Path, help="default: folder named like the JSON file")
    parser.add_argument("--model", default="nano", help="folder or name; default nano")
    parser.add_argument("--proposer", choices=(*proposer_names(), TRUE), default=TRUE)
    parser.add_argument("--out", type=Path, required=True, help="predictions, .jsonl")
    options = parser.parse_args(arguments)
    photo_set = load_photo_set(options.data, options.pictures)
    model = load(options.model)
    measured = measure(model, photo_set, options.proposer)
    weights = resampling(len(photo_set.photos), RESAMPLES)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("\n".join(measured.lines) + "\n", encoding="utf-8")
    boxes = sum(len(photo.boxes) for photo in photo_set.photos)
    facts = [
        f"{len(photo_set.photos)} photos, {boxes} boxes, {len(photo_set.vocabulary)} names, "
        f"regions by {options.proposer}",
        *report.circumstances("fo1.evaluation.photos", arguments),
        f"average precision: `python score.py {options.data.name} {options.out.name} --floors`",
    ]
    text = report.write(
        tables(measured, photo_set.vocabulary, weights),
        heading=f"{model.name} on {options.data.name}, regions by {options.proposer}",
        facts=facts,
        out=options.out.parent,
        name=options.out.stem,
    )
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
