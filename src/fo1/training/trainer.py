"""Trainer: one stage on Hugging Face's Trainer, with exact resume.

Sample i of a stage is a function of i, so where a run stands is one number. A step's losses are sums over all its
samples, divided by the counts of the whole step: micro-batches, packing and processes change nothing.
"""

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
from transformers import Trainer as HFTrainer

from fo1.data.collator import Batch
from fo1.data.sample import Sample
from fo1.formats.beside import write_beside
from fo1.training import checkpoint
from fo1.training.objective import Objective
from fo1.training.sharding import shard
from fo1.training.stages import Stage

DrawSample = Callable[[int], Sample]
"""Returns sample i of a run; must depend on i alone."""

Measure = Callable[[], Mapping[str, float]]
"""Returns figures of the model as it is now."""


class Samples(Dataset[Sample]):
    """The samples of one stage, drawn when they are needed."""

    def __init__(self, draw: DrawSample, first: int, count: int):
        self.draw, self.first, self.count = draw, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return self.draw(self.first + index)


class StageTrainer(HFTrainer):
    """Trains an objective for one stage.

    Args:
        objective: model and losses; what learns was thawed by `apply_stage`.
        stage: how.
        args: of Hugging Face's Trainer; steps, rates and batches are those of the stage, see `arguments`.
        draw: samples.
        collator: makes a batch of some samples.
        groups: group of each parameter that learns, by its name within the model.
        learned: names of all parameters that this or an earlier stage trains.
        first: number of the stage's first sample.
        log: file that gets the losses of every step.
        measured: file that gets the figures of every evaluation.
        sharded: share out the parameters among processes (FSDP2).
        measure: evaluates the model.
        measure_every: steps between two evaluations; None for none.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        objective: Objective,
        stage: Stage,
        args: TrainingArguments,
        *,
        draw: DrawSample,
        collator: Callable[[Sequence[Sample]], Batch],
        groups: Mapping[str, str],
        learned: set[str],
        first: int,
        log: Path,
        measured: Path,
        sharded: bool = False,
        measure: Measure | None = None,
        measure_every: int | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ):
        if sharded:
            shard(objective, bf16=args.bf16)
        count = stage.steps * stage.batch
        super().__init__(
            model=objective,
            args=args,
            data_collator=collator,  # pyright: ignore[reportArgumentType] - a batch is no dict
            train_dataset=Samples(draw, first, count),
            callbacks=list(callbacks),
        )
        self.remove_callback(PrinterCallback)
        # FSDP2 reduces gradients itself; the library then wraps nothing around the model.
        self.is_distributed_loading_by_transformers = sharded
        self.stage = stage
        self.objective = objective
        self.groups = dict(groups)
        self.learned = learned
        self.measure = measure
        self.log_file, self.measured_file = log, measured
        self.counts: dict[str, float] = {}
        self.sums: dict[str, Tensor] = {}
        self.latest: dict[str, float] = {}
        self.add_callback(_EveryStep(self, measure_every if measure else None))

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        data: Any = train_dataset or self.train_dataset
        return SequentialSampler(data)

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = []

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return AdamW with a group of parameters per learning rate, matrices apart from vectors."""
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
        for name, parameter in self.objective.model.named_parameters():
            if parameter.requires_grad:
                key = self.groups[name], parameter.ndim > 1
                groups.setdefault(key, []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": self.stage.learns[group],
                    # New rows are few and always used; decay would only pull them to nothing.
                    "weight_decay": self.stage.weight_decay
                    if matrix and group != "new_tokens"
                    else 0.0,
                }
                for (group, matrix), parameters in sorted(groups.items(), key=lambda one: one[0])
            ],
            betas=(0.9, 0.98),
        )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule of the stage: linear up, then a cosine down to a tenth."""
        warmup = math.ceil(self.stage.warmup * self.stage.steps)

        def share(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            progress = (step - warmup) / max(1, self.stage.steps - warmup)
            return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, progress)))

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Any]:
        """Return the micro-batches of one step; what its losses are to be divided by is kept."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        counts: dict[str, float] = {}
        for batch in batches:
            for name, count in self.objective.counts(batch).items():
                counts[name] = counts.get(name, 0.0) + count
        self.counts = self._over_processes(counts)
        self.sums = {}
        return batches, None

    def _over_processes(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return the sums over all processes, by name."""
        if self.args.world_size == 1:
            return dict(values)
        every: list[Any] = [None] * self.args.world_size
        torch.distributed.all_gather_object(every, dict(values))
        names = sorted({name for own in every for name in own})
        return {name: sum(own.get(name, 0.0) for own in every) for name in names}

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 0: nobody counts them."""
        return 0

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs.to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return this micro-batch's share of the step's loss.

        Raises:
            FloatingPointError: it is not finite.
        """
        losses: dict[str, Tensor] = model(inputs)
        total = next(iter(losses.values())).new_zeros(())
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()
            if name in self.counts and "/" not in name:
                weight = self.stage.losses.get(name, 1.0)
                total = total + weight * value / max(self.counts[name], 1.0)
            elif "/" not in name:
                total = total + value
        if not bool(torch.isfinite(total)):
            raise FloatingPointError(
                f"the loss is not finite at step {self.state.global_step} of stage {self.stage.name}; "
                "lower its learning rates, or train in float32"
            )
        # Processes average their gradients; each sample is to count once.
        return total * self.args.world_size

    def step_losses(self) -> dict[str, float]:
        """Return the losses of the step that was just made, over all processes."""
        sums = self._over_processes({name: float(value) for name, value in self.sums.items()})
        means = {name: sums[name] / max(self.counts.get(name, 1.0), 1.0) for name in sorted(sums)}
        main = {name: value for name, value in means.items() if "/" not in name}
        total = sum(self.stage.losses.get(name, 1.0) * value for name, value in main.items())
        return {"loss": total, **means}

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the figures of `measure`; generators of chance are left as they were."""
        if self.measure is None:
            return {}
        state = _random_state()
        figures = dict(self.measure())
        _set_random_state(state)
        if self.args.process_index == 0:
            self._append(self.measured_file, figures)
        told = {f"eval_{name}": value for name, value in figures.items()}
        self.log(told)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, told)
        return told

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Hand figures to the trackers of `report_to`; with its loss go all losses of the latest step, by task."""
        super().log({**self.latest, **logs} if "loss" in logs else logs, start_time)

    def note_step(self) -> None:
        """Write the losses of the step that was just made."""
        self.latest = self.step_losses()
        if self.args.process_index == 0:
            self._append(self.log_file, self.latest)

    def _append(self, file: Path, values: Mapping[str, float]) -> None:
        row = {"stage": self.stage.name, "step": self.state.global_step, **values}
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(row) + "\n")

    def save_now(self) -> None:
        """Write a checkpoint of the step that was made last."""
        self._save_checkpoint(self.objective, None)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir))
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        learned = checkpoint.learned_state(self.objective.model, self.learned)
        moments = checkpoint.optimizer_state(self.objective.model, optimizer)
        part = folder / f"checkpoint-{self.state.global_step}.part"
        if self.args.process_index == 0:
            part = checkpoint.begin(folder, self.state.global_step)
            checkpoint.write_learned(part / checkpoint.LEARNED, learned)
            schedule = self.lr_scheduler.state_dict()  # type: ignore[union-attr]
            torch.save({"moments": moments, "schedule": schedule}, part / checkpoint.OPTIMIZER)
            self.state.save_to_json(str(part / checkpoint.STATE))
        self._wait()
        torch.save(_random_state(), part / f"random_{self.args.process_index}.pt")
        self._wait()
        if self.args.process_index == 0:
            checkpoint.finish(part, self.args.save_total_limit or 2)
        self._wait()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        state = checkpoint.read_learned(Path(str(resume_from_checkpoint)) / checkpoint.LEARNED)
        checkpoint.set_learned(self.objective.model, state)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            self._restore_optimizer(Path(str(checkpoint)))

    def _restore_optimizer(self, folder: Path) -> None:
        stored = torch.load(folder / checkpoint.OPTIMIZER, map_location="cpu", weights_only=True)
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
        checkpoint.set_optimizer(self.objective.model, optimizer, stored["moments"])
        self.lr_scheduler.load_state_dict(stored["schedule"])  # type: ignore[union-attr]
        for group, rate in zip(optimizer.param_groups, stored["schedule"]["_last_lr"], strict=True):
            group["lr"] = rate

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        file = Path(str(checkpoint)) / f"random_{self.args.process_index}.pt"
        if file.exists():  # another number of processes has generators of its own
            _set_random_state(
                torch.load(file, weights_only=False)
            )  # our own file, numpy and Python states

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Let micro-batches of one step sum up their gradients where they are; the last one reduces them."""
        objective: Any = self.objective
        objective.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            objective.set_requires_gradient_sync(True)

    def _wait(self) -> None:
        if self.args.world_size > 1:
            torch.distributed.barrier()


class _EveryStep(TrainerCallback):
    """Writes the losses of every step, and asks for evaluations."""

    def __init__(self, trainer: StageTrainer, every: int | None):
        self.trainer, self.every = trainer, every

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.note_step()
        if self.every and (state.global_step % self.every == 0):
            control.should_evaluate = True


def cut_log(file: Path, stages: Mapping[str, int]) -> None:
    """Remove from a log what stands behind a checkpoint: the steps of each stage beyond a number.

    Args:
        file: that every step adds a line to; it may be missing.
        stages: by name the steps that are kept; rows of other stages go.
    """
    if not file.exists():
        return
    kept: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut off by the end of its process
            continue
        if row["step"] <= stages.get(row["stage"], -1):
            kept.append(line + "\n")
    write_beside(file, "".join(kept))


def _random_state() -> dict[str, Any]:
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: Mapping[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
