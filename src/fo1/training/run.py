"""A run: the stages of a recipe one after another, each on a model made anew from what the earlier ones learned.

    OUT/run.json                      the recipe and what a repetition needs
    OUT/log.jsonl                     losses of every step
    OUT/measured.jsonl                figures of evaluations during training, where the recipe asks for them
    OUT/stages/1-alignment/           checkpoints of a stage; the last one is what it learned
    OUT/                              in the end the model itself: config, weights, processor, README.md, losses.png

Killed at any moment and started again with the same words, a run goes on at its last complete checkpoint and makes the
losses that it would have made.
"""

import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations import integration_utils

from fo1.data.collator import Batch
from fo1.data.sample import Sample
from fo1.errors import InputError, MissingExtraError, short_name
from fo1.formats.beside import write_beside
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.processing import FO1Processor
from fo1.tags import (
    GROUND_CLOSE,
    GROUND_OPEN,
    OBJECTS_CLOSE,
    OBJECTS_OPEN,
    region_token,
)
from fo1.training import adapters, checkpoint, token_rows
from fo1.training.objective import Objective
from fo1.training.recipe import Recipe, to_dict
from fo1.training.stages import Stage, apply_stage, group_of
from fo1.training.trainer import DrawSample, StageTrainer, cut_log

logger = logging.getLogger(__name__)

Load: TypeAlias = Callable[[], FO1ForConditionalGeneration]
"""Makes the model that a run starts from; the same weights every time."""

MeasureModel: TypeAlias = Callable[[FO1ForConditionalGeneration], Mapping[str, float]]
"""Returns figures of a model."""

LOG, MEASURED, RECIPE, STAGES = "log.jsonl", "measured.jsonl", "run.json", "stages"


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What a run works with.

    Args:
        recipe: how.
        load: the model to begin with.
        processor: of that model.
        draw: samples by their number, by the stage that asks; see `Drawer.sample`.
        collator: makes batches.
        out: folder of the run.
        measure: figures of a model on held-out data.
        make_objective: of a model and a stage, another objective than `Objective`.
        facts: what else a repetition needs, JSON types; a run with others is refused in the same folder.
        callbacks: of Hugging Face's Trainer.
    """

    recipe: Recipe
    load: Load
    processor: FO1Processor
    draw: Callable[[Stage], DrawSample]
    collator: Callable[[Sequence[Sample]], Batch]
    out: Path
    measure: MeasureModel | None = None
    make_objective: Callable[[FO1ForConditionalGeneration, Stage], Objective] | None = None
    facts: Mapping[str, Any] | None = None
    callbacks: tuple[TrainerCallback, ...] = ()


def run(given: Run) -> FO1ForConditionalGeneration:
    """Train through all stages and return the model that learned, in evaluation mode.

    Raises:
        InputError: the folder holds a run of another recipe, or a batch cannot be shared among the processes.
        MissingExtraError: a package of the extra `train` is missing.
    """
    try:
        import accelerate  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]
    except ImportError as error:
        raise MissingExtraError("training", "accelerate", "train") from error
    check_trackers(given.recipe.report_to)
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        _claim(given)
    reached = {
        stage.name: checkpoint.latest(_folder(given, number))
        for number, stage in enumerate(given.recipe.stages)
    }
    if rank == 0:
        steps = {n: checkpoint.step_of(path) for n, path in reached.items() if path is not None}
        for file in (LOG, MEASURED):
            cut_log(given.out / file, steps)
    for number, stage in enumerate(given.recipe.stages):
        found = reached[stage.name]
        if found is None or checkpoint.step_of(found) < stage.steps:
            _train(given, number, found)
    return learned_model(given)


def learned_model(given: Run, until: int | None = None) -> FO1ForConditionalGeneration:
    """Return the model as its stages left it, in evaluation mode.

    Args:
        given: the run.
        until: number of stages; all if None.
    """
    torch.manual_seed(given.recipe.seed)
    model = given.load()
    for number, stage in enumerate(given.recipe.stages[:until]):
        found = checkpoint.latest(_folder(given, number))
        if found is None or checkpoint.step_of(found) < stage.steps:
            raise InputError(f"stage {stage.name!r} has not ended; run the same command again")
        _learn(given, model, stage, checkpoint.read_learned(found / checkpoint.LEARNED))
    return model.eval()


def new_tokens(processor: FO1Processor, count: int) -> list[int]:
    """Return the ids of the tokens that the method adds to a host's vocabulary, as far as it has them."""
    names = [region_token(n) for n in range(count)]
    names += [GROUND_OPEN, GROUND_CLOSE, OBJECTS_OPEN, OBJECTS_CLOSE]
    tokenizer = processor.tokenizer
    ids = [tokenizer.convert_tokens_to_ids(name) for name in names]
    absent = {None, tokenizer.unk_token_id}
    return sorted({token for token in ids if token not in absent})


def arguments(recipe: Recipe, stage: Stage, folder: Path) -> TrainingArguments:
    """Return the arguments of Hugging Face's Trainer for a stage.

    Raises:
        InputError: the stage's batch is not made of whole micro-batches of all processes.
    """
    share = check_batches(recipe)
    processes = share // recipe.micro_batch
    cpu = not torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=stage.batch // share,
        max_grad_norm=stage.clip,
        bf16=recipe.bf16,
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=recipe.keep,
        logging_strategy="steps",
        logging_steps=10,
        report_to=list(recipe.report_to),
        seed=recipe.seed,
        data_seed=recipe.seed,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        use_cpu=cpu,
        ddp_backend="gloo" if cpu and processes > 1 else None,
        ddp_find_unused_parameters=processes > 1,
        disable_tqdm=True,
        log_level="error",
    )


def check_batches(recipe: Recipe) -> int:
    """Return the samples of one pass of all processes.

    Raises:
        InputError: a stage's batch is not made of whole ones.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    share = recipe.micro_batch * processes
    for stage in recipe.stages:
        if stage.batch % share:
            raise InputError(
                f"stage {stage.name!r} has a batch of {stage.batch}, which {processes} processes with micro-batches "
                f"of {recipe.micro_batch} cannot share; make it a multiple of {share} "
                f"(--set stages.{stage.name}.batch=N or --set micro_batch=N)"
            )
    return share


def _train(given: Run, number: int, found: Path | None) -> None:
    recipe, stage = given.recipe, given.recipe.stages[number]
    model = learned_model(given, until=number)
    _prepare(model, given.processor, stage)
    groups = apply_stage(model, stage)
    if recipe.gradient_checkpointing:
        model.vlm.gradient_checkpointing_enable({"use_reentrant": False})
        model.vlm.enable_input_require_grads()
    folder = _folder(given, number)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = StageTrainer(
        Objective(model) if given.make_objective is None else given.make_objective(model, stage),
        stage,
        arguments(recipe, stage, folder),
        draw=given.draw(stage),
        collator=given.collator,
        groups=groups,
        learned=set(groups),
        first=sum(one.steps * one.batch for one in recipe.stages[:number]),
        log=given.out / LOG,
        measured=given.out / MEASURED,
        sharded=recipe.sharded and int(os.environ.get("WORLD_SIZE", "1")) > 1,
        measure=None if given.measure is None else lambda: _measure(given, number, model, groups),
        measure_every=recipe.measure_every,
        callbacks=given.callbacks,
    )
    frozen = sorted(set(group_of(model).values()) - set(groups.values()))
    logger.info(
        "stage %s: %d tensors learn, %d steps; frozen: %s",
        *(stage.name, len(groups), stage.steps, ", ".join(frozen) or "nothing"),
    )
    trainer.train(resume_from_checkpoint=str(found) if found else None)
    if checkpoint.step_of(checkpoint.latest(folder) or folder) < stage.steps:
        trainer.save_now()


def _measure(
    given: Run, number: int, model: FO1ForConditionalGeneration, learned: Collection[str]
) -> Mapping[str, float]:
    """Return figures of a model in training; of several processes the first measures a whole copy, the others wait."""
    assert given.measure is not None
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return given.measure(model)
    state = checkpoint.learned_state(model, set(learned))
    told: list[Any] = [None]
    if int(os.environ.get("RANK", "0")) == 0:
        copy = learned_model(given, until=number)
        _learn(given, copy, given.recipe.stages[number], state)
        placed: Any = copy.eval()
        told = [dict(given.measure(placed.to(model.device)))]
    torch.distributed.broadcast_object_list(told)
    return told[0]


def check_trackers(names: Sequence[str]) -> None:
    """Raises an InputError if the trainer would not know one, or lacks its package."""
    known = integration_utils.INTEGRATION_TO_CALLBACK
    for name in names:
        if name not in known:
            raise InputError(f"report_to names {name!r}; give one of {', '.join(sorted(known))}")
        try:
            known[name]()
        except (ImportError, RuntimeError) as error:
            told = " ".join(str(error).split())
            raise InputError(f"report_to={name} cannot be used: {short_name(told, 200)}") from error


def _learn(
    given: Run, model: FO1ForConditionalGeneration, stage: Stage, state: Mapping[str, torch.Tensor]
) -> None:
    """Write what a stage learned into a model that it began with."""
    _prepare(model, given.processor, stage)
    checkpoint.set_learned(model, state)
    _conclude(model)


def _prepare(model: FO1ForConditionalGeneration, processor: FO1Processor, stage: Stage) -> None:
    """Give the model what only training needs: rows of its own for new tokens, adapters."""
    if "new_tokens" in stage.learns and "language_model" not in stage.learns:
        token_rows.attach(model, new_tokens(processor, model.config.num_region_tokens))
    if stage.adapter is not None:
        adapters.attach(model, stage.adapter)


def _conclude(model: FO1ForConditionalGeneration) -> None:
    """Write what only training needed into the model's own weights."""
    token_rows.detach(model)
    adapters.detach(model)


def _folder(given: Run, number: int) -> Path:
    return given.out / STAGES / f"{number + 1}-{given.recipe.stages[number].name}"


def _claim(given: Run) -> None:
    """Write what the run is, or check that the folder holds this very run.

    Raises:
        InputError: it holds another one.
    """
    if not check_claim(given.out, given.recipe, given.facts or {}):
        told = {"recipe": to_dict(given.recipe), **(given.facts or {})}
        given.out.mkdir(parents=True, exist_ok=True)
        write_beside(given.out / RECIPE, json.dumps(told, indent=1) + "\n")


def check_claim(out: Path, recipe: Recipe, facts: Mapping[str, Any]) -> bool:
    """Return whether a folder holds this very run already; False where it holds none. Nothing is written.

    Raises:
        InputError: it holds another one.
    """
    file = out / RECIPE
    if not file.exists():
        return False
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        stored = None
    told = json.loads(json.dumps({"recipe": to_dict(recipe), **facts}))
    other = _first_difference(stored, told)
    if other:
        raise InputError(
            f"{out} holds a run with another {other}; give the same words to go on with it, or another --out"
        )
    return True


def _first_difference(one: Any, other: Any, path: str = "") -> str:
    """Return where two values of JSON differ first, "" if they do not."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            found = _first_difference(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
            if found:
                return found
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        found = (_first_difference(a, b, f"{path}.{place}") for place, (a, b) in pairs)
        return next((text for text in found if text), "")
    return "" if one == other else (path or "content")
