"""One batch: equal to its jobs one by one, failing job by job, from scenes that are kept while there is room."""

from typing import Any

import pytest

from fo1.errors import ImageError, QueryError
from fo1.pipeline import FO1, Request
from fo1.prompts import Task
from fo1.serving.cache import picture_bytes, region_bytes
from fo1.serving.jobs import Answered, Job, Shown, Talk
from fo1.serving.limits import Limits
from fo1.serving.pictures import Upload, examine
from fo1.serving.worker import Worker
from tests import tiny
from tests.serving.conftest import BOXES, file_of

LARGE = 10**9


def upload(seed: int = 0) -> Upload:
    return examine(file_of(tiny.picture(140, 112, seed=seed)), Limits())


def job(one: Upload, task: Task = Task.DETECT, boxes: Any = BOXES, **asked: Any) -> Job:
    asked = asked or {"queries": ("cat", "dog"), "threshold": 0.0}
    return Job((Shown(one, boxes),), Request(task=task, **asked))


def result(answered: Answered | Exception) -> Any:
    assert isinstance(answered, Answered), answered
    return answered.result


def test_a_batch_equals_its_jobs(loaded: FO1) -> None:
    jobs = [job(upload(seed), boxes=boxes) for seed in range(3) for boxes in (BOXES, BOXES[:1])]
    together = Worker(loaded, LARGE).answer(jobs)
    for one, both in zip(jobs, together, strict=True):
        (alone,) = Worker(loaded, LARGE).answer([one])
        found, wanted = result(both).detections, result(alone).detections
        assert found.labels == wanted.labels
        assert found.scores == pytest.approx(wanted.scores, abs=1e-4)


def test_a_job_that_fails_fails_alone(loaded: FO1) -> None:
    good = job(upload(), Task.READ, regions=(1,))
    worker = Worker(loaded, LARGE)
    cut = Upload(file_of(tiny.picture(140, 112))[:-900], "cut", 10)
    first, second, third, fourth = worker.answer(
        [good, job(upload(), Task.READ, regions=(7,)), job(cut, Task.READ, regions=(0,)), good]
    )
    assert isinstance(second, QueryError)
    assert isinstance(third, ImageError)
    assert result(first).texts == result(fourth).texts
    assert worker.cache.picture("cut") is None


def test_scenes_are_made_once_and_kept_while_there_is_room(loaded: FO1, monkeypatch) -> None:
    made: list[Any] = []
    plain = loaded.engine.encode
    monkeypatch.setattr(
        "fo1.pipeline.engine.Engine.encode",
        lambda _, image, boxes, masks: made.append(image) or plain(image, boxes, masks),
    )
    worker = Worker(loaded, LARGE)
    worker.answer([job(upload()), job(upload()), job(upload(), boxes=BOXES[:1])])
    worker.answer([job(upload())])
    assert (len(worker.cache), worker.hits, worker.misses) == (1, 1, 3)
    assert len(made) == 2  # with each source of regions, for they were made side by side
    bare, scene = (
        worker.cache.picture(upload().digest),
        worker.cache.scene(upload().digest, Shown(upload(), BOXES).source),
    )
    assert bare is not None
    assert scene is not None
    size = picture_bytes(bare.tensors.picture)
    assert size > 3 * 140 * 112
    small = Worker(loaded, 2 * (size + region_bytes(scene.tensors)))
    for seed in (0, 1, 0, 2):
        small.answer([job(upload(seed))])
        assert 0 < small.cache.num_bytes <= small.cache.most_bytes
    kept = [seed for seed in range(3) if small.cache.picture(upload(seed).digest) is not None]
    assert kept == [0, 2]
    tiny_one = Worker(loaded, 1)
    tiny_one.answer([job(upload())])
    assert (len(tiny_one.cache), tiny_one.cache.num_bytes) == (0, 0)


def test_kinds_keep_what_is_quick_from_waiting_for_texts(loaded: FO1) -> None:
    worker = Worker(loaded, LARGE)
    kinds = [
        worker.kind(question)
        for question in (
            Request(task=Task.DETECT, queries=("cat",)),
            Request(task=Task.COUNT, queries=("cat",)),
            Request(task=Task.ASK, queries=("what?",)),
            Request(task=Task.READ),
            Talk([]),
            Talk([], 5),
        )
    ]
    assert kinds[0] == kinds[1] != kinds[2] == kinds[3]
    assert len(set(kinds)) == 4
