"""Prefix: pictures and regions as the language model left them, so that each question costs its own tokens alone.

    prompt up to the question --host once--> Prefix --fork--> cache of one question --host--> its own tokens

A prefix is never written to: whoever continues it works on a fork, which shares its tensors. Positions are explicit,
since hosts keep those of their last call.

Legend: P tokens of the prefix, N regions placed in it, D language width.
"""

import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


@dataclass(frozen=True, eq=False)
class Prefix:
    """What one sequence left behind.

    Attributes:
        ids: (P,) its tokens.
        region_states: (N, D) last hidden states at its region placeholders, in order.
        cache: keys and values of every layer.
        axes: along which the family counts positions, without rows and tokens.
        next_position: where what continues it stands first.
    """

    ids: Tensor
    region_states: Tensor
    cache: Any
    axes: tuple[int, ...]
    next_position: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        tensors = [self.ids, self.region_states]
        for layer in self.cache.layers:
            tensors += [value for value in vars(layer).values() if isinstance(value, Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def fork(self, rows: int = 1) -> DynamicCache:
        """Return a cache that may be written to, for several rows that all continue this prefix."""
        cache = copy.copy(self.cache)
        # Plain layers replace their tensors when they grow; others may write into them.
        cache.layers = [
            copy.copy(layer) if type(layer) is DynamicLayer else copy.deepcopy(layer)
            for layer in self.cache.layers
        ]
        if rows > 1:
            cache.batch_repeat_interleave(rows)
        return cache

    def positions(self, steps: Tensor) -> Tensor:
        """Return positions (..., B, T) of tokens that stand some steps (B, T) behind the prefix."""
        return (self.next_position + steps).expand(*self.axes, *steps.shape)
