"""`fo1 eval`: a benchmark through a model; rows, summary, report and pictures in one folder."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import fo1
from fo1.cli.arguments import Arguments
from fo1.cli.interrupts import Interrupts
from fo1.cli.progress import Progress
from fo1.errors import InputError, MissingExtraError
from fo1.evaluation.causal import swap_table
from fo1.evaluation.contestants import (
    CAUSES,
    FLOORS,
    MODEL,
    SWAPPED,
    TEXT_ONLY,
    WRITTEN,
    Contestant,
)
from fo1.evaluation.metrics.estimates import RESAMPLES, resampling
from fo1.evaluation.predicting import Predictor, Told
from fo1.evaluation.processes import Processes
from fo1.evaluation.published import published
from fo1.evaluation.record import circumstances, hash_data
from fo1.evaluation.reliability import plot
from fo1.evaluation.report import Table
from fo1.evaluation.run_folder import RunFolder
from fo1.evaluation.runner import run
from fo1.evaluation.sources import TRUE, check_source, describe_source, make_source
from fo1.evaluation.summary import Summary, summarise
from fo1.evaluation.task import AnyTask
from fo1.evaluation.tasks import get_task
from fo1.evaluation.worst import save_worst
from fo1.formats.beside import write_beside
from fo1.formats.hashes import hash_model
from fo1.formats.run_settings import make_folder
from fo1.pipeline import FO1
from fo1.pipeline.request import GIVEN
from fo1.visualize import save_picture

_EXAMPLE = "for example: fo1 eval photos --data photos/open.json --out out/photos"


@dataclass(frozen=True, slots=True)
class Plan:
    """One command, checked as far as it can be without a model.

    Attributes:
        task: what is measured.
        out: folder of the run.
        every: how many examples there are without --limit.
        contestants: who is asked.
        arguments: as they were typed.
        words: the command, for the record.
    """

    task: AnyTask
    out: Path
    every: int
    contestants: tuple[Contestant, ...]
    arguments: Arguments
    words: tuple[str, ...]


def plan(arguments: Arguments, words: Sequence[str]) -> Plan:
    """Return the plan of a command, its data read.

    Raises:
        InputError: something in the command or the data cannot be used; names the cure.
    """
    kind = get_task(arguments.name)
    if not arguments.out:
        raise InputError(f"no --out folder for rows and report; {_EXAMPLE}")
    if arguments.data is None and kind.needs_data:
        raise InputError(f"{kind.name} needs --data, see docs/evaluation.md; {_EXAMPLE}")
    check_source(arguments.proposals)
    for module in kind.packages:
        if find_spec(module) is None:
            raise MissingExtraError(kind.name, module.replace("_", "-"), "eval")
    data = None if arguments.data is None else Path(arguments.data)
    if data is not None and not data.exists():
        raise InputError(f"--data {data} does not exist; see docs/evaluation.md for {kind.name}")
    task = kind.load(data)  # type: ignore[arg-type]  (None is for tasks that need no data)
    every = len(task.examples)
    if arguments.limit is not None:
        task = task.first(arguments.limit)
    more = (
        *((WRITTEN,) if arguments.written else ()),
        *(FLOORS if arguments.floors else ()),
        *(CAUSES if arguments.causal else ()),
    )
    contestants = [MODEL, *dict.fromkeys(more)]
    given = _gives_boxes(task)
    if given and arguments.proposals is not None:
        raise InputError(f"{task.name} gives the regions itself; leave --proposals out")
    no_truth = all(task.true_boxes(one) is None for one in task.examples)
    if no_truth and arguments.proposals == TRUE:
        raise InputError(f"{task.name} knows no true boxes; leave --proposals {TRUE} out")
    if given or no_truth or arguments.proposals == TRUE:
        contestants = [who for who in contestants if not who.true_boxes]
    return Plan(task, Path(arguments.out), every, tuple(contestants), arguments, tuple(words))


def measure(planned: Plan, out: TextIO, err: TextIO, interrupts: Interrupts) -> int:
    """Do it and return how many examples failed.

    Raises:
        FO1Error: the model, the boxes or the folder cannot be used.
        KeyboardInterrupt: stopped; the rows so far are on the disk.
    """
    arguments, task, begun = planned.arguments, planned.task, time.monotonic()
    processes = Processes.from_environment()
    make_folder(planned.out)
    model = FO1.from_pretrained(arguments.model, device=arguments.device or processes.device)
    given = _gives_boxes(task)
    source = None if given else make_source(arguments.proposals, task, model)
    settings = {
        "task": task.name,
        "version of fo1": fo1.__version__,
        "examples": len(task.examples),
        "data": hash_data(task),
        "model": hash_model(model.folder),
        "proposals": GIVEN if given else describe_source(arguments.proposals, model),
        "seed": arguments.seed,
    }
    folder = RunFolder(planned.out, settings, processes.rank)
    predictor = Predictor(model, task, source, planned.contestants, arguments.seed)
    batches = -(-len(task.examples) // arguments.batch_size)
    turns = -(-batches // processes.count)  # of the first process, which tells how far it came
    own = min(len(task.examples), turns * arguments.batch_size) * (processes.rank == 0)
    with Progress(own, err, "examples") as progress:

        def step(done: int, failed: int) -> None:
            for number in range(done * (processes.rank == 0)):
                progress.step(failed=number < failed)

        try:
            told = run(
                predictor,
                folder,
                batch_size=arguments.batch_size,
                processes=processes,
                step=step,
            )
        except KeyboardInterrupt as stop:
            reached = f"stopped after {progress.done} of {len(task.examples)} examples"
            raise KeyboardInterrupt(f"{reached}; the same command goes on from there") from stop
    if told is None:
        return 0
    more = {
        "model": model.name,
        "hashes": settings,
        "processes": processes.count,
        "rows_found": folder.found,
        "examples_in_all": planned.every,
    }
    seconds = time.monotonic() - begun
    record = circumstances(planned.words, arguments.seed, seconds, **more)
    with interrupts.held():
        summary, content = _write(planned, told, record)
    out.write(json.dumps(content) + "\n" if arguments.json else _show(planned, summary))
    counts = summary.counts
    if counts["failed"] or counts["broken"]:
        err.write(
            f"fo1: {counts['failed']} of {counts['examples']} examples failed and count as wrong, "
            f"{counts['broken']} rows of the data cannot be read; see {planned.out / 'rows.jsonl'}\n"
        )
    return counts["failed"] + counts["broken"]


def _write(planned: Plan, told: Told, record: Mapping[str, Any]) -> tuple[Summary, dict[str, Any]]:
    """Return the summary and what summary.json holds, with everything written."""
    task, arguments, out = planned.task, planned.arguments, planned.out
    scored = {who: each for who, each in told.items() if who != SWAPPED.name}
    summary = summarise(task, scored, floors=arguments.floors, seed=arguments.seed)
    tables = list(summary.tables)
    if SWAPPED.name in told:
        tables.append(_swaps(task, told, arguments.seed))
    content = {**summary.to_dict(), "record": dict(record)}
    content["tables"] = [table.to_dict() for table in tables]
    write_beside(out / "summary.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_beside(out / "report.md", report(task, summary, tables, record))
    for name, text in task.exports(told[MODEL.name]).items():
        write_beside(out / name, text)
    if summary.chances:
        save_picture(plot(summary.chances), out / "reliability.png")
    save_worst(task, told[MODEL.name], out / "worst")
    return summary, content


def _show(planned: Plan, summary: Summary) -> str:
    """Return the model's figures for people, a line each, and where everything else lies."""
    names = [f"{name} {summary.units[name]}".strip() for name in summary.figures]
    width, others = max(map(len, names)), published(summary.task)
    lines = [planned.task.title]
    if len(planned.task.examples) < planned.every:
        lines.append(f"  {_part(len(planned.task.examples), planned.every)}")
    for label, (name, one) in zip(names, summary.figures.items(), strict=True):
        told = [f"{who} {each[name]:g}" for who, each in others.items() if name in each]
        known = f"   published: {'; '.join(told[-2:])}" if told else ""
        lines.append(f"  {label.ljust(width)}  {one.show(summary.digits(name))}{known}")
    lines += ["", f"floors, tables and pictures: {planned.out / 'report.md'}"]
    return "\n".join(lines) + "\n"


def _part(asked: int, every: int) -> str:
    return f"{asked} of {every} examples (--limit): not to be compared with published figures"


def _gives_boxes(task: AnyTask) -> bool:
    return all(example.boxes is not None for example in task.examples)


def _swaps(task: AnyTask, told: Told, seed: int) -> Table:
    return swap_table(
        told[MODEL.name],
        told[SWAPPED.name],
        told.get(TEXT_ONLY.name),
        task.picture_index.tolist(),
        resampling(len(task.picture_names), RESAMPLES, seed),
        who=SWAPPED.name,
        seed=seed,
    )


def report(
    task: AnyTask, summary: Summary, tables: Sequence[Table], record: Mapping[str, Any]
) -> str:
    """Return the report as Markdown: what was run, then every table."""
    versions, machine, counts = record["versions"], record["machine"], summary.counts
    asked, every, hashes = counts["examples"], record["examples_in_all"], record["hashes"]
    found = f" ({record['rows_found']} rows were there before)" if record["rows_found"] else ""
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    lines = [
        f"## {record['model']} on {task.name}",
        "",
        f"- command: `{record['command']}`",
        f"- {record['date']}, {record['seconds']} s{found}, {machine['platform']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, GPU: {machine['gpu'] or 'none'}, "
        f"{record['processes']} process{'es' if record['processes'] > 1 else ''}",
        f"- fo1 {versions['fo1']} ({record['commit'] or 'no commit'}), torch {versions['torch']}, "
        f"transformers {versions['transformers']}",
        f"- SHA-256 of the model {hashes['model'][:12]}..., of the data {hashes['data'][:12]}...; "
        f"seed {record['seed']}",
        f"- {told}",
        *([f"- **{_part(asked, every)}**"] if asked < every else []),
        f"- boxes: {hashes['proposals']}; ranked by: {', '.join(summary.scored_by) or 'nothing'}",
        "- in brackets: 95 % bootstrap interval over pictures",
        "",
    ]
    return "\n".join(lines) + "\n" + "\n".join(table.markdown() for table in tables)
