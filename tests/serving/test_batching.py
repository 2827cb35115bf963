"""The queue: who is answered with whom, who is told to come back, who is forgotten."""

import asyncio
import threading
from collections.abc import Hashable
from typing import Any

import pytest

from fo1.errors import QueryError
from fo1.pipeline import Request
from fo1.prompts import Task
from fo1.serving.batching import Batcher
from fo1.serving.jobs import Answered, Job, Shown
from fo1.serving.limits import Limits
from fo1.serving.metrics import Histogram, Metrics
from fo1.serving.pictures import Upload
from fo1.serving.refusals import Refusal


class Recorder:
    """A worker that answers with the job's own words, once it may."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may = threading.Semaphore(0)

    def kind(self, question: Request) -> Hashable:
        return question.task

    def answer(self, jobs: list[Job]) -> list[Any]:
        names = [job.question.queries[0] for job in jobs]
        assert self.may.acquire(timeout=10)
        self.batches.append(names)
        if "all" in names:
            raise RuntimeError("worker")
        return [
            QueryError("bad") if name == "bad" else Answered((), name, {})  # type: ignore[arg-type]
            for name in names
        ]


def job(name: str, task: Task = Task.DETECT, pixels: int = 10) -> Job:
    return Job((Shown(Upload(b"", "", pixels)),), Request(task=task, queries=(name,)))


def batcher(**limits: int) -> tuple[Batcher, Recorder]:
    recorder = Recorder()
    return Batcher(recorder, Limits(**limits), Metrics()), recorder  # type: ignore[arg-type]


async def send(queue: Batcher, *jobs: Job) -> list[asyncio.Task[Answered]]:
    tasks = []
    for one in jobs:
        tasks.append(asyncio.ensure_future(queue.submit(one)))
        await asyncio.sleep(0.01)
    return tasks


def test_what_waits_is_answered_together_by_kind_and_room() -> None:
    async def run() -> tuple[list[list[str]], list[Any]]:
        queue, worker = batcher(batch=3, pixels=100)
        tasks = await send(
            queue,
            job("a"),  # taken at once, alone
            job("b"),
            job("c", Task.COUNT),
            job("d"),
            job("e", pixels=85),  # too many pixels beside b and d
            job("f"),
            job("g"),  # a fourth
        )
        assert queue.waiting == 6
        worker.may.release(9)
        answers = await asyncio.gather(*tasks)
        queue.close()
        return worker.batches, [answer.result for answer in answers]

    batches, results = asyncio.run(run())
    assert batches == [["a"], ["b", "d", "f"], ["c"], ["e", "g"]]
    assert results == list("abcdefg")


def test_a_full_queue_and_a_failing_job() -> None:
    async def run() -> None:
        queue, worker = batcher(waiting=2)
        tasks = await send(queue, job("a"), job("bad"), job("c"))
        with pytest.raises(Refusal) as told:
            await queue.submit(job("d"))
        assert (told.value.status, told.value.retry_after) == (429, 1)
        worker.may.release(9)
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
        assert (first.result, third.result) == ("a", "c")
        assert isinstance(second, QueryError)
        # The worker itself may fail, and goes on.
        with pytest.raises(RuntimeError, match="worker"):
            await queue.submit(job("all"))
        assert (await queue.submit(job("z"))).result == "z"
        queue.close()

    asyncio.run(run())


def test_who_left_is_not_computed() -> None:
    async def run() -> list[list[str]]:
        queue, worker = batcher()
        first, second, third = await send(queue, job("a"), job("b"), job("c"))
        second.cancel()
        first.cancel()  # begun already: computed, and told nobody
        await asyncio.sleep(0.01)
        assert queue.waiting == 1
        worker.may.release(9)
        assert (await third).result == "c"
        queue.close()
        return worker.batches

    assert asyncio.run(run()) == [["a"], ["c"]]


def test_a_histogram_counts_up_to_each_bound() -> None:
    times = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        times.add(value)
    assert list(times.lines("x", 'a="b",')) == [
        'x_bucket{a="b",le="1.0"} 2',
        'x_bucket{a="b",le="2.0"} 3',
        'x_bucket{a="b",le="+Inf"} 4',
        'x_sum{a="b"} 12.000000',
        'x_count{a="b"} 4',
    ]
