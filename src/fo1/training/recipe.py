"""Recipe: everything that decides a training run, as one value.

A recipe is a function that returns one; `--set key=value` changes fields of it. The value is written beside the model.
"""

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fo1.data.sampling import Sampling
from fo1.errors import InputError
from fo1.training.stages import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A training run.

    Attributes:
        name: what `fo1 train` calls it.
        about: one line for people.
        model: what is trained: "nano", a folder or a hub id of a model with region tokens.
        stages: in order.
        sampling: how samples are drawn from records.
        micro_batch: samples of one pass of one process; a stage's batch is made of whole ones.
        pack_to: rows are filled with samples up to this many tokens; None gives each its own row.
        bf16: compute in bfloat16; parameters stay as they are loaded.
        gradient_checkpointing: compute the host's layers twice to hold less.
        sharded: share out parameters among processes (FSDP2); else each holds all (DDP).
        cache: compute what frozen auxiliary encoders say of a sample's boxes once; needs `sampling.variants`.
        proposer: where further boxes of training pictures come from; None for those of the records alone.
        held_out: share of the records that is kept for measuring.
        measure_every: steps between two measurements; None for the end alone.
        measure_limit: pictures that are measured during training.
        save_every: steps between two checkpoints.
        keep: checkpoints that are kept.
        workers: processes that prepare samples.
        seed: of everything that is drawn.
        report_to: trackers of Hugging Face's Trainer, for example ("tensorboard",).
    """

    name: str
    about: str = ""
    model: str = "nano"
    stages: tuple[Stage, ...]
    sampling: Sampling = field(default_factory=Sampling)
    micro_batch: int = 4
    pack_to: int | None = None
    bf16: bool = False
    gradient_checkpointing: bool = False
    sharded: bool = False
    cache: bool = False
    proposer: str | None = None
    held_out: float = 0.1
    measure_every: int | None = None
    measure_limit: int = 50
    save_every: int = 200
    keep: int = 2
    workers: int = 0
    seed: int = 0
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"recipe {self.name!r} has stages {names}; give one or more, each its own name"
            )
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}; give a share from 0 to below 1")
        for name in ("micro_batch", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name, least in (("pack_to", 16), ("measure_every", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} is {value}; give {least} or more, or None")
        for name, least in (("measure_limit", 1), ("workers", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; give {least} or more")
        if self.cache and self.sampling.variants is None:
            raise InputError(
                "cache needs sampling.variants, a number of region sets per record; set it"
            )


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON types."""
    return dataclasses.asdict(recipe)


def change(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return a recipe with fields set, for example "seed=3", "sampling.jitter=0.2", "stages.alignment.steps=50".

    Raises:
        InputError: a setting is no "key=value", or its key does not exist.
    """
    for setting in settings:
        key, sign, text = setting.partition("=")
        if not sign or not key:
            raise InputError(f"--set {setting!r} is no key=value, for example --set seed=3")
        recipe = _set(recipe, key.strip().split("."), _value(text.strip()), key)
    return recipe


def _set(owner: Any, path: Sequence[str], value: Any, key: str) -> Any:
    name, rest = path[0], path[1:]
    if isinstance(owner, Mapping):
        return {**owner, name: _set(owner[name], rest, value, key) if rest else value}
    if isinstance(owner, tuple):
        return _set_stage(owner, name, rest, value, key)
    names = [one.name for one in dataclasses.fields(owner)]
    if name not in names:
        raise InputError(f"--set {key}: there is no {name!r}; known are {', '.join(names)}")
    old = getattr(owner, name)
    if rest:
        if old is None or not (dataclasses.is_dataclass(old) or isinstance(old, tuple | Mapping)):
            raise InputError(f"--set {key}: {name!r} has no fields")
        return dataclasses.replace(owner, **{name: _set(old, rest, value, key)})
    if isinstance(old, tuple) and isinstance(value, list | str):
        value = tuple([value] if isinstance(value, str) else value)
    _check_kind(key, old, value)
    return dataclasses.replace(owner, **{name: value})


def _set_stage(
    stages: tuple[Any, ...], name: str, rest: Sequence[str], value: Any, key: str
) -> Any:
    chosen = [place for place, stage in enumerate(stages) if name in (stage.name, str(place), "*")]
    if not chosen or not rest:
        names = ", ".join(stage.name for stage in stages)
        raise InputError(f"--set {key}: give stages.NAME.FIELD, NAME one of {names} or *")
    return tuple(
        _set(stage, rest, value, key) if place in chosen else stage
        for place, stage in enumerate(stages)
    )


def _check_kind(key: str, old: Any, value: Any) -> None:
    numbers = (int, float)
    if isinstance(old, bool) or isinstance(value, bool):
        fits = isinstance(old, bool | None) and isinstance(value, bool | None)
    elif isinstance(old, numbers):
        fits = value is None or isinstance(value, float if isinstance(old, float) else int)
        fits = fits or (isinstance(old, float) and isinstance(value, int))
    else:
        fits = old is None or value is None or isinstance(value, type(old))
    if not fits:
        raise InputError(f"--set {key}: {value!r} is no {type(old).__name__}, as {old!r} is")


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
