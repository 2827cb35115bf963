"""What the routes need, as one value."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fo1.serving.jobs import Answerer
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

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Cancel what is done in the `with` at the deadline of an answer.

        Raises:
            Refusal: it came.
        """
        try:
            async with asyncio.timeout(self.limits.seconds):
                yield
        except TimeoutError as error:
            told = f"no answer in {self.limits.seconds} s; ask less, or later"
            raise Refusal(504, "deadline", told, retry_after=1) from error
