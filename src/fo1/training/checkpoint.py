"""Checkpoints: written aside, synced, renamed, then marked complete; only what is marked is ever loaded.

    checkpoint-200/
      learned.safetensors   every parameter that any stage has trained so far
      optimizer.pt          moments and steps by parameter name, and the schedule
      random_0.pt           generators of process 0, ...
      trainer_state.json    where the run stood
      complete.json         size of every file above; written last

Tensors are whole, however many processes trained them, so a run may go on with another number of processes.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from fo1.errors import CheckpointError

MARK = "complete.json"
LEARNED, OPTIMIZER, STATE = "learned.safetensors", "optimizer.pt", "trainer_state.json"
_PREFIX, _PART = "checkpoint-", ".part"


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with all its shards, on the CPU; every process has to ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu()


def learned_state(model: nn.Module, names: set[str]) -> dict[str, Tensor]:
    """Return the named parameters, whole; every process has to ask."""
    return {
        name: whole(parameter).clone().contiguous()
        for name, parameter in model.named_parameters()
        if name in names
    }


@torch.no_grad()
def set_learned(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put stored values into the parameters of the same names.

    Raises:
        CheckpointError: the model has no such parameter.
    """
    parameters = dict(model.named_parameters())
    strange = sorted(set(state) - set(parameters))
    if strange:
        raise CheckpointError(
            f"the model has no parameter {strange[0]!r}; resume the run that wrote it"
        )
    for name, value in state.items():
        parameters[name].copy_(_like(value, parameters[name]))


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return an optimiser's state by parameter name, whole; every process has to ask."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: {
            key: whole(value) if isinstance(value, Tensor) else value
            for key, value in optimizer.state[parameter].items()
        }
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter in optimizer.state
    }


def set_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Mapping[str, Any]]
) -> None:
    """Put a stored state into an optimiser of the same parameters."""
    parameters = dict(model.named_parameters())
    for name, values in state.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            key: _like(value, parameter) if _is_moment(value, parameter) else value
            for key, value in values.items()
        }


def latest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a folder; parts and damaged ones are passed over."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.is_dir() and is_complete(path)]
    return max(found, key=step_of, default=None)


def step_of(path: Path) -> int:
    """Return the step of a checkpoint by its name, -1 if it has none."""
    number = path.name.removeprefix(_PREFIX)
    return int(number) if number.isdecimal() else -1


def is_complete(path: Path) -> bool:
    """Return whether a checkpoint is marked and all its files are as large as the mark says."""
    if step_of(path) < 0:
        return False
    try:
        sizes = json.loads((path / MARK).read_text(encoding="utf-8"))["sizes"]
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def begin(folder: Path, step: int) -> Path:
    """Return an empty folder in which the checkpoint of a step is to be written."""
    part = folder / f"{_PREFIX}{step}{_PART}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def finish(part: Path, keep: int) -> Path:
    """Sync, rename and mark what was written, then remove all but the newest; return where it is now."""
    target = part.with_name(part.name.removesuffix(_PART))
    sizes = {file.name: file.stat().st_size for file in sorted(part.iterdir())}
    for file in (*part.iterdir(), part):
        _sync(file)
    shutil.rmtree(target, ignore_errors=True)  # of an interrupted save of the same step
    part.rename(target)
    _sync(target.parent)
    mark = target / f"{MARK}{_PART}"
    mark.write_text(json.dumps({"sizes": sizes}, indent=1) + "\n", encoding="utf-8")
    _sync(mark)
    mark.rename(target / MARK)
    _sync(target)
    own = sorted(target.parent.glob(f"{_PREFIX}*"), key=step_of)
    complete = [path for path in own if is_complete(path)]
    for path in own:
        if path not in complete[-keep:]:
            shutil.rmtree(path, ignore_errors=True)
    return target


def write_learned(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write parameters to a file."""
    save_file(dict(state), path, metadata={"format": "pt"})


def read_learned(path: Path) -> dict[str, Tensor]:
    """Return the parameters of a file.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return load_file(path)
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}); remove its folder to go on from an earlier checkpoint"
        ) from error


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    if isinstance(parameter, DTensor):
        moved = value.to(parameter.device_mesh.device_type)
        return distribute_tensor(moved, parameter.device_mesh, parameter.placements)
    return value.to(parameter.device)


def _is_moment(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim > 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
