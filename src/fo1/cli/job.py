"""What one command is to do, checked as far as possible before any work and without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fo1 import prompts
from fo1.cli.arguments import SEPARATOR, Arguments
from fo1.errors import InputError, QueryError
from fo1.geometry import Boxes, check_boxes
from fo1.prompts import Task
from fo1.proposals import FileProposer, names

_WIDEST = 2**31
_FOLDER_SUFFIX = ".png"
_PARTS = ("{stem}", "{index}")


@dataclass(frozen=True, slots=True)
class Job:
    """One command.

    Attributes:
        task: what is asked of each picture.
        images: as they were typed.
        targets: per picture where the drawn picture goes, or None.
        queries: clean, in the order typed.
        regions: numbers of regions; None for all.
        detail: how long descriptions are.
        threshold: least score, or None.
        boxes: the regions of every picture, or None.
        proposer: name of the proposer, or None.
        model: name of the model.
        device: name of the device, or None.
        json: whether rows are JSON.
        debug: whether tracebacks are wanted.
    """

    task: Task
    images: tuple[str, ...]
    targets: tuple[Path | None, ...]
    queries: tuple[str, ...]
    regions: tuple[int, ...] | None
    detail: prompts.Detail
    threshold: float | None
    boxes: Boxes | None
    proposer: str | None
    model: str
    device: str | None
    json: bool
    debug: bool


def plan(arguments: Arguments) -> Job:
    """Return the job of a command.

    Raises:
        InputError: something in the command cannot be used; names the cure.
    """
    task = Task(arguments.command)
    if not arguments.images:
        raise InputError(f"no picture given; for example: fo1 {task} photo.jpg")
    queries = _queries(task, arguments.query)
    regions = None if arguments.region is None else tuple(dict.fromkeys(arguments.region))
    if task is Task.SIMILAR and len(regions or ()) != 1:
        count = len(regions or ())
        raise InputError(f"similar needs one --region, got {count}; for example --region 0")
    if arguments.proposer is not None and arguments.proposer not in names():
        choices = ", ".join(names())
        raise InputError(f"unknown proposer '{arguments.proposer}'; choose one of: {choices}")
    targets = save_targets(arguments.save, arguments.images)
    boxes = None if arguments.boxes is None else _read_boxes(arguments.boxes)
    if boxes is not None:
        check_region_numbers(task, queries, regions, len(boxes))
    return Job(
        task=task,
        images=tuple(arguments.images),
        targets=targets,
        queries=queries,
        regions=regions,
        detail="detailed" if arguments.detail == "detailed" else "brief",
        threshold=arguments.threshold,
        boxes=boxes,
        proposer=arguments.proposer,
        model=arguments.model,
        device=arguments.device,
        json=arguments.json,
        debug=arguments.debug,
    )


def check_region_numbers(
    task: Task, queries: Sequence[str], regions: Sequence[int] | None, count: int
) -> None:
    """Check that every region that is named exists among `count` regions.

    Raises:
        QueryError: one does not.
    """
    prompts.check_regions(regions or (), count)
    if task is Task.ASK:
        prompts.ask(queries[0], num_regions=count)


def save_targets(save: str | None, images: Sequence[str]) -> tuple[Path | None, ...]:
    """Return per picture where the drawn picture goes.

    A file is for one picture. In a folder the names are those of the pictures, as PNG; a pattern
    holds {stem}, the picture's name without its ending, or {index}, which counts from 0. Equal
    names get a number. A file that was there before is replaced, a picture of the command never.

    Raises:
        InputError: a folder is missing, the suffix is unknown, one file is to hold several
            pictures, or a picture would be overwritten.
    """
    if save is None:
        return (None,) * len(images)
    path = Path(save)
    pattern = any(part in path.name for part in _PARTS)
    if path.is_dir() or save.endswith(("/", "\\")):
        path, pattern = path / f"{{stem}}{_FOLDER_SUFFIX}", True
    if not pattern and len(images) > 1:
        raise InputError(
            f"--save {save} is one file for {len(images)} pictures; give a folder, "
            "or a pattern such as found/{stem}.png"
        )
    if not path.parent.is_dir():
        raise InputError(f"--save: folder {path.parent} is missing; create it")
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise InputError(f"--save {save}: unknown suffix '{path.suffix}'; use .png or .jpg")
    targets: list[Path] = []
    for index, image in enumerate(images):
        name = path.name.replace("{stem}", Path(image).stem).replace("{index}", str(index))
        targets.append(_unused(path.with_name(name) if pattern else path, targets))
    sources = {Path(image).resolve() for image in images}
    for target in targets:
        if target.resolve() in sources:
            raise InputError(f"--save would overwrite the picture {target}; give another name")
    return tuple(targets)


def _unused(target: Path, taken: Sequence[Path]) -> Path:
    number, free = 2, target
    while free in taken:
        free = target.with_stem(f"{target.stem}_{number}")
        number += 1
    return free


def _queries(task: Task, given: Sequence[str]) -> tuple[str, ...]:
    if task is Task.ASK:
        if len(given) != 1:
            raise QueryError(f"ask needs one --query, the question; got {len(given)}")
        prompts.ask(given[0])
        return tuple(given)
    if task not in (Task.DETECT, Task.REFER, Task.COUNT):
        return ()
    pieces = [piece for text in given for piece in text.split(SEPARATOR) if piece.strip()]
    if not pieces:
        raise QueryError(f"{task} needs a query; for example: fo1 {task} photo.jpg -q cat")
    return tuple(dict.fromkeys(prompts.clean_name(piece) for piece in pieces))


def _read_boxes(file: str) -> Boxes:
    """Return the boxes of a file; what is wrong in every picture is found here."""
    source = FileProposer(file)
    return check_boxes(source.boxes, (_WIDEST, _WIDEST), where=source.name)
