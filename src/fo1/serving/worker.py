"""One batch of jobs through the model, in one thread; a job that fails fails alone."""

import time
from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias, TypeVar

from fo1.imaging import load_image
from fo1.pipeline import FO1, Outcome, Reply, Request, Scene
from fo1.pipeline.answering import answer_each, is_written, reply_each
from fo1.pipeline.chat import read_messages
from fo1.serving.cache import SceneCache
from fo1.serving.jobs import Answered, Job, Question, Shown, Talk

Made: TypeAlias = tuple[Scene, Scene, dict[str, float]]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Worker:
    """Answers jobs; one thread uses it.

    Args:
        model: that answers.
        cache_bytes: what kept scenes may take.
    """

    def __init__(self, model: FO1, cache_bytes: int) -> None:
        self.model = model
        self.cache = SceneCache(cache_bytes)
        self.hits = 0
        self.misses = 0

    def kind(self, question: Question) -> Hashable:
        """Return what questions must share to be answered together: nobody waits for texts that needs none."""
        if isinstance(question, Talk):
            return "chat", question.max_new_tokens
        return "written" if is_written(question, self.model.engine) else "scored"

    def answer(self, jobs: Sequence[Job]) -> list[Answered | Exception]:
        """Return what each job brought, or why it cannot be done.

        Args:
            jobs: all of one kind.
        """
        made = self._make([shown for job in jobs for shown in job.shown])
        scenes: list[tuple[Scene, ...] | Exception] = []
        seconds: list[dict[str, float]] = []
        for job in jobs:
            own = [made[shown.upload.digest, shown.source] for shown in job.shown]
            failed = next((one for one in own if isinstance(one, Exception)), None)
            good = [one for one in own if not isinstance(one, Exception)]
            scenes.append(failed or tuple(scene for _, scene, _ in good))
            steps = {name: sum(s[name] for *_, s in good) for name in ("load", "encode", "propose")}
            seconds.append(steps)
        begun = time.perf_counter()
        ready = [(place, own) for place, own in enumerate(scenes) if not isinstance(own, Exception)]
        asked = [(own, jobs[place].question) for place, own in ready]
        results = dict(zip([place for place, _ in ready], _apart(asked, self._ask), strict=True))
        passed = time.perf_counter() - begun
        answered: list[Answered | Exception] = []
        for place, own in enumerate(scenes):
            if isinstance(own, Exception):
                answered.append(own)
                continue
            result = results[place]
            steps = {**seconds[place], "answer": passed}
            answered.append(
                result if isinstance(result, Exception) else Answered(own, result, steps)
            )
        return answered

    def _ask(
        self, asked: Sequence[tuple[tuple[Scene, ...], Question]]
    ) -> Sequence[Outcome | Reply]:
        """Return what questions of one kind bring."""
        verbs = [(scenes[0], q) for scenes, q in asked if isinstance(q, Request)]
        if verbs:
            return answer_each(verbs)
        chats = [
            read_messages(talk.messages, lambda place, _, own=scenes: own[place])
            for scenes, talk in asked
            if isinstance(talk, Talk)
        ]
        talks = [talk for _, talk in asked if isinstance(talk, Talk)]
        return reply_each(chats, self.model.engine, talks[0].max_new_tokens)

    def _make(self, shown: Sequence[Shown]) -> dict[tuple[str, Hashable], Made | Exception]:
        """Return the scenes of pictures, each with itself without regions and the seconds it took."""
        made: dict[tuple[str, Hashable], Made | Exception] = {}
        missing: dict[tuple[str, Hashable], tuple[Shown, Scene | None]] = {}
        for one in shown:
            key = one.upload.digest, one.source
            bare, scene = self.cache.picture(key[0]), self.cache.scene(*key)
            if bare is not None and scene is not None:
                made[key] = bare, scene, dict.fromkeys(("load", "encode", "propose"), 0.0)
                self.hits += 1
            else:
                missing[key] = one, bare
                self.misses += 1
        found = self.model.encode_side_by_side(
            lambda pair: _caught(self._encode, *pair), list(missing.values())
        )
        for key, one in zip(missing, found, strict=True):
            made[key] = one
            if not isinstance(one, Exception):
                self.cache.keep(*key, one[0], one[1])
        return made

    def _encode(self, shown: Shown, bare: Scene | None) -> Made:
        begun = time.perf_counter()
        loaded = begun
        if bare is None:
            picture = load_image(shown.upload.data)
            loaded = time.perf_counter()
            bare = self.model.encode(picture, [])
        encoded = time.perf_counter()
        if shown.boxes is not None:
            scene = self.model.encode(bare, shown.boxes)
        else:
            scene = self.model.encode(bare, proposer=shown.proposer, limit=shown.limit)
        ended = time.perf_counter()
        seconds = {"load": loaded - begun, "encode": encoded - loaded, "propose": ended - encoded}
        return bare, scene, seconds


def _caught(work: Callable[..., Result], *given: object) -> Result | Exception:
    try:
        return work(*given)
    except Exception as error:  # becomes that job's answer
        return error


def _apart(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]
) -> list[Result | Exception]:
    """Return what `work` makes of items, of each alone where it fails for all."""
    if not items:
        return []
    done = _caught(work, items)
    if not isinstance(done, Exception):
        return list(done)
    if len(items) == 1:
        return [done]
    return [one for item in items for one in _apart([item], work)]
