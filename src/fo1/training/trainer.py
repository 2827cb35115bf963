"""A small training loop: one stage after the other, checkpoints written aside and renamed, exact resume."""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fo1.training.stages import Stage, apply_stage

logger = logging.getLogger(__name__)

Losses = Mapping[str, Tensor]
LossFunction = Callable[[nn.Module, int, Stage], Losses]


class Trainer:
    """Runs stages in order; a run that was stopped goes on at the last checkpoint.

    Args:
        model: what learns.
        stages: in order.
        losses: returns the named losses of one step; must depend on its arguments alone, so that a
            resumed run sees the same data: `losses(model, step over all stages, stage)`. Under `torchrun`
            each process should draw its own share of the batch (see `process_rank`).
        folder: for checkpoints and `log.jsonl`.
        every: steps between checkpoints.
        precision: type of the forward pass; parameters stay float32.
    """

    def __init__(
        self,
        model: nn.Module,
        stages: Sequence[Stage],
        losses: LossFunction,
        folder: Path,
        *,
        every: int = 200,
        precision: torch.dtype = torch.float32,
    ):
        self.model = model
        self.stages = tuple(stages)
        self.losses = losses
        self.folder = folder
        self.every = every
        self.precision = precision

    @property
    def checkpoint(self) -> Path:
        """Where the state of a stopped run lies."""
        return self.folder / "checkpoint.pt"

    def run(self, until: int | None = None) -> None:
        """Train through all stages, or up to a number of steps counted over all stages."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {}
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            self.model.load_state_dict(state["model"])
            logger.info("resumed at step %d", state["step"])
        done, first = state.get("step", 0), 0
        for stage in self.stages:
            last = first + stage.steps
            if done < last and (until is None or first < until):
                self._run_stage(
                    stage, first, max(done, first), state if done > first else {}, until
                )
            first = last

    def _run_stage(
        self, stage: Stage, first: int, begin: int, state: Mapping[str, Any], until: int | None
    ) -> None:
        names = apply_stage(self.model, stage)
        optimizer = self._optimizer(stage)
        if state:
            optimizer.load_state_dict(state["optimizer"])
        self.model.train()
        logger.info("stage %s: %d tensors learn, %d steps", stage.name, len(names), stage.steps)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        last, start, seen = first + stage.steps, time.monotonic(), {}
        for step in range(begin, last):
            if until is not None and step >= until:
                self._save(step, optimizer)
                return
            rate = stage.learning_rate * schedule(step - first, stage.steps, stage.warmup)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(
                learning[0].device.type, self.precision, self.precision != torch.float32
            ):
                parts = self.losses(self.model, step, stage)
            total = sum(
                (stage.losses.get(k, 1.0) * v for k, v in parts.items()), start=torch.zeros(())
            )
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            average_gradients(learning)
            norm = nn.utils.clip_grad_norm_(learning, 1.0)
            if not torch.isfinite(norm):
                raise FloatingPointError(
                    f"gradient is not finite at step {step} of stage {stage.name}"
                )
            optimizer.step()
            for key, value in parts.items():
                seen.setdefault(key, []).append(float(value.detach()))
            if process_rank() == 0 and ((step + 1 - first) % 50 == 0 or step + 1 == last):
                self._log(stage, step + 1, last, step + 1 - begin, time.monotonic() - start, seen)
                seen = {}
            if (step + 1) % self.every == 0 or step + 1 == last:
                self._save(step + 1, optimizer)

    def _optimizer(self, stage: Stage) -> torch.optim.AdamW:
        learning = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(
            [
                {"params": [p for p in learning if p.ndim > 1], "weight_decay": stage.weight_decay},
                {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=stage.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )

    def _log(
        self,
        stage: Stage,
        step: int,
        last: int,
        made: int,
        seconds: float,
        seen: Mapping[str, list[float]],
    ) -> None:
        means = {key: round(sum(values) / len(values), 4) for key, values in seen.items()}
        left = (last - step) * seconds / max(made, 1)
        row = {
            "stage": stage.name,
            "step": step,
            **means,
            "seconds_per_step": round(seconds / max(made, 1), 3),
        }
        logger.info("%s | %d s left in this stage", json.dumps(row), left)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _save(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        if process_rank() != 0:
            return
        part = self.checkpoint.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(
                {
                    "model": self.model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                },
                file,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.checkpoint)


def process_rank() -> int:
    """Return the number of this process among those that train together, 0 when it is alone."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its mean over all processes that train together; nothing to do for one."""
    if not torch.distributed.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:  # unused on this process only
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    offset = 0
    for parameter in parameters:
        assert parameter.grad is not None
        count = parameter.grad.numel()
        parameter.grad.copy_(flat[offset : offset + count].view_as(parameter.grad))
        offset += count


def schedule(step: int, steps: int, warmup: int) -> float:
    """Return the share of the peak learning rate at a step: linear up, then cosine down to a tenth."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
