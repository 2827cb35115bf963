"""The ways of asking one model which regions of a scene each name means.

Every way starts behind the same prefix (picture and regions) and returns one score per pair of region and name.

Legend: N regions, K names, M regions of a draft.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fo1.grammar import Grammar
from fo1.layout import Picture, Turn, build_prompt, query_branch, question_branch
from fo1.models.decoding import decode
from fo1.models.drafting import Drafter
from fo1.models.prefix import continue_prefix
from fo1.models.readouts import hazards, list_chances
from fo1.models.scoring import Branches
from fo1.parsing import parse_answer
from fo1.pipeline.engine import Engine
from fo1.pipeline.rows import Row, SceneTensors
from fo1.tags import NONE_TEXT

MOST_DRAFTS = 4
LIKELY = 0.5


@dataclass(frozen=True, eq=False)
class Read:
    """What one way said of one scene.

    Attributes:
        scores: (N, K).
        passes: of the language model behind the prefix.
        seconds: behind the prefix.
    """

    scores: np.ndarray
    passes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene in memory and what is asked of it.

    Args:
        engine: of the model.
        tensors: of the scene.
        names: K.
    """

    engine: Engine
    tensors: SceneTensors
    names: Sequence[str]

    @property
    def prefix(self) -> Any:
        """What all names share; computed before anything is timed."""
        return self.engine._prefix(self.tensors, tuple(range(len(self.tensors))))

    def timed(self, way: Callable[["Scene"], np.ndarray]) -> Read:
        """Return what a way says, its passes and its time."""
        self.prefix  # noqa: B018 - kept from here on
        with passes_of(self.engine.model) as passes:
            begun = time.perf_counter()
            scores = way(self)
            seconds = time.perf_counter() - begun
        return Read(scores, len(passes), seconds)


@contextmanager
def passes_of(model: Any) -> Iterator[list[None]]:
    """Yield a list that grows by one with every pass of the language model."""
    passes: list[None] = []
    decoder = model.vlm.get_decoder()
    handle = decoder.register_forward_pre_hook(lambda *_: passes.append(None))
    try:
        yield passes
    finally:
        handle.remove()


@torch.inference_mode()
def greedy(scene: Scene) -> np.ndarray:
    """Write an answer per name, side by side; score: the probability with which a region was written."""
    return _written(scene, drafted=False)


@torch.inference_mode()
def drafted(scene: Scene) -> np.ndarray:
    """Write the same answers with drafts that are verified."""
    return _written(scene, drafted=True)


def _written(scene: Scene, drafted: bool) -> np.ndarray:
    engine, count = scene.engine, len(scene.tensors)
    placed = tuple((0, region) for region in range(count))
    rows = [
        Row(
            build_prompt(Turn("user", (Picture(count), name))),
            (scene.tensors,),
            placed,
            count,
        )
        for name in scene.names
    ]
    grammars = [Grammar(engine.markup, count) for _ in rows]
    labels = [engine.processor.token_ids(name) for name in scene.names]
    drafters = [Drafter(g, [label]) for g, label in zip(grammars, labels, strict=True)]
    ids = engine._ids_of(rows)
    written = decode(
        engine.model,
        grammars=grammars,
        drafters=drafters if drafted else None,
        max_new_tokens=3 * count,
        ends=engine.markup.ends,
        pad=engine.processor.tokenizer.pad_token_id,
        **engine._behind_prefix(rows, ids),
    )
    scores = np.zeros((count, len(scene.names)), np.float32)
    for column, text in enumerate(map(engine._text, written, map(len, ids))):
        answer = parse_answer(text.text, count)
        for cited, chance in zip(answer.citations, text.chances, strict=True):
            scores[cited.region, column] = max(scores[cited.region, column], chance)
    return scores


def first_index(scene: Scene) -> np.ndarray:
    """Read the distribution over the first region of an opened list."""
    logits, _ = _opened(scene, [[] for _ in scene.names])
    return np.stack([_chances(scene, own[-1:])[0, :-1] for own in logits], 1)


def hazard(scene: Scene) -> np.ndarray:
    """Read how likely each region is next, given a draft that is improved until it stands."""
    return _hazards(scene, with_presence=False)


def presence_hazard(scene: Scene) -> np.ndarray:
    """The same without the word for no regions, times the probability that there is a list of regions at all."""
    return _hazards(scene, with_presence=True)


def score_head(scene: Scene) -> np.ndarray:
    """Read the score head."""
    return scene.engine.match([scene.tensors], scene.names)[0]


WAYS: dict[str, Callable[[Scene], np.ndarray]] = {
    "greedy": greedy,
    "greedy, drafted": drafted,
    "first index": first_index,
    "hazard": hazard,
    "presence x hazard": presence_hazard,
    "score head": score_head,
}


def _hazards(scene: Scene, with_presence: bool) -> np.ndarray:
    listed: list[list[int]] = [[] for _ in scene.names]
    for _ in range(MOST_DRAFTS):
        logits, starts = _opened(scene, listed)
        tables = []
        for own, start, draft in zip(logits, starts, listed, strict=True):
            places = own[len(own) - len(draft) - 1 :]
            chances = torch.from_numpy(_chances(scene, places, none=not with_presence))
            fit = hazards(chances, draft).numpy()
            tables.append(fit * _presence(scene, start, places[0]) if with_presence else fit)
        found = [np.flatnonzero(table >= LIKELY).tolist() for table in tables]
        if found == listed:
            break
        listed = found
    return np.stack(tables, 1)


def _presence(scene: Scene, start: Tensor, opened: Tensor) -> float:
    """Return how likely a list is opened, and then not for the word for no regions."""
    markup = scene.engine.markup
    ends = [markup.ground[0], *markup.ends]
    speaks = float(start[ends].softmax(-1)[0])
    none = scene.engine.processor.token_ids(NONE_TEXT)[0]
    regions = list(markup.regions[: len(scene.tensors)])
    return speaks * (1 - float(opened[[none, *regions]].softmax(-1)[0]))


def _chances(scene: Scene, logits: Tensor, none: bool = True) -> np.ndarray:
    markup = scene.engine.markup
    ends = [markup.objects[1], *(markup.none[:1] if none else ())]
    return list_chances(logits, markup.regions[: len(scene.tensors)], ends).numpy()


@torch.inference_mode()
def _opened(scene: Scene, listed: Sequence[Sequence[int]]) -> tuple[list[Tensor], list[Tensor]]:
    """Return per name the logits along its opened list with a draft, and those behind the question."""
    engine = scene.engine
    branches, questions = [], []
    for name, draft in zip(scene.names, listed, strict=True):
        question = engine.processor.token_ids(question_branch(name))
        opened = engine.processor.token_ids(query_branch(name))
        questions.append(len(question))
        branches.append([*question, *opened, *(engine.markup.regions[r] for r in draft)])
    packed = Branches.pack([branches])
    prefix = scene.prefix
    states, _ = continue_prefix(engine.model, prefix, packed)
    lengths = [len(branch) for branch in branches]
    logits, starts = [], []

    def head(states: Tensor) -> Tensor:
        return engine.model.read_words(states, prefix.pointables).float()

    for own, question, draft in zip(states[0].split(lengths), questions, listed, strict=True):
        logits.append(head(own[len(own) - len(draft) - 1 :]))
        starts.append(head(own[question - 1]))
    return logits, starts
