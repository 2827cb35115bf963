"""The one path on which all tasks are answered.

    Request (task, queries, regions) + scenes --answer--> one Outcome per scene

Models with a score head answer detect, refer and count without writing a word; all else, and every
task of models without one, is written and then parsed.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from fo1 import prompts
from fo1.errors import QueryError
from fo1.geometry import nms
from fo1.parsing import parse_answer, parse_count, parse_region_texts, plain_text
from fo1.pipeline.request import GIVEN, QUERY_TASKS, EncodedScene, Outcome, Request
from fo1.prompts import Task, clean_name
from fo1.results import Detections, RegionText

LABEL_OVERLAP = 0.5
"""Above this IoU with a better detection of the same label, a proposed box is a copy of it."""

LABEL_CONTAINMENT = 0.85
"""Above this share of the smaller box, a proposed box and a better one of its label are one thing:
a part of it, or a box around it and its surroundings."""

MOST_UNNAMED = 10
"""Up to this many regions are described or read when none are named."""

ROWS_PER_PASS = 8
"""Questions that are answered side by side."""

_REGION_TASKS = (Task.DESCRIBE, Task.READ)
_REGION = re.compile(r"<region([0-9]+)>", re.IGNORECASE)


def answer(scenes: Sequence[EncodedScene], request: Request) -> list[Outcome]:
    """Return one outcome per scene; the scenes must come from one model.

    Raises:
        QueryError: a region does not exist in a scene, or a scene has too many to describe all.
    """
    if request.task in QUERY_TASKS:
        filled = [scene for scene in scenes if len(scene)]
        found = iter(_search(filled, request) if filled else ())
        return [next(found) if len(scene) else _nothing(scene, request) for scene in scenes]
    if request.task is Task.DESCRIBE and request.detail == "brief" and scenes[0].engine.vocabulary:
        return [_names(scene, request) for scene in scenes]
    written = _write(scenes, request)
    read = _region_texts if request.task in _REGION_TASKS else _sentence
    return [read(scene, request, texts) for scene, texts in zip(scenes, written, strict=True)]


def named_regions(scene: EncodedScene, request: Request) -> tuple[int, ...]:
    """Return the regions that describe and read are about.

    Raises:
        QueryError: one does not exist, or none are named and the scene has many.
    """
    if request.regions is not None:
        return prompts.check_regions(dict.fromkeys(request.regions), len(scene))
    if len(scene) > MOST_UNNAMED:
        raise QueryError(
            f"this picture has {len(scene)} regions, at most {MOST_UNNAMED} are taken unasked; "
            f"name those to {request.task}, for example regions=[0, 1]"
        )
    return tuple(range(len(scene)))


def _questions(scene: EncodedScene, request: Request) -> list[str]:
    """Return what is written to the model; one outcome may take several questions."""
    match request.task:
        case Task.DETECT:
            return [prompts.detect(request.queries)]
        case Task.REFER:
            return [prompts.refer(query) for query in request.queries]
        case Task.COUNT:
            return [prompts.count(query) for query in request.queries]
        case Task.DESCRIBE:
            regions = named_regions(scene, request)
            return [prompts.describe([region], request.detail) for region in regions]
        case Task.READ:
            return [prompts.read([region]) for region in named_regions(scene, request)]
        case Task.GROUND:
            return [prompts.ground()]
        case Task.SIMILAR:
            return [prompts.similar(*prompts.check_regions(request.regions or (), len(scene)))]
        case Task.ASK:
            return [prompts.ask(request.queries[0], num_regions=len(scene))]


def _write(scenes: Sequence[EncodedScene], request: Request) -> list[list[str]]:
    """Return per scene the answers to its questions."""
    rows = [
        (number, question)
        for number, scene in enumerate(scenes)
        for question in _questions(scene, request)
    ]
    written: list[list[str]] = [[] for _ in scenes]
    for start in range(0, len(rows), ROWS_PER_PASS):
        chunk = rows[start : start + ROWS_PER_PASS]
        texts = scenes[0].engine.generate(
            [scenes[number].tensors for number, _ in chunk], [question for _, question in chunk]
        )
        for (number, _), text in zip(chunk, texts, strict=True):
            written[number].append(text)
    return written


def _search(scenes: Sequence[EncodedScene], request: Request) -> list[Outcome]:
    """Return the outcomes of detect, refer and count for scenes with regions."""
    if scenes[0].engine.scores:
        return _match(scenes, request)
    written = _write(scenes, request)
    return [_found(scene, request, texts) for scene, texts in zip(scenes, written, strict=True)]


def _match(scenes: Sequence[EncodedScene], request: Request) -> list[Outcome]:
    """Return the outcomes of detect, refer and count by the score head, all queries at once."""
    tables = scenes[0].engine.match([scene.tensors for scene in scenes], request.queries)
    outcomes: list[Outcome] = []
    for scene, table in zip(scenes, tables, strict=True):
        given = scene.proposer == GIVEN
        # The usual rule of detectors that judge box and class apart (FCOS, arXiv 1904.01355).
        scores = table if given else np.sqrt(table * scene.proposal_scores[:, None])
        parts: list[Detections] = []
        for column, query in enumerate(request.queries):
            kept = np.flatnonzero(scores[:, column] >= request.least_score())
            kept = kept[np.argsort(-scores[kept, column], kind="stable")]
            if request.task is Task.REFER:
                kept = kept[:1]
            elif not given:
                apart = nms(
                    scene.regions[kept], scores[kept, column], LABEL_OVERLAP, LABEL_CONTAINMENT
                )
                kept = kept[apart]
            parts.append(_detections(scene, [query] * len(kept), kept, scores[kept, column]))
        found = Detections.merge(parts)
        count = len(found) if request.task is Task.COUNT else None
        outcomes.append(Outcome(detections=found, count=count))
    return outcomes


def _nothing(scene: EncodedScene, request: Request) -> Outcome:
    """Return the outcome of looking for something among no regions."""
    return Outcome(
        detections=Detections.empty(scene.image_size),
        count=0 if request.task is Task.COUNT else None,
        problems=("no regions were given, so nothing can be found",),
    )


def _found(scene: EncodedScene, request: Request, texts: Sequence[str]) -> Outcome:
    """Return what a written answer to detect, refer or count says."""
    labels, regions, problems, counts = [], [], [], []
    # One question names all things to detect; refer and count ask for each apart.
    asked = [request.queries] if request.task is Task.DETECT else [(q,) for q in request.queries]
    for text, names in zip(texts, asked, strict=True):
        parsed = parse_answer(text, len(scene))
        problems += parsed.problems
        found: dict[tuple[str, int], None] = {}
        for grounding in parsed.groundings:
            label = _asked_label(grounding.phrase, names, request.task)
            if label is None:
                problems.append(f"label '{grounding.phrase}' was not asked for")
                continue
            found |= dict.fromkeys((label, region) for region in grounding.regions)
        labels += [label for label, _ in found]
        regions += [region for _, region in found]
        stated = parse_count(text)
        counts.append(len(found) if stated is None else stated)
    return Outcome(
        detections=_named(scene, labels, regions, request),
        text=_readable("\n".join(texts)) or None,
        count=sum(counts) if request.task is Task.COUNT else None,
        problems=tuple(dict.fromkeys(problems)),
    )


def _asked_label(phrase: str, names: Sequence[str], task: Task) -> str | None:
    """Return the name that a label in an answer stands for, if any."""
    if phrase and task is Task.DETECT:
        written = clean_name(phrase).casefold()
        return next((name for name in names if name.casefold() == written), None)
    # Expressions are seldom repeated word by word, and what is asked alone needs no label.
    return names[0] if len(names) == 1 else None


def _names(scene: EncodedScene, request: Request) -> Outcome:
    """Return a name for each region, by models that have a vocabulary to choose from."""
    regions = named_regions(scene, request)
    names = scene.engine.name_regions(scene.tensors, regions) if regions else []
    return Outcome(
        detections=Detections.empty(scene.image_size),
        texts=tuple(RegionText(r, name) for r, name in zip(regions, names, strict=True)),
    )


def _region_texts(scene: EncodedScene, request: Request, written: Sequence[str]) -> Outcome:
    """Return what was written about each region."""
    regions = named_regions(scene, request)
    texts: list[RegionText] = []
    problems: list[str] = []
    for region, text in zip(regions, written, strict=True):
        said, wrong = parse_region_texts(text, [region])
        texts += said
        problems += wrong
    return Outcome(
        detections=Detections.empty(scene.image_size),
        texts=tuple(texts),
        problems=tuple(dict.fromkeys(problems)),
    )


def _sentence(scene: EncodedScene, request: Request, written: Sequence[str]) -> Outcome:
    """Return a sentence with the regions that it names: ground, similar and ask."""
    parsed = parse_answer(written[0], len(scene))
    itself = request.regions or () if request.task is Task.SIMILAR else ()
    pairs = [
        (grounding.phrase or str(request.task), region)
        for grounding in parsed.groundings
        for region in grounding.regions
        if region not in itself
    ]
    return Outcome(
        detections=_named(scene, [label for label, _ in pairs], [r for _, r in pairs], request),
        answer=parsed,
        text=_readable(parsed.text) or None,
        problems=parsed.problems,
    )


def _named(
    scene: EncodedScene, labels: Sequence[str], regions: Iterable[int], request: Request
) -> Detections:
    """Return regions that a text named; their scores are those of the proposals."""
    rows = np.array(list(regions), dtype=np.int64)
    found = _detections(scene, labels, rows, scene.proposal_scores[rows])
    return found if request.threshold is None else found.filter(request.threshold)


def _detections(
    scene: EncodedScene,
    labels: Sequence[str],
    regions: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
) -> Detections:
    return Detections(
        boxes=scene.regions[regions],
        labels=tuple(labels),
        scores=scores,
        regions=regions,
        image_size=scene.image_size,
    )


def _readable(text: str) -> str:
    """Return a text for people: lists of regions are left out, single ones become "region 3"."""
    return plain_text(_REGION.sub(r"region \1", text))
