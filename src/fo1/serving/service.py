"""What the routes need, as one value."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from fo1.serving.jobs import Answered, Answerer, Job
from fo1.serving.limits import Limits
from fo1.serving.metrics import Metrics
from fo1.serving.refusals import Refusal
from fo1.serving.remote import Remote


@dataclass(frozen=True, kw_only=True)
class Service:
    """A model behind an API.

    Args:
        name: what the model is called by clients.
        answerer: does the jobs.
        limits: of the server.
        metrics: what is counted.
        remote: what fetches pictures; None for nobody.
        keys: of clients; empty for none.
    """

    name: str
    answerer: Answerer
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    remote: Remote | None = None
    keys: Sequence[str] = ()

    async def answer(self, job: Job) -> Answered:
        """Return what a job brought in time.

        Raises:
            FO1Error: it cannot be done, or not in time.
        """
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self.answerer.submit(job)
        except TimeoutError as error:
            told = f"no answer in {self.limits.seconds} s; ask less, or later"
            raise Refusal(504, "deadline", told, retry_after=1) from error
