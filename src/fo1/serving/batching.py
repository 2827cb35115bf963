"""Requests that wait, and the one thread that answers those at the head of the queue together."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from fo1.serving.jobs import Answered, Job
from fo1.serving.limits import Limits
from fo1.serving.metrics import Metrics
from fo1.serving.refusals import Refusal
from fo1.serving.worker import Worker


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    job: Job
    answer: "asyncio.Future[Answered]"
    since: float


class Batcher:
    """A bounded queue before one worker; everything but the worker's thread is on one event loop.

    The oldest job is always in the next batch; younger ones of its kind join it while there is room.

    Args:
        worker: answers batches.
        limits: of the server.
        metrics: what is counted.
    """

    def __init__(self, worker: Worker, limits: Limits, metrics: Metrics) -> None:
        self.worker = worker
        self.limits = limits
        self.metrics = metrics
        self._queue: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, "fo1-worker")
        self._turns: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Jobs that no batch has taken yet."""
        return len(self._queue)

    async def submit(self, job: Job) -> Answered:
        """Return what a job brought; one whose waiter is cancelled is forgotten unless it was begun.

        Raises:
            Refusal: too many wait.
            FO1Error: it cannot be done.
        """
        if len(self._queue) >= self.limits.waiting:
            raise busy()
        loop = asyncio.get_running_loop()
        own = _Waiting(job, loop.create_future(), time.perf_counter())
        self._queue.append(own)
        if self._turns is None or self._turns.done():
            self._turns = loop.create_task(self._take_turns())
        try:
            return await own.answer
        finally:
            if own in self._queue:
                self._queue.remove(own)

    def close(self) -> None:
        """Take no more; a batch that was begun is ended."""
        if self._turns is not None:
            self._turns.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _take_turns(self) -> None:
        """Answer until nobody waits."""
        loop = asyncio.get_running_loop()
        while self._queue:
            batch = self._next()
            begun = time.perf_counter()
            try:
                answers: Sequence[Answered | BaseException] = await loop.run_in_executor(
                    self._thread, self.worker.answer, [own.job for own in batch]
                )
            except Exception as error:  # of the worker itself; the next batch may do better
                answers = [error] * len(batch)
            self.metrics.batches.add(len(batch))
            for own, answer in zip(batch, answers, strict=True):
                queued = begun - own.since
                self.metrics.queue_seconds.add(queued)
                if own.answer.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, BaseException):
                    own.answer.set_exception(answer)
                else:
                    seconds = {"queue": queued, **answer.seconds}
                    own.answer.set_result(replace(answer, seconds=seconds))

    def _next(self) -> list[_Waiting]:
        """Return the oldest job and those that are answered with it, which wait no longer."""
        first = self._queue[0]
        kind, pixels = self.worker.kind(first.job.question), first.job.pixels
        batch = [first]
        for own in list(self._queue)[1:]:
            if len(batch) == self.limits.batch:
                break
            fits = pixels + own.job.pixels <= self.limits.pixels
            if fits and self.worker.kind(own.job.question) == kind:
                batch.append(own)
                pixels += own.job.pixels
        for own in batch:
            self._queue.remove(own)
        return batch


def busy() -> Refusal:
    """Return what is told while the house is full."""
    return Refusal(
        429, "queue_full", "the server has its hands full; try again in a second", retry_after=1
    )
