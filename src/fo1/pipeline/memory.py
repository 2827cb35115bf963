"""Memory: what was computed of pictures and scenes, kept while there is room and its owner lives.

Pictures and scenes are values and do not change; this stands beside them. What is forgotten is computed again.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, cast
from weakref import ref

MOST_BYTES: Final = 512 * 2**20
"""What all kept values may take together."""


class Sized(Protocol):
    """A value that knows what it takes."""

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        ...


V = TypeVar("V", bound=Sized)


@dataclass(frozen=True, slots=True)
class _Kept:
    owner: "ref[object]"
    value: Sized
    num_bytes: int


class Memory:
    """The values that were used last; threads may share it.

    Args:
        most_bytes: what they may take together; one that is larger alone is not kept.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._kept: OrderedDict[tuple[int, Hashable], _Kept] = OrderedDict()
        self._lock = threading.RLock()  # an owner may die, and tell so, while it is held

    def get(self, owner: object, part: Hashable, make: Callable[[], V]) -> V:
        """Return a value of an owner, made if it is not there.

        Args:
            owner: whose death it does not outlive.
            part: which of the owner's values; each is of one kind.
            make: it; two threads that miss it at once make it twice.
        """
        key = id(owner), part
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found.owner() is owner:
                self._kept.move_to_end(key)
                return cast(V, found.value)
        value = make()
        size = value.num_bytes
        if size > self.most_bytes:
            return value
        kept = _Kept(ref(owner, lambda _: self._forget(key)), value, size)
        with self._lock:
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while self.num_bytes > self.most_bytes:
                self._kept.popitem(last=False)
        return value

    def forget(self, *owners: object) -> None:
        """Drop all values of some owners."""
        ids = set(map(id, owners))
        with self._lock:
            for key in list(self._kept):
                if key[0] in ids:
                    self._kept.pop(key, None)

    @property
    def num_bytes(self) -> int:
        """What the kept values take together."""
        with self._lock:
            return sum(kept.num_bytes for kept in list(self._kept.values()))

    def __len__(self) -> int:
        return len(self._kept)

    def _forget(self, key: tuple[int, Hashable]) -> None:
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.owner() is None:
                self._kept.pop(key, None)

    def __reduce__(self) -> tuple[type["Memory"], tuple[int]]:
        """Let copies of an engine begin with nothing kept."""
        return Memory, (self.most_bytes,)
