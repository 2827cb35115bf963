"""What keeps its own precision when the rest of a model is cast by `to(torch.bfloat16)` or `half()`.

Loading with `dtype=` leaves the same tensors alone, so both ways give the same model.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class KeepsPrecision(nn.Module):
    """A module that is moved with the model but not cast."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)


class KeepsBuffers(nn.Module):
    """A model in which buffers that are computed, never stored, are not cast: rotary frequencies.

    In bfloat16 a frequency is off by up to 0.4 %, and the angle at position 1000 by radians.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        computed = [
            (module, name, module._buffers[name])
            for module in self.modules()
            for name in module._non_persistent_buffers_set
        ]
        super()._apply(fn, recurse)
        for module, name, buffer in computed:
            moved = module._buffers[name]
            if buffer is not None and moved is not None and moved.dtype != buffer.dtype:
                module._buffers[name] = buffer.to(moved.device)
        return self
