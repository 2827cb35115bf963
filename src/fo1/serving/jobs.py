"""Jobs: what requests ask of a model, as values that need no HTTP; and the seam to whoever does them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from fo1.pipeline import Outcome, Reply, Request, Scene
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.serving.pictures import Upload


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A picture and where its regions come from.

    Args:
        upload: the picture.
        boxes: xyxy pixels of it; None to have them proposed.
        proposer: by whom; None for the model's own.
        limit: the most boxes to propose.
    """

    upload: Upload
    boxes: Sequence[Sequence[float]] | None = None
    proposer: str | None = None
    limit: int = DEFAULT_LIMIT

    @property
    def source(self) -> Hashable:
        """What tells these regions from others of the same picture."""
        if self.boxes is None:
            return self.proposer, self.limit
        return tuple(map(tuple, self.boxes))


@dataclass(frozen=True, slots=True, eq=False)
class Talk:
    """A chat whose next message is wanted.

    Args:
        messages: in the form of `FO1.chat`; an image is its place among the job's pictures.
        max_new_tokens: the longest answer; None for the model's own limit.
    """

    messages: Sequence[Mapping[str, Any]]
    max_new_tokens: int | None = None


Question: TypeAlias = Request | Talk


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What one request asks.

    Args:
        shown: its pictures; one for a verb.
        question: about them.
    """

    shown: tuple[Shown, ...]
    question: Question

    @property
    def pixels(self) -> int:
        """Of all its pictures."""
        return sum(one.upload.pixels for one in self.shown)


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What a job brought.

    Args:
        scenes: of its pictures.
        result: the outcome of a verb, the reply of a chat.
        seconds: queue, load, encode, propose, answer; those of a batch are told to each of its jobs.
    """

    scenes: tuple[Scene, ...]
    result: Outcome | Reply
    seconds: Mapping[str, float]


class Answerer(Protocol):
    """Does jobs. Ours is `batching.Batcher`; another engine can stand behind the same API."""

    async def submit(self, job: Job) -> Answered:
        """Return what a job brought; cancelled, it is not begun if it has not been.

        Raises:
            FO1Error: it cannot be done; a `Refusal` says with which status.
        """
        ...

    def close(self) -> None:
        """Take no more."""
        ...
