"""FSDP2: the parameters of an objective shared out among processes.

Source: PyTorch, torch.distributed.fsdp.fully_shard. On the GPU this could be left to accelerate, which knows no
sharding on CPUs; one path for both is tested on CPUs.
"""

from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard


def shard(objective: nn.Module, *, bf16: bool) -> None:
    """Share out the layers of the host, each on its own, and then all the rest, in place.

    Args:
        objective: with its whole parameters, the same in every process.
        bf16: compute in bfloat16; parameters and sums of gradients stay as they are.
    """
    low = torch.bfloat16 if bf16 else None
    policy: Any = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    model: Any = objective
    for layer in _layers(model.model.vlm.get_decoder()):
        fully_shard(layer, mp_policy=policy)
    # What the host's layers do not hold is called past `forward` in places and stays in its own precision. Single
    # numbers cannot be shared out; every process keeps them, and the trainer averages their gradients.
    fully_shard(
        objective,
        mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32),
        ignored_params={p for p in objective.parameters() if p.ndim == 0},
    )


def _layers(decoder: nn.Module) -> list[nn.Module]:
    """Return the blocks that repeat in a language model: those that it asks to keep on one device.

    Blocks of vision encoders are not among them: a process whose samples have no pictures would not run them, and
    the others would wait for it.
    """
    names = set(getattr(decoder, "_no_split_modules", None) or ())
    return [module for module in decoder.modules() if type(module).__name__ in names]
