"""Sources of boxes. `get_proposer` makes one by name, `FileProposer` reads a user's own boxes."""

from __future__ import annotations

from importlib.resources.abc import Traversable

from fo1.errors import InputError, short_name
from fo1.proposals.base import DEFAULT_LIMIT, Proposer, rank_and_dedupe
from fo1.proposals.from_file import FileProposer

__all__ = ["FileProposer", "Proposer", "check_name", "get_proposer", "names", "rank_and_dedupe"]

_DETECTORS = ("nanodet+ssd", "nanodet", "ssd")
_OWN = "own"  # of a model, which makes it
_OTHERS = ("selective-search", "grid", "none")


def names() -> tuple[str, ...]:
    """Return the names `get_proposer` knows, the default first."""
    return (*_DETECTORS, _OWN, *_OTHERS)


def check_name(name: str) -> str:
    """Return the name of a proposer that exists.

    Raises:
        InputError: no proposer has this name.
    """
    if name not in names():
        choices = ", ".join(names())
        raise InputError(f"unknown proposer '{short_name(name)}'; choose one of: {choices}")
    return name


def get_proposer(
    name: str = _DETECTORS[0], *, weights: Traversable | None = None, limit: int = DEFAULT_LIMIT
) -> Proposer:
    """Return the proposer of that name.

    Args:
        name: one of `names()`.
        weights: a folder with the detectors' safetensors files; the package's own if not given.
        limit: the most boxes per picture.

    Raises:
        InputError: the name is unknown, the limit below 1, or the boxes are a model's own.
        CheckpointError: weights are missing, damaged or of another model.
        MissingExtraError: the proposer needs a package that is not installed.
    """
    check_name(name)
    if name == _OWN:
        raise InputError("own boxes are those of a model; ask its get_proposer")
    if name == "none":
        from fo1.proposals.none import NoneProposer

        return NoneProposer()
    if name == "grid":
        from fo1.proposals.grid import GridProposer

        return GridProposer(limit)
    if name == "selective-search":
        from fo1.proposals.selective_search import SelectiveSearchProposer

        return SelectiveSearchProposer(limit)
    from fo1.proposals.detector import NanoDetProposer, SSDProposer, UnionProposer

    if name == "nanodet":
        return NanoDetProposer.load(weights, limit)
    if name == "ssd":
        return SSDProposer.load(weights, limit)
    parts = (NanoDetProposer.load(weights, limit), SSDProposer.load(weights, limit))
    return UnionProposer(parts, limit)
