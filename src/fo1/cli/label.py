"""`fo1 label`: many pictures through a model, into the files that labelling and training tools read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from fo1.cli.arguments import Arguments
from fo1.cli.interrupts import Interrupts
from fo1.cli.job import split_names
from fo1.cli.output import table
from fo1.cli.progress import Progress
from fo1.errors import InputError, MissingExtraError, QueryError, short_name
from fo1.export import EXPORTS
from fo1.formats.located import read_text
from fo1.labelling.labeller import LabellingError, Work
from fo1.labelling.processes import usual_count
from fo1.labelling.run import BROKEN, SHEET, Run, begin, check_formats, finish, label
from fo1.proposals import check_name

_EXAMPLE = 'for example: fo1 label photos -q "cup; dog" --out out/labels'


@dataclass(frozen=True, slots=True)
class Plan:
    """One command, checked as far as it can be without the pictures.

    Attributes:
        work: what every process must know.
        source: folder or list of pictures.
        base: where the paths of a list start from; None for its own folder.
        formats: of the exports.
        processes: how many there are; 0 leaves it to a cluster.
        ray: whether a cluster does it.
        json: whether the counts are JSON.
    """

    work: Work
    source: Path
    base: Path | None
    formats: tuple[str, ...]
    processes: int
    ray: bool
    json: bool


def plan(arguments: Arguments) -> Plan:
    """Return the plan of a command.

    Raises:
        InputError: something in it cannot be used; names the cure.
        MissingExtraError: it needs a package that is not installed.
    """
    if not arguments.out:
        raise InputError(f"no --out folder for the labels; {_EXAMPLE}")
    out = Path(arguments.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {short_name(str(out))} is a file; give a folder")
    listed = arguments.queries
    queries = split_names(
        [*arguments.query, *(read_text(Path(listed)).splitlines() if listed else ())]
    )
    if not queries:
        raise QueryError(f"label needs a --query, the name of something, or --queries; {_EXAMPLE}")
    if arguments.proposer is not None:
        check_name(arguments.proposer)
    formats = _formats(arguments.format or ["coco"])
    for wanted, module, package, extra in (
        ("parquet" in formats, "pyarrow", "pyarrow", "train"),
        (arguments.ray, "ray", "ray[data]", "ray"),
    ):
        if wanted and find_spec(module) is None:
            feature = "--ray" if module == "ray" else "--format parquet"
            raise MissingExtraError(feature, package, extra)
    usual = 0 if arguments.ray else usual_count(arguments.device)
    return Plan(
        work=Work(
            out=out,
            model=arguments.model,
            device=arguments.device,
            proposer=arguments.proposer,
            queries=queries,
            threshold=arguments.threshold,
            batch_size=arguments.batch_size,
        ),
        source=Path(arguments.source),
        base=None if arguments.pictures is None else Path(arguments.pictures),
        formats=formats,
        processes=arguments.processes or usual,
        ray=arguments.ray,
        json=arguments.json,
    )


def label_pictures(planned: Plan, out: TextIO, err: TextIO, interrupts: Interrupts) -> int:
    """Do it and return how many pictures could not be labelled.

    Raises:
        FO1Error: the pictures, the model or the folder cannot be used.
        KeyboardInterrupt: stopped; the rows so far are on the disk.
    """
    with begin(planned.work, planned.source, base=planned.base) as run:
        check_formats(run.pictures, planned.formats)
        if run.pictures.repeated:
            err.write(
                f"fo1: {run.pictures.repeated:,} pictures are named again; each counts once\n"
            )
        try:
            _label(planned, run, err)
        except LabellingError as error:
            err.write(f"fo1: {error}\n")
            return 1
        with interrupts.held():
            counts = finish(run, planned.formats).to_dict()
    out.write(json.dumps(counts) + "\n" if planned.json else _show(planned, counts))
    if counts["broken"]:
        err.write(
            f"fo1: {counts['broken']:,} of {run.pictures.count:,} pictures could not be labelled; "
            f"see {planned.work.out / BROKEN}; the same command tries them again\n"
        )
    return counts["broken"]


def _label(planned: Plan, run: Run, err: TextIO) -> None:
    """Label what is missing, and tell how far that has come."""
    processes = min(planned.processes, max(1, len(run.missing)))
    with Progress(run.pictures.count, err) as progress:
        progress.skip(run.found)
        try:
            for told in label(run, processes=processes, ray=planned.ray):
                for number in range(told.done):
                    progress.step(failed=number < told.failed)
        except KeyboardInterrupt as stop:
            reached = f"stopped after {progress.done:,} of {progress.total:,} pictures"
            raise KeyboardInterrupt(f"{reached}; the same command goes on from there") from stop


def _formats(given: Sequence[str]) -> tuple[str, ...]:
    names = dict.fromkeys(name.strip() for text in given for name in text.split(","))
    unknown = [name for name in names if name not in EXPORTS]
    if unknown:
        raise InputError(
            f"no format '{short_name(unknown[0], 40)}'; choose from {', '.join(EXPORTS)}"
        )
    return tuple(names)


def _show(planned: Plan, counts: dict[str, Any]) -> str:
    """Return the statistics for people, and where everything lies."""
    out, told = planned.work.out, counts["classes"]
    heads = ("class", "boxes", "pictures", "score", "small", "medium", "large")
    rows = [
        (
            name,
            f"{one['boxes']:,}",
            f"{one['pictures']:,}",
            "-" if one["mean_score"] is None else f"{one['mean_score']:.2f}",
            *(f"{size:,}" for size in one["small_medium_large"]),
        )
        for name, one in told.items()
    ]
    summary = (
        f"{counts['pictures']:,} pictures, {counts['boxes']:,} boxes; "
        f"nothing in {counts['empty']:,}, {counts['broken']:,} broken"
    )
    lines = [summary, *table(heads, rows, right=range(1, len(heads)))]
    lines.append(f"labels as {', '.join(planned.formats)} in {out}; look at {out / SHEET}")
    return "\n".join(lines) + "\n"
