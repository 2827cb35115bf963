"""The one path on which all tasks are answered.

    Request (task, queries, regions) + scenes --answer--> one Outcome per scene

Models with a score head answer detect, refer and count without writing a word; all else, and every
task of models without one, is written and then parsed.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fo1 import prompts
from fo1.errors import QueryError
from fo1.geometry import nms
from fo1.parsing import parse_count, parse_region_texts, plain_text
from fo1.pipeline.chat import Chat, Reply, join, question, write
from fo1.pipeline.engine import Engine
from fo1.pipeline.request import GIVEN, QUERY_TASKS, EncodedScene, Outcome, Request
from fo1.prompts import Task, clean_name
from fo1.results import Answer, Detections, RegionText

LABEL_OVERLAP = 0.5
"""Above this IoU with a better detection of the same label, a proposed box is a copy of it."""

LABEL_CONTAINMENT = 0.85
"""Above this share of the smaller box, a proposed box and a better one of its label are one thing:
a part of it, or a box around it and its surroundings."""

MOST_UNNAMED = 10
"""Up to this many regions are described or read when none are named."""

_REGION_TASKS = (Task.DESCRIBE, Task.READ)
_REGION = re.compile(r"<region([0-9]+)>", re.IGNORECASE)


Written = Sequence[Sequence[Answer]]
"""Per question one answer per tile."""


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
    return [read(scene, request, said) for scene, said in zip(scenes, written, strict=True)]


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


def reply(chat: Chat, engine: Engine) -> Reply:
    """Return what the model says next in a chat, and where the regions lie that it names.

    Raises:
        QueryError: more regions are named than the model has index tokens.
    """
    said = join(write([chat], engine)[0])
    named: list[list[tuple[str, int]]] = [[] for _ in chat.scenes]
    for grounding in said.groundings:
        for region in grounding.regions:
            picture, own = chat.locate(region)
            named[picture].append((grounding.phrase or str(Task.ASK), own))
    found = [_named(scene, pairs) for scene, pairs in zip(chat.scenes, named, strict=True)]
    return Reply(said, tuple(found))


def _questions(scene: EncodedScene, request: Request) -> list[Chat]:
    """Return what is written to the model; one outcome may take several questions."""
    match request.task:
        case Task.DETECT:
            texts = [prompts.detect(request.queries)]
        case Task.REFER:
            texts = [prompts.refer(query) for query in request.queries]
        case Task.COUNT:
            texts = [prompts.count(query) for query in request.queries]
        case Task.DESCRIBE:
            regions = named_regions(scene, request)
            texts = [prompts.describe([region], request.detail) for region in regions]
        case Task.READ:
            texts = [prompts.read([region]) for region in named_regions(scene, request)]
        case Task.GROUND:
            texts = [prompts.ground()]
        case Task.SIMILAR:
            (region,) = prompts.check_regions(request.regions or (), len(scene))
            texts = [prompts.similar(region)]
        case Task.ASK:
            (query,) = request.queries
            texts = [prompts.ask(query, num_regions=len(scene), think=request.think)]
    about_all = request.task not in _REGION_TASKS
    return [question(scene, text, all_regions=about_all) for text in texts]


def _write(scenes: Sequence[EncodedScene], request: Request) -> list[Written]:
    """Return per scene the answers to its questions."""
    asked = [_questions(scene, request) for scene in scenes]
    written = iter(write([chat for chats in asked for chat in chats], scenes[0].engine))
    return [[next(written) for _ in chats] for chats in asked]


def _search(scenes: Sequence[EncodedScene], request: Request) -> list[Outcome]:
    """Return the outcomes of detect, refer and count for scenes with regions."""
    if scenes[0].engine.has_score_head:
        return _match(scenes, request)
    written = _write(scenes, request)
    return [_found(scene, request, said) for scene, said in zip(scenes, written, strict=True)]


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


def _found(scene: EncodedScene, request: Request, written: Written) -> Outcome:
    """Return what a written answer to detect, refer or count says."""
    pairs: list[tuple[str, int]] = []
    problems: list[str] = []
    count = 0
    # One question names all things to detect; refer and count ask for each apart.
    asked = [request.queries] if request.task is Task.DETECT else [(q,) for q in request.queries]
    for tiles, names in zip(written, asked, strict=True):
        for said in tiles:
            problems += said.problems
            found: dict[tuple[str, int], None] = {}
            for grounding in said.groundings:
                label = _asked_label(grounding.phrase, names, request.task)
                if label is None:
                    problems.append(f"label '{grounding.phrase}' was not asked for")
                    continue
                found |= dict.fromkeys((label, region) for region in grounding.regions)
            stated = parse_count(said.text)
            count += len(found) if stated is None else stated
            pairs += found
    text = "\n".join(Answer.merge(tiles).text for tiles in written)
    return Outcome(
        detections=_named(scene, pairs, request.threshold),
        text=_readable(text) or None,
        count=count if request.task is Task.COUNT else None,
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


def _region_texts(scene: EncodedScene, request: Request, written: Written) -> Outcome:
    """Return what was written about each region."""
    texts: list[RegionText] = []
    problems: list[str] = []
    for region, (said,) in zip(named_regions(scene, request), written, strict=True):
        found, wrong = parse_region_texts(said.text, [region])
        texts += found
        problems += wrong
    return Outcome(
        detections=Detections.empty(scene.image_size),
        texts=tuple(texts),
        problems=tuple(dict.fromkeys(problems)),
    )


def _sentence(scene: EncodedScene, request: Request, written: Written) -> Outcome:
    """Return a sentence with the regions that it names: ground, similar and ask."""
    (tiles,) = written
    said = Answer.merge(tiles) if request.task is Task.SIMILAR else join(tiles)
    itself = request.regions or () if request.task is Task.SIMILAR else ()
    pairs = [
        (grounding.phrase or str(request.task), region)
        for grounding in said.groundings
        for region in grounding.regions
        if region not in itself
    ]
    return Outcome(
        detections=_named(scene, pairs, request.threshold),
        answer=said,
        text=_readable(said.text) or None,
        problems=said.problems,
    )


def _named(
    scene: EncodedScene, pairs: Sequence[tuple[str, int]], threshold: float | None = None
) -> Detections:
    """Return regions that a text named; their scores are those of the proposals."""
    rows = np.array([region for _, region in pairs], dtype=np.int64)
    labels = [label for label, _ in pairs]
    found = _detections(scene, labels, rows, scene.proposal_scores[rows])
    return found if threshold is None else found.filter(threshold)


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
