"""The one path on which all tasks are answered.

    Request (task, queries, regions) + scenes --answer--> one Outcome per scene

Models with a score head answer detect, refer and count without writing a word; all else, and every
task of models without one, is written and then parsed.
"""

from collections.abc import Mapping, Sequence
from itertools import repeat

from fo1 import prompts, tags
from fo1.errors import QueryError
from fo1.parsing import parse_count, parse_region_texts, plain_text
from fo1.pipeline import naming
from fo1.pipeline.chat import Chat, Reply, Written, question, write
from fo1.pipeline.engine import Engine
from fo1.pipeline.request import EncodedScene, Outcome, Request
from fo1.pipeline.selection import (
    NO_REGIONS,
    as_detections,
    as_named,
    best_regions,
    final_scores,
    score_kind,
)
from fo1.prompts import QUERY_TASKS, REGION_TASKS, Task, one_line
from fo1.results import Detections, RegionText

MOST_UNNAMED = 10
"""Up to this many regions are described or read when none are named."""


def answer(scenes: Sequence[EncodedScene], request: Request) -> list[Outcome]:
    """Return one outcome per scene; the scenes must come from one model.

    Raises:
        QueryError: a region does not exist in a scene, or a scene has too many to describe all.
    """
    return answer_each([(scene, request) for scene in scenes])


def answer_each(asked: Sequence[tuple[EncodedScene, Request]]) -> list[Outcome]:
    """Return one outcome per scene and request; what is written of all of them shares passes.

    Raises:
        QueryError: as in `answer`.
    """
    outcomes: dict[int, Outcome] = {}
    matched: dict[Request, list[int]] = {}
    written: list[int] = []
    for place, (scene, request) in enumerate(asked):
        if request.task in QUERY_TASKS and not len(scene):
            outcomes[place] = _nothing(scene, request)
        elif is_written(request, scene.engine):
            written.append(place)
        elif request.task in QUERY_TASKS:
            matched.setdefault(request, []).append(place)
        else:
            outcomes[place] = _by_names(scene, request)
    for request, places in matched.items():
        found = _match([asked[place][0] for place in places], request)
        outcomes |= zip(places, found, strict=True)
    said = _write([asked[place] for place in written])
    for place, texts in zip(written, said, strict=True):
        outcomes[place] = _read(*asked[place], texts)
    return [outcomes[place] for place in range(len(asked))]


def is_written(request: Request, engine: Engine) -> bool:
    """Return whether the language model writes what is asked; else the score head or a list of names answers."""
    scored = request.task in QUERY_TASKS and engine.has_score_head
    return not scored and not naming.answers_by_names(engine, request)


def named_regions(scene: EncodedScene, request: Request) -> tuple[int, ...]:
    """Return the regions that describe and read are about.

    Raises:
        QueryError: one does not exist, or none are named and the scene has many.
    """
    if request.regions is not None:
        return tags.check_regions(dict.fromkeys(request.regions), len(scene))
    if len(scene) > MOST_UNNAMED:
        raise QueryError(
            f"this picture has {len(scene)} regions, at most {MOST_UNNAMED} are taken unasked; "
            f"name those to {request.task}, for example regions=[0, 1]"
        )
    return tuple(range(len(scene)))


def reply_each(
    chats: Sequence[Chat], engine: Engine, max_new_tokens: int | None = None
) -> list[Reply]:
    """Return what the model says next in each chat, and where the regions lie that it names.

    Args:
        chats: what is written in them shares passes.
        engine: the model.
        max_new_tokens: the longest answer; the model's own limit holds as well.

    Raises:
        QueryError: more regions are named than the model has index tokens.
    """
    written = write(chats, engine, max_new_tokens)
    return [_reply(chat, said) for chat, said in zip(chats, written, strict=True)]


def _reply(chat: Chat, written: Written) -> Reply:
    said = written.answer
    named: list[dict[tuple[str, int], float]] = [{} for _ in chat.scenes]
    for grounding in said.groundings:
        for region in grounding.regions:
            picture, own = chat.locate(region)
            chance = written.chances.get((grounding.phrase, region), 0.0)
            named[picture].setdefault((grounding.phrase or str(Task.ASK), own), chance)
    found = [as_named(scene, chances) for scene, chances in zip(chat.scenes, named, strict=True)]
    return Reply(
        answer=said,
        detections=tuple(found),
        complete=written.complete,
        prompt_tokens=written.prompt_tokens,
        new_tokens=written.new_tokens,
    )


def _questions(scene: EncodedScene, request: Request) -> list[Chat]:
    """Return what is written to the model; one outcome may take several questions."""
    labels: Sequence[Sequence[str]] = ()
    match request.task:
        case Task.DETECT:
            texts, labels = [prompts.detect(request.queries)], [request.queries]
        case Task.REFER:
            texts = [prompts.refer(query) for query in request.queries]
            labels = [(query,) for query in request.queries]
        case Task.COUNT:
            texts = [prompts.count(query) for query in request.queries]
            labels = [(query,) for query in request.queries]
        case Task.DESCRIBE:
            regions = named_regions(scene, request)
            texts = [prompts.describe([region], request.detail) for region in regions]
        case Task.READ:
            texts = [prompts.read([region]) for region in named_regions(scene, request)]
        case Task.GROUND:
            texts = [prompts.ground()]
        case Task.SIMILAR:
            (region,) = tags.check_regions(request.regions or (), len(scene))
            texts = [prompts.similar(region)]
        case Task.ASK:
            (query,) = request.queries
            texts = [prompts.ask(query, num_regions=len(scene), think=request.think)]
    about_all = request.task not in REGION_TASKS
    return [
        question(scene, text, all_regions=about_all, labels=own)
        for text, own in zip(texts, labels or repeat(()), strict=False)
    ]


def _write(asked: Sequence[tuple[EncodedScene, Request]]) -> list[list[Written]]:
    """Return per scene and request the answers to its questions."""
    if not asked:
        return []
    chats = [_questions(scene, request) for scene, request in asked]
    written = iter(write([chat for own in chats for chat in own], asked[0][0].engine))
    return [[next(written) for _ in own] for own in chats]


def _read(scene: EncodedScene, request: Request, written: Sequence[Written]) -> Outcome:
    """Return what written answers say."""
    if request.task in QUERY_TASKS:
        return _found(scene, request, written)
    read = _region_texts if request.task in REGION_TASKS else _sentence
    return read(scene, request, written)


def _match(scenes: Sequence[EncodedScene], request: Request) -> list[Outcome]:
    """Return the outcomes of detect, refer and count by the score head, all queries at once."""
    tables = scenes[0].engine.match([scene.tensors for scene in scenes], request.queries)
    outcomes: list[Outcome] = []
    for scene, table in zip(scenes, tables, strict=True):
        scores = final_scores(scene, table)
        parts: list[Detections] = []
        for number, query in enumerate(request.queries):
            own = scores[:, number]
            kept = best_regions(scene, own, request.least_score())
            kept = kept[:1] if request.task is Task.REFER else kept
            labels = [query] * len(kept)
            parts.append(as_detections(scene, labels, kept, own[kept], table[kept, number]))
        found = Detections.merge(parts)
        count = len(found) if request.task is Task.COUNT else None
        outcomes.append(Outcome(detections=found, count=count, scored_by=score_kind(scene)))
    return outcomes


def _nothing(scene: EncodedScene, request: Request) -> Outcome:
    """Return the outcome of looking for something among no regions."""
    return Outcome(
        detections=Detections.empty(scene.image_size),
        count=0 if request.task is Task.COUNT else None,
        problems=(NO_REGIONS,),
    )


def _found(scene: EncodedScene, request: Request, written: Sequence[Written]) -> Outcome:
    """Return what a written answer to detect, refer or count says."""
    chances: dict[tuple[str, int], float] = {}
    texts: list[str] = []
    problems: list[str] = []
    count = 0
    # One question names all things to detect; refer and count ask for each apart.
    asked = [request.queries] if request.task is Task.DETECT else [(q,) for q in request.queries]
    for said, names in zip(written, asked, strict=True):
        answer = said.answer
        texts.append(answer.text)
        problems += answer.problems
        found: dict[tuple[str, int], float] = {}
        for grounding in answer.groundings:
            label = _asked_label(grounding.phrase, names, request.task)
            if label is None:
                problems.append(f"label '{grounding.phrase}' was not asked for")
                continue
            for region in grounding.regions:
                found.setdefault((label, region), said.chances.get((grounding.phrase, region), 0.0))
        chances |= found
        count += _number(said, len(_named(scene, found, request.threshold)))
    return Outcome(
        detections=_named(scene, chances, request.threshold),
        text=_readable("\n".join(texts)) or None,
        count=count if request.task is Task.COUNT else None,
        problems=tuple(dict.fromkeys(problems)),
        written=tuple(texts),
    )


def _named(
    scene: EncodedScene, chances: Mapping[tuple[str, int], float], threshold: float | None
) -> Detections:
    """Return the regions that a text names by (label, region) and that reach the threshold."""
    return as_named(scene, chances).filter(0.0 if threshold is None else threshold)


def _number(said: Written, found: int) -> int:
    """Return how many there are by a written answer that names `found` regions."""
    stated = [number for part in said.parts if (number := parse_count(part.text)) is not None]
    if len(said.parts) == 1:
        return stated[0] if stated else found
    # Every part sees the whole picture, so what they state must not be added up.
    return found or max(stated, default=0)


def _asked_label(phrase: str, names: Sequence[str], task: Task) -> str | None:
    """Return the name that a label in an answer stands for, if any."""
    if phrase and task is Task.DETECT:
        written = one_line(phrase).casefold()
        return next((name for name in names if name.casefold() == written), None)
    # Expressions are seldom repeated word by word, and what is asked alone needs no label.
    return names[0] if len(names) == 1 else None


def _by_names(scene: EncodedScene, request: Request) -> Outcome:
    """Return the outcome of describe, ground or similar by models that choose from a list of names."""
    if request.task is Task.GROUND:
        return naming.ground(scene, request)
    if request.task is Task.SIMILAR:
        tags.check_regions(request.regions or (), len(scene))
        return naming.similar(scene, request)
    return naming.describe(scene, named_regions(scene, request))


def _region_texts(scene: EncodedScene, request: Request, written: Sequence[Written]) -> Outcome:
    """Return what was written about each region, "" where nothing was."""
    texts: list[RegionText] = []
    problems: list[str] = [] if len(scene) else [NO_REGIONS]
    for region, said in zip(named_regions(scene, request), written, strict=True):
        found, wrong = parse_region_texts(said.answer.text, [region])
        texts += found or [RegionText(region, "")]
        problems += [*wrong, *said.notes]
    return Outcome(
        detections=Detections.empty(scene.image_size),
        texts=tuple(texts),
        problems=tuple(dict.fromkeys(problems)),
        written=tuple(said.answer.text for said in written),
    )


def _sentence(scene: EncodedScene, request: Request, written: Sequence[Written]) -> Outcome:
    """Return a sentence with the regions that it names: ground, similar and ask."""
    (said,) = written
    answer = said.answer
    itself = request.regions or () if request.task is Task.SIMILAR else ()
    chances: dict[tuple[str, int], float] = {}
    for grounding in answer.groundings:
        for region in grounding.regions:
            if region not in itself:
                label = grounding.phrase or str(request.task)
                chances.setdefault(
                    (label, region), said.chances.get((grounding.phrase, region), 0.0)
                )
    return Outcome(
        detections=_named(scene, chances, request.threshold),
        answer=answer,
        text=_readable(answer.text) or None,
        problems=answer.problems,
        written=(answer.text,),
    )


def _readable(text: str) -> str:
    """Return a text for people: lists of regions are left out, single ones become "region 3"."""
    return plain_text(tags.renumber(text, {}))
