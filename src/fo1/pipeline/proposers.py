"""Where a model's boxes come from when the caller gives none."""

import threading
from pathlib import Path

from fo1.errors import InputError
from fo1.models.light_encoder import LightEncoder
from fo1.models.nanodet import NanoDet
from fo1.models.ssd import SSDMobileNetV2
from fo1.pipeline.engine import Engine
from fo1.proposals import TILED, Proposer, as_proposer, check_name, get_proposer, names, tiled
from fo1.proposals.base import DEFAULT_LIMIT, check_limit
from fo1.proposals.callables import ProposerLike
from fo1.proposals.combining import UnionProposer
from fo1.proposals.detector import NanoDetProposer, SSDProposer
from fo1.proposals.own import OwnProposer

_NANODET, _SSD = NanoDetProposer.name, SSDProposer.name
_UNION = f"{_NANODET}+{_SSD}"


def check_proposer(proposer: ProposerLike) -> str | Proposer:
    """Return the proposer, a function as one, known by its name if it is a name.

    Raises:
        InputError: no proposer has this name, or the object proposes nothing.
    """
    return check_name(proposer) if isinstance(proposer, str) else as_proposer(proposer)


class ModelProposers:
    """The proposers of one model, each made on first use; threads may share them.

    A detector that the model sees with proposes as well, so its weights are loaded once.

    Args:
        engine: the model.
        folder: the model's files, which may hold weights of proposers.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._of = engine, folder
        self._processor = engine.processor
        auxiliary = engine.model.region_encoder.auxiliary
        finds = isinstance(auxiliary, LightEncoder) and auxiliary.objectness is not None
        self._own: LightEncoder | None = auxiliary if finds else None
        self._detector: NanoDet | None = getattr(auxiliary, "detector", None)
        self._folder = folder if (folder / f"{_SSD}.safetensors").is_file() else None
        self._ssd: SSDMobileNetV2 | None = None
        self._made: dict[tuple[str, int], Proposer] = {}
        self._lock = threading.Lock()

    @property
    def default(self) -> str:
        """Name of the proposer that suits the model: its own boxes, or those of the detectors that have weights."""
        if self._own is not None:
            return OwnProposer.name
        return _NANODET if self._detector is not None and self._folder is None else _UNION

    def get(self, proposer: ProposerLike, limit: int = DEFAULT_LIMIT) -> Proposer:
        """Return the proposer of a name, or the proposer given.

        Args:
            proposer: a name, an object or a function.
            limit: the most boxes that a named one gives.

        Raises:
            InputError: no proposer has this name, the object proposes nothing, or the limit is below 1.
            CheckpointError: its weights are missing or damaged.
            MissingExtraError: it needs a package that is not installed.
        """
        known = check_proposer(proposer)
        check_limit(limit)
        if not isinstance(known, str):
            return known
        with self._lock:
            # Usual limits share one proposer; the caller cuts what it gives.
            return self._named(known, max(limit, DEFAULT_LIMIT))

    def _named(self, name: str, limit: int) -> Proposer:
        if (name, limit) not in self._made:
            self._made[name, limit] = self._make(name, limit)
        return self._made[name, limit]

    def _make(self, name: str, limit: int) -> Proposer:
        if name == OwnProposer.name:
            if self._own is None:
                raise InputError("this model finds no boxes of its own; choose another proposer")
            return OwnProposer(self._own, self._processor, limit)
        if name in (_UNION, TILED):
            parts = (self._named(_NANODET, limit), self._named(_SSD, limit))
            return tiled(parts, limit) if name == TILED else UnionProposer(parts, limit)
        if name == _NANODET and self._detector is not None:
            return NanoDetProposer(self._detector, limit)
        if name == _SSD:
            # Another limit shares the weights.
            self._ssd = self._ssd or SSDProposer.load(self._folder).model
            return SSDProposer(self._ssd, limit)
        if name not in names():
            from fo1.proposals.transformers_detector import load_detector

            return load_detector(name, limit, device=self._of[0].model.device)
        return get_proposer(name, limit=limit)

    def __reduce__(self) -> tuple[type["ModelProposers"], tuple[Engine, Path]]:
        """Let copies make their proposers, and a lock, of their own."""
        return ModelProposers, self._of
