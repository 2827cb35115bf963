"""A labelling run: many pictures through a model, resumable, in one process, in several, or on many machines.

    with begin(work, source) as run:
        for told in label(run): ...                rows on the disk; kill it, start it again, nothing is lost or doubled
        counts = finish(run, ["coco", "yolo"])     exports, broken pictures, contact sheet, class statistics

    OUT/settings.json      what the rows depend on; a run with other settings is refused
    OUT/pictures.jsonl     all pictures, in order, see `fo1.labelling.pictures`
    OUT/parts/             rows, see `fo1.labelling.rows`; kept, so that another format costs no second run
    OUT/coco.json ...      exports, see `fo1.export`
    OUT/broken.jsonl       pictures that could not be labelled
    OUT/summary.json       class statistics
    OUT/contact_sheet.jpg  24 of the pictures with what was found in them

Batches are cut at the same places in every run and a process computes with one thread, so all files are the same, byte
for byte, whatever was killed and however many processes there were.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import fo1
from fo1.errors import InputError, short_name
from fo1.export import FILE_PER_PICTURE, LabelledPicture, export
from fo1.formats.beside import is_left, sweep, write_beside, written_beside
from fo1.formats.hashes import hash_model
from fo1.formats.run_settings import SETTINGS, check_settings, lock, make_folder, unwritable
from fo1.labelling.contact_sheet import MOST, contact_sheet
from fo1.labelling.labeller import Work
from fo1.labelling.pictures import PICTURES, PictureList, list_pictures, shared_label_files
from fo1.labelling.processes import label_here, label_in_processes
from fo1.labelling.ray_data import label_with_ray
from fo1.labelling.rows import PARTS, Tally, all_rows, as_detections, tally
from fo1.labelling.summary import Counts, Sample
from fo1.pipeline.loading import PACKAGED, find_model
from fo1.visualize import save_picture

_NO_LINE = re.compile(r"[\r\n\ud800-\udfff]")
"""What a line of UTF-8 cannot hold; names that are no UTF-8 have surrogates."""

BROKEN, SUMMARY, SHEET = "broken.jsonl", "summary.json", "contact_sheet.jpg"


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run in its folder.

    Attributes:
        work: what every process must know.
        pictures: all of them.
        found: pictures that have rows of an earlier run; those that failed in it are tried again.
        missing: numbers of the shards that are to be labelled.
    """

    work: Work
    pictures: PictureList
    found: int
    missing: tuple[int, ...]


@contextmanager
def begin(work: Work, source: Path, *, base: Path | None = None) -> Iterator[Run]:
    """Yield a run, new or gone on with; no other may use its folder meanwhile.

    Args:
        work: what is to be done; the root comes from the pictures.
        source: a folder or a list of pictures, see `fo1.labelling.pictures`.
        base: where the relative paths of a list start from.

    Raises:
        InputError: there are no pictures, or the folder holds another run, is used by one, or cannot be written to.
        CheckpointError: there is no such model.
    """
    out, model = Path(os.path.abspath(work.out)), find_model(work.model)
    make_folder(out)
    _check_new(out)
    try:
        with written_beside(out / PICTURES) as file:
            pictures = list_pictures(source, out, file, base=base, batch_size=work.batch_size)
            settings = {
                "task": "label",
                "version of fo1": fo1.__version__,
                "model": hash_model(model),
                "number of pictures": pictures.count,
                "pictures": pictures.digest,
                "queries": list(work.queries),
                "proposer": work.proposer,
                "threshold": work.threshold,
                "batch size": work.batch_size,
            }
            check_settings(out, settings)
            held = lock(out)
    except OSError as error:
        raise unwritable(out, error) from error
    with held:
        for folder in (out, *sorted((out / PARTS).glob("*"))):
            sweep(folder)
        found, missing = 0, list[int]()
        for number in range(pictures.num_shards):
            shard = pictures.shard(number)
            there = tally(out, shard)
            found += there.done - there.failed
            if there.done < shard.count or there.failed:
                missing.append(number)
        # Workers of a cluster begin in other folders.
        folder = work.model != PACKAGED and os.path.isdir(work.model)
        name = str(model.absolute()) if folder else work.model
        work = replace(work, out=out, root=pictures.root, model=name)
        yield Run(work, pictures, found, tuple(missing))


def _check_new(out: Path) -> None:
    """Check that a folder that is no run's is empty: exports take the place of what has their names.

    Raises:
        InputError: it is not.
    """
    if (out / SETTINGS).exists():
        return
    for path in out.iterdir():
        if not path.name.startswith(".") and not is_left(path):
            raise InputError(
                f"{short_name(str(out))} holds {short_name(path.name)} and no run of fo1 label; "
                "give --out a new folder"
            )


def check_formats(pictures: PictureList, formats: Sequence[str]) -> None:
    """Check that each picture has a file of its own in the formats that name them after it, and is found by it.

    Raises:
        InputError: two pictures would share one, or readers of YOLO would look elsewhere.
    """
    for one in pictures if "yolo" in formats else ():
        if "images" in one.name.split("/")[:-1]:
            raise InputError(
                f"{short_name(one.name)} lies in a folder called images, and readers of yolo look for its "
                "labels beside that; give that folder itself, or choose another format"
            )
        if _NO_LINE.search(one.name):
            raise InputError(
                f"{one.name!r} cannot stand in yolo's list of pictures; rename it, or choose another format"
            )
    chosen = [name for name in formats if name in FILE_PER_PICTURE]
    shared = shared_label_files(pictures) if chosen else None
    if shared is not None:
        raise InputError(
            f"{shared[0]} and {shared[1]} would have one file of labels in {chosen[0]}; rename one, "
            "or choose coco, jsonl or parquet"
        )


def label(run: Run, *, processes: int = 1, ray: bool = False) -> Iterator[Tally]:
    """Label what is missing and yield what each step adds; its rows are on the disk when this ends.

    Args:
        run: see `begin`.
        processes: how many there are; 1 is this one. With Ray 0 leaves it to the cluster.
        ray: whether Ray Data shares the work among the machines of a cluster.

    Raises:
        FO1Error: the model cannot be used.
        LabellingError: memory is too short, or a process was killed.
    """
    shards = (run.pictures.shard(number) for number in run.missing)
    if ray:
        return label_with_ray(run.work, shards, processes or None)
    if processes == 1:
        return label_here(run.work, shards)
    return label_in_processes(run.work, shards, processes)


def finish(run: Run, formats: Sequence[str]) -> Counts:
    """Write exports, broken pictures, statistics and contact sheet; return the counts.

    Args:
        run: all its rows are there.
        formats: names of `fo1.export.EXPORTS`.

    Raises:
        InputError: rows are missing.
        MissingExtraError: a format needs a package that is not installed.
    """
    out, names, root = run.work.out, run.work.queries, run.pictures.root
    counts, sample = Counts(names), Sample(MOST)
    with ExitStack() as stack:
        writes = [stack.enter_context(export(name, out, names)) for name in formats]
        broken = stack.enter_context(written_beside(out / BROKEN))
        for picture, row in all_rows(out, run.pictures):
            if "error" in row:
                broken.write(json.dumps(row).encode() + b"\n")
                counts.add(None)
                continue
            found = as_detections(row)
            counts.add(found)
            sample.add(picture.name, found)
            one = LabelledPicture(picture.name, str(root / picture.name), picture.number, found)
            for write in writes:
                write(one)
    write_beside(out / SUMMARY, json.dumps(counts.to_dict(), indent=1) + "\n")
    sheet = contact_sheet(sample.chosen(), root)
    if sheet is not None:
        save_picture(sheet, out / SHEET)
    return counts
