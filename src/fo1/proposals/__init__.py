"""Sources of boxes. `get_proposer` makes one by name, `FileProposer` reads a user's own boxes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from fo1.errors import InputError, short_name
from fo1.proposals.base import DEFAULT_LIMIT, Proposer, prompted, rank_and_dedupe
from fo1.proposals.callables import CallableProposer, as_proposals, as_proposer
from fo1.proposals.combining import BestProposer, TiledProposer, UnionProposer
from fo1.proposals.from_file import FileProposer

__all__ = [
    "BestProposer",
    "CallableProposer",
    "FileProposer",
    "Proposer",
    "TiledProposer",
    "UnionProposer",
    "as_proposals",
    "as_proposer",
    "check_name",
    "get_proposer",
    "names",
    "prompted",
    "rank_and_dedupe",
]

TILED = "tiled"
"""Name of the default detectors on the tiles of a picture."""

DETECTOR_HELP = "a folder with a detector of transformers, or its hub id"
"""What may stand for the name of a proposer besides `names()`."""

_DETECTORS = ("nanodet+ssd", "nanodet", "ssd", TILED)
_OWN = "own"  # of a model, which makes it
_OTHERS = ("selective-search", "grid", "none")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def names() -> tuple[str, ...]:
    """Return the names `get_proposer` knows, the default first."""
    return (*_DETECTORS, _OWN, *_OTHERS)


def check_name(name: str) -> str:
    """Return the name of a proposer that exists, or that of a detector that may.

    Raises:
        InputError: no proposer has this name, and it is no folder with a config.json and no hub id.
    """
    if name in names():
        return name
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(
                f"proposer {short_name(name)} holds no config.json; "
                "give a folder with a detector of transformers"
            )
    elif folder.exists() or not _HUB_ID.fullmatch(name):
        choices = ", ".join(names())
        raise InputError(
            f"unknown proposer '{short_name(name)}'; choose one of: {choices}; or {DETECTOR_HELP}"
        )
    return name


def get_proposer(
    name: str = _DETECTORS[0], *, weights: Traversable | None = None, limit: int = DEFAULT_LIMIT
) -> Proposer:
    """Return the proposer of that name.

    Args:
        name: one of `names()`; or a folder or hub id, see `transformers_detector.load_detector`.
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
    if name not in _DETECTORS:
        from fo1.proposals.transformers_detector import load_detector

        return load_detector(name, limit)
    from fo1.proposals.detector import NanoDetProposer, SSDProposer

    if name == "nanodet":
        return NanoDetProposer.load(weights, limit)
    if name == "ssd":
        return SSDProposer.load(weights, limit)
    parts = (NanoDetProposer.load(weights, limit), SSDProposer.load(weights, limit))
    return tiled(parts, limit) if name == TILED else UnionProposer(parts, limit)


def tiled(proposers: Sequence[Proposer], limit: int = DEFAULT_LIMIT) -> Proposer:
    """Return several proposers in turns, each on the tiles of a picture, so that scores are compared with their own."""
    return UnionProposer([TiledProposer(proposer, limit) for proposer in proposers], limit)
