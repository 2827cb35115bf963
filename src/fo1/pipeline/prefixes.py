"""Prefixes: what the language model made of scenes, kept while there is room and the scene lives.

A scene is a value and does not change; this is a memory of the engine beside it. What is forgotten is computed again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from weakref import ref

from fo1.models.prefix import Prefix

MOST_BYTES: Final = 256 * 2**20
"""What all kept prefixes may take together."""


@dataclass(frozen=True, slots=True)
class _Kept:
    owner: "ref[object]"
    prefix: Prefix


class Prefixes:
    """The prefixes that were used last; threads may share it.

    Args:
        most_bytes: what they may take together; one that is larger alone is not kept.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[tuple[int, tuple[int, ...]], _Kept] = OrderedDict()
        self._lock = threading.RLock()  # an owner may die, and tell so, while it is held

    def get(self, owner: object, part: tuple[int, ...], make: Callable[[], Prefix]) -> Prefix:
        """Return the prefix of a part of an owner, made if it is not there.

        Args:
            owner: whose death it does not outlive.
            part: which of the owner's prefixes.
            make: it; two threads that miss it at once make it twice.
        """
        key = id(owner), part
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found.owner() is owner:
                self._kept.move_to_end(key)
                return found.prefix
        prefix = make()
        with self._lock:
            self._kept[key] = _Kept(ref(owner, lambda _: self._forget(key)), prefix)
            self._kept.move_to_end(key)
            while self.num_bytes > self.most_bytes:
                self._kept.popitem(last=False)
        return prefix

    @property
    def num_bytes(self) -> int:
        """What the kept prefixes take together."""
        with self._lock:
            return sum(kept.prefix.num_bytes for kept in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def _forget(self, key: tuple[int, tuple[int, ...]]) -> None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.owner() is None:
                del self._kept[key]
