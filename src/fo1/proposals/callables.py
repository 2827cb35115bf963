"""Any function from a picture to boxes as a proposer, and whatever it may return as `Proposals`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeGuard, cast

import numpy as np
from PIL import Image

from fo1.errors import InputError, short_name
from fo1.geometry import as_boxes
from fo1.imaging import TensorLike
from fo1.proposals.base import Proposer
from fo1.results import Proposals

ProposingFunction: TypeAlias = Callable[[Image.Image], Any]
"""Takes an RGB picture and returns what `as_proposals` takes."""

ProposerLike: TypeAlias = str | Proposer | ProposingFunction
"""Whatever boxes may come from: a name, an object, or a function of a picture."""


class SupervisionDetections(Protocol):
    """What is used of a `supervision.Detections`, so that the package need not be there."""

    @property
    def xyxy(self) -> Any:
        """(N, 4) pixels."""

    @property
    def confidence(self) -> Any:
        """(N,), or None."""

    @property
    def class_id(self) -> Any:
        """(N,), or None."""

    @property
    def data(self) -> Mapping[str, Any]:
        """Names among others, as `class_name`."""
        ...


_NEED = (
    "give a name such as 'grid', an object with a name and a method propose(image), "
    "or a function of a picture"
)


class CallableProposer:
    """A function as a proposer.

    Args:
        function: takes an RGB picture; returns what `as_proposals` takes, in pixels of the picture.
        name: what it is called; the function's own name if not given.
    """

    def __init__(self, function: ProposingFunction, name: str | None = None) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def propose(self, image: Image.Image) -> Proposals:
        """Return what the function finds, in its order.

        Raises:
            BoxError: its boxes are malformed.
            InputError: it returned something else, or scores or labels that do not fit.
        """
        # A function that draws on what it sees must not change what is judged.
        return as_proposals(self.function(image.copy()), self.name)


def as_proposer(given: Proposer | ProposingFunction) -> Proposer:
    """Return a proposer: the one given, or the function given as one.

    Raises:
        InputError: it proposes nothing.
    """
    if not isinstance(given, type):
        if hasattr(given, "name") and callable(getattr(given, "propose", None)):
            return cast("Proposer", given)
        if callable(given):
            return CallableProposer(given)
    raise InputError(f"proposer is {short_name(repr(given))}; {_NEED}")


def as_proposals(found: Any, source: str) -> Proposals:
    """Return proposals from whatever holds boxes.

    Args:
        found: `Proposals`; a `supervision.Detections`; (N, 4) xyxy, also a tensor on any device; or a
            tuple of boxes, scores and, if wanted, labels. Boxes without scores have the score 1.
        source: who proposed them, if they do not say.

    Raises:
        BoxError: the boxes are no (N, 4) finite numbers.
        InputError: the counts differ, or a score is outside [0, 1].
    """
    if isinstance(found, Proposals):
        return found
    if is_supervision(found):
        return Proposals.from_supervision(found, source)
    scores: Any = None
    labels: Any = None
    if isinstance(found, tuple) and len(found) in (2, 3) and _is_table(found[0]):
        found, scores, *rest = found
        labels = rest[0] if rest else None
    found, scores = _off_device(found), _off_device(scores)
    boxes = as_boxes(found, where=f"boxes of '{short_name(source)}'")
    scores = np.ones(len(boxes), np.float32) if scores is None else scores
    return Proposals(boxes, scores, source, labels)


def is_supervision(found: Any) -> TypeGuard[SupervisionDetections]:
    """Return whether an object is a `supervision.Detections`, told by what it holds."""
    return all(hasattr(found, part) for part in ("xyxy", "confidence", "class_id", "data"))


def _off_device(value: Any) -> Any:
    """Return a tensor as an array, anything else as it is."""
    return value.detach().cpu().float().numpy() if isinstance(value, TensorLike) else value


def _is_table(value: Any) -> bool:
    """Return whether a value is boxes, none included, and no single box."""
    try:
        return len(value) == 0 or np.ndim(value[0]) == 1
    except (TypeError, ValueError, RuntimeError):
        return False
