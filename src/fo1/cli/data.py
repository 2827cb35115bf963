"""`fo1 data`: what a data set holds and what a model sees of it, its likely label errors, and other files of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from fo1.cli.arguments import Arguments
from fo1.cli.data_sets import RECORDS, find_data, sources_of
from fo1.cli.interrupts import Interrupts
from fo1.cli.progress import Progress
from fo1.data.converters import BadRows, convert
from fo1.data.schema import Record
from fo1.data.storage import RecordFile, stream_records, write_records
from fo1.errors import InputError, QueryError, short_name
from fo1.formats.beside import write_beside
from fo1.formats.markdown import cell

ACTIONS = ("inspect", "audit", "convert")
MOST_BAD = 10
"""Bad rows that are told one by one."""
MOST_PICTURES = 200
"""Suspicions that get a picture."""


def data(arguments: Arguments, out: TextIO, err: TextIO, interrupts: Interrupts) -> bool:
    """Do what was asked; return whether a picture failed.

    Raises:
        FO1Error: something in the command, the data or the model cannot be used.
    """
    if arguments.action is None:
        raise InputError(
            f"fo1 data does what? give one of {', '.join(ACTIONS)}, for example: fo1 data inspect my_data --out out"
        )
    kind, path = find_data(arguments.source)
    if arguments.action == "convert":
        _convert(arguments, kind, path, out, err)
        return False
    if not arguments.out:
        raise InputError("nowhere to write to; give a folder, for example --out out/looked_at")
    folder = Path(arguments.out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {short_name(str(folder))} is a file; give a folder")
    if arguments.action == "inspect":
        return _inspect(arguments, kind, path, folder, out, err)
    return _audit(arguments, kind, path, folder, out, err, interrupts)


def _read(arguments: Arguments, kind: str, path: Path, err: TextIO) -> Iterator[Record]:
    """Yield the records; bad rows are told at the end.

    Raises:
        InputError: no data, or too many bad rows.
    """
    if kind == RECORDS:
        if arguments.pictures is not None:
            raise InputError("records say where their pictures lie; leave --pictures out")
        bad = BadRows(arguments.max_bad)
        records = stream_records(path, bad)
    else:
        pictures = None if arguments.pictures is None else Path(arguments.pictures)
        records = convert(kind, path, pictures=pictures, max_bad=arguments.max_bad)
        bad = records.bad
    count = 0
    for record in records:
        count += 1
        yield record
    bad.check(final=True)
    if not count:
        raise InputError(f"{short_name(str(path))} holds no records; give data with at least one")
    if bad.bad:
        err.write(f"fo1: {len(bad.bad):,} of {bad.rows:,} rows cannot be used\n")
        err.writelines(f"  {row}\n" for row in bad.bad[:MOST_BAD])
        if len(bad.bad) > MOST_BAD:
            err.write(f"  and {len(bad.bad) - MOST_BAD:,} more\n")


def _convert(arguments: Arguments, kind: str, path: Path, out: TextIO, err: TextIO) -> None:
    target = Path(arguments.out or "")
    if target.resolve() == path.resolve():
        raise InputError(f"{short_name(str(path))} would be written over itself; give another file")
    if target.parent != Path() and not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
    pictures = "embed" if arguments.embed else "keep"
    count = write_records(_read(arguments, kind, path, err), target, pictures=pictures)
    if arguments.json:
        out.write(json.dumps({"out": str(target), "records": count, "format": kind}) + "\n")
    else:
        out.write(f"{count:,} records of {kind} data in {target}\n")


def _stored(arguments: Arguments, kind: str, path: Path, folder: Path, err: TextIO) -> RecordFile:
    """Return the records by number, from a file in the folder where they were converted."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "records.jsonl"
    if kind == RECORDS and not path.is_dir() and path.resolve() == made.resolve():
        return RecordFile(path)
    write_records(_read(arguments, kind, path, err), made, pictures="keep")
    return RecordFile(made)


def _inspect(
    arguments: Arguments, kind: str, path: Path, folder: Path, out: TextIO, err: TextIO
) -> bool:
    """Write samples and tell the statistics; return whether a picture failed."""
    from fo1.data.collator import Collator
    from fo1.data.inspect import (
        ShownSample,
        as_table,
        show_sample,
        statistics,
        summarise,
        write_samples,
    )
    from fo1.errors import ImageError
    from fo1.models import FO1Processor
    from fo1.pipeline.hosts import is_host
    from fo1.pipeline.loading import find_model, load_config
    from fo1.training.recipe import change
    from fo1.training.recipes import get_recipe

    recipe = get_recipe(arguments.recipe or "nano")
    if arguments.model is not None:
        recipe = replace(recipe, model=arguments.model)
    recipe = change(recipe, arguments.set or [])
    model = find_model(recipe.model)
    if is_host(model):
        raise InputError(
            f"{short_name(str(model))} has no region tokens yet; give the folder 'start' that fo1 train makes of it"
        )
    processor = FO1Processor.from_pretrained(model)
    repeat = load_config(model).repeat_regions
    records = _stored(arguments, kind, path, folder, err)
    facts = statistics(records, recipe.sampling)
    collator = Collator(processor, repeat_regions=repeat, pack_to=recipe.pack_to)
    drawer = _drawer(recipe, records, path, folder)
    shown: list[ShownSample] = []
    failed: list[str] = []
    with Progress(arguments.count, err, "samples") as progress:
        for index in range(arguments.count):
            before = len(failed)
            try:
                shown.append(show_sample(drawer.sample(index), collator))
            except ImageError as error:
                failed.append(str(error))
            progress.step(failed=len(failed) > before)
    for problem in failed:
        err.write(f"fo1: {problem}\n")
    page = write_samples(shown, folder)
    drawn = summarise(shown)
    told: dict[str, Any] = {"statistics": facts.to_dict(), "drawn": drawn, "failed": failed}
    write_beside(folder / "statistics.json", json.dumps(told, indent=1) + "\n")
    if arguments.json:
        out.write(json.dumps(told | {"samples": str(page)}) + "\n")
        return bool(failed)
    out.write(as_table(facts))
    for name, values in drawn.items():
        listed = ", ".join(f"{what} {value:g}" for what, value in values.items())
        out.write(f"  {name}: {listed or '-'}\n")
    out.write(f"{len(shown)} samples as the model sees them: {page}\n")
    return bool(failed)


def _drawer(recipe: Any, records: RecordFile, path: Path, folder: Path) -> Any:
    """Return the drawer of a training run on these records; no picture is held out."""
    import torch

    from fo1.data.drawer import Drawer
    from fo1.data.mixture import Mixture

    name = path.resolve().stem or "data"
    sources, vocabularies = sources_of({name: records}, recipe.proposer, folder / "proposals")

    def features(_: str, sample: Any) -> Any:
        # The collator prepares pictures in another way where features were computed before; their values are not shown.
        return torch.zeros(sample.num_regions, 1)

    return Drawer(
        Mixture(sources),
        recipe.sampling,
        recipe.seed,
        vocabularies,
        features if recipe.cache else None,
    )


def _audit(
    arguments: Arguments,
    kind: str,
    path: Path,
    folder: Path,
    out: TextIO,
    err: TextIO,
    interrupts: Interrupts,
) -> bool:
    """Write likely label errors; return whether a picture failed."""
    from fo1.labelling.audit import HOW_SCORED, Failure, Suspicion, audit, frequent_names
    from fo1.pipeline import FO1

    records = _stored(arguments, kind, path, folder, err)
    names = frequent_names(records)
    if not names:
        raise InputError(f"{short_name(str(path))} has no box with a name; give detection data")
    model = FO1.from_pretrained(arguments.model or "nano", device=arguments.device)
    if not model.engine.has_score_head:
        raise QueryError(f"'{model.name}' has no score head, which audit needs; try --model nano")
    chosen = records[: arguments.limit] if arguments.limit else records
    found: list[tuple[int, Suspicion]] = []
    failed: list[Failure] = []
    with Progress(sum(len(record.pictures) for record in chosen), err) as progress:
        for place, record in enumerate(chosen):
            for told in audit(model, [record], names):
                if isinstance(told, Failure):
                    failed.append(told)
                    with progress.aside():
                        err.write(f"fo1: {told.error}\n")
                else:
                    found += [(place, one) for one in told]
                progress.step(failed=isinstance(told, Failure))
    found.sort(key=lambda one: (-one[1].score, one[0]))
    rows: list[dict[str, Any]] = []
    (folder / "pictures").mkdir(exist_ok=True)
    for rank, (place, one) in enumerate(found, 1):
        file = f"pictures/{rank:04}-{one.what}.png"
        if rank <= MOST_PICTURES:
            _save(chosen[place], one, folder / file)
        rows.append(
            {"rank": rank, **one.to_dict()} | ({"picture": file} if rank <= MOST_PICTURES else {})
        )
    broken = [{"file": one.file, "record": one.key, "error": one.error} for one in failed]
    table = {"how": HOW_SCORED, "model": model.name, "found": rows, "failed": broken}
    with interrupts.held():
        write_beside(folder / "audit.json", json.dumps(table, indent=1) + "\n")
        write_beside(folder / "audit.md", _page(rows, broken, model.name, HOW_SCORED))
    counts = {
        what: sum(row["what"] == what for row in rows)
        for what in ("missing", "duplicate", "swapped")
    }
    if arguments.json:
        out.write(json.dumps({"counts": counts, "failed": len(failed), "out": str(folder)}) + "\n")
    else:
        listed = ", ".join(f"{count} {what}" for what, count in counts.items())
        out.write(f"suspicious: {listed}; {folder / 'audit.md'}\n{HOW_SCORED}\n")
    return bool(failed)


def _save(record: Record, one: Any, target: Path) -> None:
    import numpy as np

    from fo1.data.storage import open_picture
    from fo1.geometry import as_boxes
    from fo1.results import Detections
    from fo1.visualize import draw, save_picture

    image = open_picture(record, one.picture)
    boxes = [box for box in (one.other, one.box) if box is not None]
    last = f"{one.what}: {one.name or 'no box'}" + (f", {one.suggested}?" if one.suggested else "")
    labels = (*([one.name or ""] if one.other else []), last)
    detections = Detections(
        as_boxes(boxes),
        labels,
        np.full(len(boxes), one.score, np.float32),
        np.full(len(boxes), -1, np.int64),
        (image.height, image.width),
    )
    save_picture(draw(image, detections, show_scores=False), target)


def _page(
    rows: Sequence[dict[str, Any]], failed: Sequence[dict[str, str]], model: str, how: str
) -> str:
    """Return audit.md."""
    lines = [f"# Likely label errors, seen by {cell(model)}", "", how, ""]
    lines += ["| rank | what | name | suggested | score | box | file | picture |", "|" + "---|" * 8]
    for row in rows:
        box = ", ".join(f"{side:.0f}" for side in row["box"])
        picture = f"[look]({row['picture']})" if "picture" in row else ""
        cells = [row["name"] or "", row["suggested"] or "", f"{row['score']:.2f}", box, row["file"]]
        told = " | ".join(cell(text) for text in cells)
        lines.append(f"| {row['rank']} | {row['what']} | {told} | {picture} |")
    if len(rows) > MOST_PICTURES:
        lines += ["", f"The first {MOST_PICTURES} have a picture."]
    if failed:
        lines += ["", "Could not be looked at:", ""]
        lines += [f"- {cell(one['file'])}: {cell(one['error'])}" for one in failed]
    return "\n".join(lines) + "\n"
