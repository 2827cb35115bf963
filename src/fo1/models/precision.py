"""What keeps its own precision when the rest of a model is cast by `to(torch.bfloat16)` or `half()`.

Loading with `dtype=` leaves the same tensors alone, so both ways give the same model.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Method = TypeVar("Method", bound=Callable[..., Any])


def in_float32(method: Method) -> Method:
    """Return a module's method that computes in its own precision where autocast is on."""

    @wraps(method)
    def computed(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(next(self.parameters()).device.type, enabled=False):
            return method(self, *args, **kwargs)

    return computed  # type: ignore[return-value]


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
