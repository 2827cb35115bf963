"""Several processes on one run, as `torchrun` starts them."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import torch

from fo1.errors import InputError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: number of this one, counted from 0.
        count: of all.
        local_rank: number of this one on its machine, which chooses the device.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls) -> Self:
        """Return what `torchrun` set, a single process if it set nothing.

        Raises:
            InputError: the variables are no numbers.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        given = [os.environ.get(name, default) for name, default in zip(names, "010", strict=True)]
        try:
            rank, count, local_rank = map(int, given)
        except ValueError as error:
            raise InputError(f"{', '.join(names)} are {given}; start with torchrun") from error
        return cls(rank, count, local_rank)

    @property
    def device(self) -> str | None:
        """The device of this process; None leaves the choice to the model's loader."""
        several = self.count > 1 and torch.cuda.is_available()
        return f"cuda:{self.local_rank % torch.cuda.device_count()}" if several else None

    def wait_for_all(self) -> None:
        """Return when every process has come here; `torchrun` ends all if one fails."""
        if self.count == 1:
            return
        group = torch.distributed
        if not group.is_initialized():
            group.init_process_group("gloo", timeout=timedelta(days=7))
        group.barrier()
