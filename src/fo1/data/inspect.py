"""What a data set holds, and what a model will see of it: statistics, and drawn samples as pictures and text.

    statistics(records, settings)              from the records: counts, names, sizes, tasks that can be taught
    show_sample(sample, collator)              one sample, its text decoded from the tokens of its batch
    write_samples(shown, folder)               samples.md and a picture for each

Nothing is worked out a second time: samples come from the `Drawer` of a training run and their tokens from its
`Collator`, so a mistake in either is seen here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import numpy as np
from PIL import Image

from fo1.data.collator import IGNORED, Collator
from fo1.data.negatives import Vocabulary
from fo1.data.questions import GENERAL
from fo1.data.regions import draw_regions
from fo1.data.sample import UNKNOWN, Sample
from fo1.data.sampling import Sampling, draw_language
from fo1.data.schema import Record
from fo1.formats.beside import write_beside
from fo1.formats.markdown import cell
from fo1.geometry import Size
from fo1.prompts import Task
from fo1.results import Detections
from fo1.visualize import draw, save_picture

SMALL, LARGE = 32**2, 96**2
"""Square pixels of the original picture under which a box is small, and from which it is large.

Source: the areas of COCO's evaluation.
"""
LEARNED: Final = ("[[", "]]")
"""Around tokens that are learned."""
_RUN = 3  # tokens of one kind that are written out
_MOST_NAMES = 20  # that a table shows


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a data set holds.

    Attributes:
        records: how many.
        pictures: of all records.
        objects: true boxes.
        per_picture: least, mean, median and most objects of a picture.
        names: objects by their own name, most frequent first.
        unnamed: objects without a name.
        crowds: boxes around many of a kind.
        sizes: objects that are small, medium and large.
        phrases: referring expressions.
        captions: of whole pictures.
        turns: questions with answers in conversations.
        tasks: by task the records that can teach it.
    """

    records: int
    pictures: int
    objects: int
    per_picture: dict[str, float]
    names: dict[str, int]
    unnamed: int
    crowds: int
    sizes: dict[str, int]
    phrases: int
    captions: int
    turns: int
    tasks: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class ShownSample:
    """One sample for people.

    Attributes:
        sample: as it was drawn.
        prefix: text of the pictures and regions.
        branches: (task, text) of each query and dialogue; learned tokens stand in `LEARNED`.
        tokens: of the whole scene.
        learned: tokens that are learned.
    """

    sample: Sample
    prefix: str
    branches: tuple[tuple[str, str], ...]
    tokens: int
    learned: int


def statistics(records: Iterable[Record], settings: Sampling) -> Statistics:
    """Return what some records hold.

    A record can teach a task if a dialogue of it is drawn when every true box is a region.

    Args:
        records: are gone through once.
        settings: of the recipe, which decide whether "none" is written.
    """
    total, sizes, names, tasks = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    per_picture: list[int] = []
    for record in records:
        total["records"] += 1
        held = Counter(one.picture for one in record.objects)
        per_picture += [held[number] for number in range(len(record.pictures))]
        total["phrases"] += len(record.phrases)
        total["captions"] += len(record.captions)
        total["turns"] += len(record.turns)
        for one in record.objects:
            names.update(one.names[:1])
            total["unnamed"] += not one.names
            total["crowds"] += one.crowd
            sizes[_size_of(one.box)] += 1
        tasks.update(_teaches(record, settings))
    spread = {"least": min, "mean": mean, "median": median, "most": max}
    return Statistics(
        records=total["records"],
        pictures=len(per_picture),
        objects=sum(per_picture),
        per_picture={n: round(float(f(per_picture or [0])), 2) for n, f in spread.items()},
        names=dict(sorted(names.items(), key=lambda one: (-one[1], one[0]))),
        unnamed=total["unnamed"],
        crowds=total["crowds"],
        sizes={name: sizes[name] for name in ("small", "medium", "large")},
        phrases=total["phrases"],
        captions=total["captions"],
        turns=total["turns"],
        tasks={task: tasks[task] for task in _tasks()},
    )


def show_sample(sample: Sample, collator: Collator) -> ShownSample:
    """Return a sample with its text, decoded from the tokens of a batch of it alone.

    Raises:
        InputError: a text names a region that the sample does not have.
    """
    batch = collator([sample])
    inside = batch.packed.scene[0] >= 0
    ids = batch.packed.ids[0][inside].tolist()
    branch = batch.packed.branch[0][inside].tolist()
    labels = batch.labels[0][inside].tolist()
    tokenizer = collator.processor.tokenizer
    parts: dict[int, list[tuple[int, bool]]] = {}
    for token, number, label in zip(ids, branch, labels, strict=True):
        parts.setdefault(number, []).append((token, label != IGNORED))
    texts = {number: _decoded(part, tokenizer) for number, part in parts.items()}
    asked = [one.task for one in (*sample.queries, *sample.dialogues)]
    return ShownSample(
        sample=sample,
        prefix=texts.get(-1, ""),
        branches=tuple((task, texts[number]) for number, task in enumerate(asked)),
        tokens=len(ids),
        learned=batch.num_labels,
    )


def summarise(shown: Sequence[ShownSample]) -> dict[str, dict[str, float]]:
    """Return of drawn samples: tokens, shares of regions and of targets by kind, and dialogues by task."""
    regions, targets, dialogues = Counter[str](), Counter[str](), Counter[str]()
    for one in shown:
        for names in one.sample.names:
            regions["shows a named thing" if names else "shows none"] += 1
        for query in one.sample.queries:
            unknown = int((query.targets == UNKNOWN).sum())
            meant = int((query.targets == 1).sum())
            targets.update(meant=meant, unknown=unknown)
            targets["not meant"] += len(query.targets) - meant - unknown
        dialogues.update(dialogue.task for dialogue in one.sample.dialogues)
    lengths = [one.tokens for one in shown] or [0]
    return {
        "tokens": {
            "least": min(lengths),
            "median": float(median(lengths)),
            "most": max(lengths),
            "learned (mean)": round(mean([one.learned for one in shown] or [0]), 1),
        },
        "regions (share)": _shares(regions),
        "targets (share)": _shares(targets),
        "dialogues": dict(sorted(dialogues.items())),
    }


def as_table(facts: Statistics) -> str:
    """Return the statistics as aligned lines."""
    rows = [(n, f"{getattr(facts, n):,}") for n in ("records", "pictures", "objects")]
    rows.append(("per picture", _listed(facts.per_picture)))
    rows.append(("sizes", _listed(facts.sizes)))
    rows += [(n, f"{getattr(facts, n):,}") for n in ("unnamed", "crowds", "phrases")]
    rows += [(n, f"{getattr(facts, n):,}") for n in ("captions", "turns")]
    rows.append(("can teach", _listed({t: n for t, n in facts.tasks.items() if n})))
    first = dict(list(facts.names.items())[:_MOST_NAMES])
    more = f", and {len(facts.names) - _MOST_NAMES} more" if len(facts.names) > _MOST_NAMES else ""
    rows.append((f"{len(facts.names):,} names", _listed(first) + more))
    width = max(len(name) for name, _ in rows)
    return "".join(f"  {name.ljust(width)}  {told}\n" for name, told in rows)


def write_samples(shown: Sequence[ShownSample], folder: Path) -> Path:
    """Write samples.md and the pictures beside it; return the path of samples.md.

    Raises:
        ImageError: a picture cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pages = [
        f"# {len(shown)} samples as the model sees them\n\n"
        f"Tokens in {LEARNED[0]} {LEARNED[1]} are learned. `x 9` stands for a token that comes nine times.\n"
    ]
    for place, one in enumerate(shown):
        files: list[str] = []
        for number, image in enumerate(_pictures(one.sample)):
            files.append(f"sample-{place:03}-{number}.png")
            save_picture(image, folder / files[-1])
        pages.append(_page(place, one, files))
    target = folder / "samples.md"
    write_beside(target, "\n".join(pages))
    return target


def _tasks() -> list[str]:
    return [*(str(task) for task in Task if task is not Task.ASK), GENERAL]


def _teaches(record: Record, settings: Sampling) -> list[str]:
    whole = replace(settings, truth=1.0, jitter=0.0, distractors=0, proposals=False, dialogues=1)
    rng = np.random.default_rng(0)
    sizes = [_extent(record, number) for number in range(len(record.pictures))]
    regions = draw_regions(record, whole, rng, sizes)
    vocabulary = Vocabulary.of([record])
    return [
        task
        for task in _tasks()
        if draw_language(record, regions, replace(whole, tasks={task: 1.0}), rng, vocabulary)[1]
    ]


def _extent(record: Record, number: int) -> Size:
    """Return the size of a picture, or one that holds its boxes where nobody said."""
    if (size := record.pictures[number].size) is not None:
        return size
    boxes = [one.box for one in record.objects if one.picture == number] or [(0, 0, 1, 1)]
    return int(max(b[3] for b in boxes)) + 1, int(max(b[2] for b in boxes)) + 1


def _size_of(box: Sequence[float]) -> str:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return "small" if area < SMALL else "medium" if area < LARGE else "large"


def _decoded(part: Sequence[tuple[int, bool]], tokenizer: Any) -> str:
    """Return tokens as text, runs of one token shortened and learned ones marked."""
    told: list[str] = []
    for learned, group in groupby(part, key=lambda one: one[1]):
        text, waiting = "", list[int]()
        for token, same in groupby(token for token, _ in group):
            count = len(list(same))
            if count <= _RUN:
                waiting += [token] * count
                continue
            text += tokenizer.decode(waiting) + f"{tokenizer.decode([token])} x {count} "
            waiting = []
        text += tokenizer.decode(waiting)
        told.append(f"{LEARNED[0]}{text}{LEARNED[1]}" if learned else text)
    return "".join(told)


def _pictures(sample: Sample) -> list[Image.Image]:
    found: list[Image.Image] = []
    first = 0
    for image, boxes in zip(sample.images, sample.boxes, strict=True):
        numbers = range(first, first + len(boxes))
        labels = tuple(" ".join([str(n), *sample.names[n][:1]]) for n in numbers)
        scores = np.ones(len(boxes), np.float32)
        size = (image.height, image.width)
        detections = Detections(boxes, labels, scores, np.array(numbers, np.int64), size)
        found.append(draw(image, detections, show_scores=False))
        first += len(boxes)
    return found


def _page(place: int, one: ShownSample, files: Sequence[str]) -> str:
    sample = one.sample
    lines = [f"## {place}: {cell(sample.key)}", ""]
    for file, image in zip(files, sample.images, strict=True):
        lines += [f"![{file}]({file})", "", f"{image.width} x {image.height} pixels", ""]
    lines += [f"{one.tokens} tokens, {one.learned} learned; {sample.num_regions} regions", ""]
    if sample.num_regions:
        boxes = [box for own in sample.boxes for box in own.tolist()]
        lines += ["| region | box | shows |", "|---|---|---|"]
        lines += [
            f"| {number} | {', '.join(f'{side:.0f}' for side in box)} | {cell(', '.join(names))} |"
            for number, (box, names) in enumerate(zip(boxes, sample.names, strict=True))
        ]
        lines.append("")
    if sample.queries:
        lines += ["| query | task | meant | not meant | unknown |", "|---|---|---|---|---|"]
        for query in sample.queries:
            kinds = [np.flatnonzero(query.targets == kind).tolist() for kind in (1, 0, UNKNOWN)]
            told = " | ".join(" ".join(map(str, regions)) or "-" for regions in kinds)
            lines.append(f"| {cell(query.text)} | {query.task} | {told} |")
        lines.append("")
    lines += _fenced("pictures and regions", one.prefix)
    for task, text in one.branches:
        lines += _fenced(task, text)
    return "\n".join(lines)


def _fenced(title: str, text: str) -> list[str]:
    """Return a block of text that no backticks in it can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{title}:", "", f"{fence}text", text, fence, ""]


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{' '.join(name.split())} {value:,}" for name, value in values.items()) or "-"


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return (
        {name: round(count / total, 4) for name, count in sorted(counts.items())} if total else {}
    )
