"""`fo1 train`: data sets through a recipe to a model, measured on held-out pictures, in one folder."""

import hashlib
import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TextIO

from fo1.cli.arguments import Arguments
from fo1.cli.data_sets import RECORDS, find_data, sources_of
from fo1.cli.interrupts import Interrupts
from fo1.cli.progress import Progress
from fo1.data.coco_writer import write_coco
from fo1.data.collator import Collator
from fo1.data.converters import convert
from fo1.data.drawer import Drawer
from fo1.data.held_out import hold_out
from fo1.data.mixture import Mixture, Source
from fo1.data.negatives import Vocabulary
from fo1.data.schema import Record
from fo1.data.storage import RecordFile, write_records
from fo1.errors import InputError
from fo1.lexicon import Lexicon
from fo1.models import FO1ForConditionalGeneration, FO1Processor
from fo1.pipeline.hosts import add_regions, is_host, read_host
from fo1.pipeline.loading import (
    PACKAGED,
    choose_device,
    find_model,
    load_config,
    load_lexicon,
)
from fo1.pipeline.proposers import check_proposer
from fo1.training.export import export, model_card, plot_losses
from fo1.training.feature_cache import FeatureCache
from fo1.training.recipe import Recipe, change, to_dict
from fo1.training.recipes import get_recipe
from fo1.training.run import LOG, Run, check_batches, check_claim, check_trackers, run
from fo1.training.stages import Stage
from fo1.training.trainer import DrawSample
from fo1.visualize import save_picture

HELD_OUT = "held_out.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """One command, checked as far as it can be without a model.

    Attributes:
        recipe: with all settings.
        data: (name, format, path) of each data set.
        out: folder of the run.
        arguments: as they were typed.
        words: the command, for the record.
    """

    recipe: Recipe
    data: tuple[tuple[str, str, Path], ...]
    out: Path
    arguments: Arguments
    words: tuple[str, ...]


def plan(arguments: Arguments, words: Sequence[str]) -> Plan:
    """Return the plan of a command.

    Raises:
        InputError: no data set, one that is none, an unknown recipe or setting, or no folder to write to.
    """
    recipe = get_recipe(arguments.name or "nano")
    if arguments.model is not None:
        recipe = replace(recipe, model=arguments.model)
    recipe = change(recipe, arguments.set or [])
    if not arguments.datasets:
        raise InputError(
            "no data to learn from; give it, for example: fo1 train --data coco_folder --out model"
        )
    if not arguments.out:
        raise InputError("nowhere to write to; give a folder, for example --out out/model")
    data = tuple(_data_set(text) for text in arguments.datasets)
    names = [name for name, *_ in data]
    if len(set(names)) < len(names):
        raise InputError(
            f"two data sets are called {names[-1]!r}; name them apart: --data NAME=PATH"
        )
    unknown = sorted({n for stage in recipe.stages for n in stage.mixture} - set(names))
    if unknown:
        raise InputError(
            f"a stage mixes {unknown[0]!r}, which is no data set here; there are {', '.join(names)}"
        )
    if recipe.proposer is not None:
        check_proposer(recipe.proposer)
    check_batches(recipe)
    check_trackers(recipe.report_to)
    return Plan(recipe, data, Path(arguments.out), arguments, tuple(words))


def _data_set(text: str) -> tuple[str, str, Path]:
    """Return name, format and path of [NAME=][FORMAT:]PATH."""
    name, sign, rest = text.partition("=")
    if not sign or "/" in name or Path(text).exists():
        name, rest = "", text
    kind, path = find_data(rest)
    return name or path.resolve().stem or "data", kind, path


def train(planned: Plan, out: TextIO, err: TextIO, interrupts: Interrupts) -> int:
    """Do it; return 0.

    Raises:
        FO1Error: data, model, recipe or folder cannot be used.
        KeyboardInterrupt: stopped; the same command goes on from the last checkpoint.
    """
    recipe, first = planned.recipe, int(os.environ.get("RANK", "0")) == 0
    begun = time.monotonic()
    given = find_model(recipe.model)
    bare = is_host(given)
    if bare:
        read_host(given)  # fails before there is work
    sources, new = _records(planned, err, first)
    kept, held = hold_out(sources, recipe.held_out, recipe.seed)
    facts = {
        "data": {name: _fingerprint(records) for name, records in sources.items()},
        "held_out": _fingerprint(held),
    }
    if first:
        try:
            check_claim(planned.out, recipe, facts)
        except InputError:
            for file in new:
                file.unlink()
            raise
        planned.out.mkdir(parents=True, exist_ok=True)
        pictures = write_coco(held, planned.out / HELD_OUT) if held else 0
        told = ", ".join(f"{len(records):,} of {name}" for name, records in kept.items())
        err.write(f"fo1: learning from {told} records; {pictures:,} pictures are held out\n")
    folder = _with_regions(given, planned, err, first) if bare else given
    load = _loader(folder, recipe.sampling.order)
    processor = FO1Processor.from_pretrained(folder)
    lexicon = load_lexicon(folder)
    config: Any = load_config(folder)
    collator = Collator(
        processor,
        repeat_regions=config.repeat_regions,
        lexicon=lexicon,
        sources=config.score_config.evidence_sources if config.score_config and lexicon else (),
        pack_to=recipe.pack_to,
    )
    stored = planned.out / "cache"
    made, vocabularies = sources_of(kept, recipe.proposer, stored / "proposals")
    features = FeatureCache(cache(load), processor, stored / "features") if recipe.cache else None
    draw = _drawers(recipe, made, vocabularies, features)
    ask = partial(_evaluate, planned, folder, processor, lexicon)
    steps = sum(stage.steps for stage in recipe.stages)
    with Progress(steps if first else 0, err, "steps") as progress:

        def measure(model: FO1ForConditionalGeneration) -> Mapping[str, float]:
            summary = ask(model, limit=recipe.measure_limit)
            figures = {name: one.value for name, one in summary.figures.items()}
            if first:
                told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                with progress.aside():
                    err.write(f"fo1: {told}\n")
            return figures

        work = Run(
            recipe=recipe,
            load=load,
            processor=processor,
            draw=draw,
            collator=collator,
            out=planned.out,
            measure=measure if held and recipe.measure_every else None,
            facts=facts,
            callbacks=(_progress(progress, recipe),),
        )
        try:
            model = run(work)
        except KeyboardInterrupt as stop:
            reached = f"stopped after {progress.done} of {steps} steps"
            raise KeyboardInterrupt(
                f"{reached}; the same command goes on from its last checkpoint"
            ) from stop
    if not first:
        return 0
    figures = _final_figures(ask, model) if held else {}
    with interrupts.held():
        rows = [json.loads(line) for line in (planned.out / LOG).read_text("utf-8").splitlines()]
        command = shlex.join(["fo1", *planned.words])
        counts = {name: len(records) for name, records in kept.items()}
        card = model_card(to_dict(recipe), command, counts, figures, rows)
        names = {name for vocabulary in vocabularies.values() for name in vocabulary.counts}
        save_picture(plot_losses(rows), planned.out / "losses.png")
        export(model, processor, folder, planned.out, names, card)
    _tell(planned, figures, time.monotonic() - begun, out)
    return 0


def _tell(planned: Plan, figures: Mapping[str, float], seconds: float, out: TextIO) -> None:
    if planned.arguments.json:
        told = {"model": str(planned.out), "seconds": round(seconds, 1), "figures": dict(figures)}
        out.write(json.dumps(told) + "\n")
        return
    width = max(map(len, figures), default=0)
    for name, value in figures.items():
        out.write(f"  {name.ljust(width)}  {value:.4g}\n")
    out.write(
        f"trained in {seconds:,.0f} s; use it: fo1 detect photo.jpg -q NAME --model {planned.out}\n"
    )


def _loader(folder: Path, order: str) -> Callable[[], FO1ForConditionalGeneration]:
    import torch

    def load() -> FO1ForConditionalGeneration:
        model = FO1ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        model.config.region_order = order  # measured and used as it is trained
        return model

    return load


def _with_regions(host: Path, planned: Plan, err: TextIO, first: bool) -> Path:
    """Return the folder of the model that a host becomes, which lies in the folder of the run."""
    folder = planned.out / "start"
    if first and not folder.exists():
        err.write(f"fo1: {host.name} gets region tokens and the auxiliary encoder of {PACKAGED}\n")
        add_regions(host, folder, planned.recipe.seed)
    while not folder.exists():  # another process makes it
        time.sleep(0.2)
    return folder


def _records(planned: Plan, err: TextIO, first: bool) -> tuple[dict[str, RecordFile], list[Path]]:
    """Return the records of each data set, converted into the folder of the run, and the files that are new."""
    found: dict[str, RecordFile] = {}
    new: list[Path] = []
    arguments = planned.arguments
    pictures = None if arguments.pictures is None else Path(arguments.pictures)
    for name, kind, path in planned.data:
        if kind == RECORDS:
            found[name] = RecordFile(path)
            continue
        state = _state(path, kind, arguments.pictures, arguments.max_bad)
        made = planned.out / "records" / f"{name}-{state[:12]}.jsonl"
        if first and not made.exists():
            made.parent.mkdir(parents=True, exist_ok=True)
            conversion = convert(kind, path, pictures=pictures, max_bad=arguments.max_bad)
            count = write_records(conversion, made, pictures="keep")
            new.append(made)
            bad = conversion.bad.bad
            told = f"; {len(bad):,} rows cannot be used, the first: {bad[0]}" if bad else ""
            err.write(f"fo1: {name}: {count:,} records from {kind} data{told}\n")
        while not made.exists():  # another process converts
            time.sleep(0.2)
        found[name] = RecordFile(made)
    return found, new


def _state(source: Path, *options: object) -> str:
    """Return a digest that changes when a data set moves, or a file of it comes, goes or is written."""
    digest = hashlib.sha256(f"{source.resolve()} {options}".encode(errors="surrogateescape"))
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    for file in files:
        if file.is_file():
            stat = file.stat()
            said = f"{file.relative_to(source)} {stat.st_size} {stat.st_mtime_ns}\n"
            digest.update(said.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _fingerprint(records: Iterable[Record]) -> str:
    """Return a text that changes with the records and stays when the folder of their pictures moves."""
    digest = hashlib.sha256()
    for record in records:
        values = record.to_dict()
        for picture in values.get("pictures", ()):
            picture["file"] = Path(picture["file"]).name
        digest.update(json.dumps(values, sort_keys=True).encode())
    return digest.hexdigest()


def _drawers(
    recipe: Recipe,
    sources: Sequence[Source],
    vocabularies: Mapping[str, Vocabulary],
    features: FeatureCache | None,
) -> Callable[[Stage], DrawSample]:
    def drawer(stage: Stage) -> DrawSample:
        own = [s for s in sources if not stage.mixture or s.name in stage.mixture]
        mixture = Mixture(own, dict(stage.mixture) or None)
        return Drawer(mixture, recipe.sampling, recipe.seed, vocabularies, features).sample

    return drawer


def _final_figures(ask: Callable[..., Any], model: FO1ForConditionalGeneration) -> dict[str, float]:
    """Return the figures of all held-out pictures, with their floor of permuted names."""
    placed: Any = model
    summary = ask(placed.to(choose_device(None)), floors=True)
    placed.to("cpu")
    figures = {f"{name} %": one.value for name, one in list(summary.figures.items())[:2]}
    for who, each in summary.bounds.items():
        if who.startswith("names permuted"):
            figures["AP with names permuted (floor) %"] = each["AP"].value
    return figures


def _evaluate(
    planned: Plan,
    folder: Path,
    processor: FO1Processor,
    lexicon: Lexicon | None,
    model: FO1ForConditionalGeneration,
    *,
    limit: int | None = None,
    floors: bool = False,
) -> Any:
    """Return the summary of a model on the held-out pictures."""
    from fo1.evaluation.runner import evaluate
    from fo1.evaluation.tasks.folder import Folder
    from fo1.pipeline import FO1
    from fo1.pipeline.engine import Engine

    task = Folder.load(planned.out / HELD_OUT)
    task = task if limit is None else task.first(limit)
    asked = FO1(Engine(str(planned.out), model.eval(), processor, lexicon), folder)
    return evaluate(asked, task, floors=floors, resamples=20)


def _progress(progress: Progress, recipe: Recipe) -> Any:
    from transformers import TrainerCallback

    before = dict(zip([s.name for s in recipe.stages], _starts(recipe), strict=True))

    class Told(TrainerCallback):
        """Counts the steps for people."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            stage = Path(args.output_dir).name.partition("-")[2]
            progress.skip(before[stage] + state.global_step - progress.done)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            progress.step(failed=False)

    return Told()


def _starts(recipe: Recipe) -> list[int]:
    return [sum(s.steps for s in recipe.stages[:n]) for n in range(len(recipe.stages))]
