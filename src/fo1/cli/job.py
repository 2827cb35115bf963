"""What one command is to do, checked as far as possible before any work and without torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fo1 import prompts, tags
from fo1.cli.arguments import Arguments
from fo1.cli.options import SEPARATOR
from fo1.cli.pictures import find_pictures
from fo1.errors import InputError, QueryError, short_name
from fo1.prompts import QUERY_TASKS, Task
from fo1.proposals import FileProposer, check_name
from fo1.proposals.base import DEFAULT_LIMIT

_FOLDER_SUFFIX = ".png"
_PARTS = ("{stem}", "{index}")


@dataclass(frozen=True, slots=True)
class Job:
    """One command.

    Attributes:
        task: what is asked of each picture.
        images: as they were typed, or as they were found in folders and by patterns.
        targets: per picture where the drawn picture goes, or None.
        queries: clean, in the order typed.
        regions: numbers of regions; None for all.
        detail: how long descriptions are.
        think: whether to reason before answering.
        threshold: least score, or None.
        boxes: the boxes given, or None.
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
    think: bool
    threshold: float | None
    boxes: FileProposer | None
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
        raise InputError(f"no picture given; {_example(task)}")
    queries = _queries(task, arguments.query)
    regions = None if arguments.region is None else tuple(dict.fromkeys(arguments.region))
    if task is Task.SIMILAR and len(regions or ()) != 1:
        count = len(regions or ())
        raise InputError(f"similar needs one --region, got {count}; {_example(task)}")
    if arguments.proposer is not None:
        check_name(arguments.proposer)
    images = find_pictures(arguments.images)
    targets = _targets(arguments.save, images)
    boxes = None if arguments.boxes is None else _read_boxes(arguments.boxes)
    check_region_numbers(task, queries, regions, None if boxes is None else boxes.most)
    return Job(
        task=task,
        images=images,
        targets=targets,
        queries=queries,
        regions=regions,
        detail="detailed" if arguments.detail == "detailed" else "brief",
        think=arguments.think,
        threshold=arguments.threshold,
        boxes=boxes,
        proposer=arguments.proposer,
        model=arguments.model,
        device=arguments.device,
        json=arguments.json,
        debug=arguments.debug,
    )


def check_region_numbers(
    task: Task, queries: Sequence[str], regions: Sequence[int] | None, count: int | None
) -> None:
    """Check that every region that is named exists among the boxes given, or may be proposed.

    Args:
        task: what is asked.
        queries: the question of ask may name regions.
        regions: those named apart.
        count: of the boxes given; None if boxes are to be proposed.

    Raises:
        QueryError: one does not.
    """
    asked = tags.regions_in(queries[0]) if task is Task.ASK else ()
    named = (*(regions or ()), *asked)
    if count is not None:
        tags.check_regions(named, count)
    elif named and max(named) >= DEFAULT_LIMIT:
        raise QueryError(
            f"region {max(named)} cannot be: at most {DEFAULT_LIMIT} boxes are proposed; "
            "give --boxes with more, or a lower number"
        )


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
    taken: dict[str, int] = {}
    for index, image in enumerate(images):
        name = path.name.replace("{stem}", Path(image).stem).replace("{index}", str(index))
        targets.append(_unused(path.with_name(name) if pattern else path, taken))
    sources = {Path(image).resolve() for image in images}
    for target in targets:
        if target.resolve() in sources:
            raise InputError(f"--save would overwrite the picture {target}; give another name")
    return tuple(targets)


def _targets(save: str | None, images: Sequence[str]) -> tuple[Path | None, ...]:
    try:
        return save_targets(save, images)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(
            f"--save {short_name(str(save))}: {reason}; give shorter names of usual characters"
        ) from error


def _unused(target: Path, taken: dict[str, int]) -> Path:
    """Return the target, numbered if it is taken, and note it.

    Args:
        target: the wish.
        taken: names given away, in small letters because some disks know no others, each with the
            last number tried for it.
    """
    wish, free = str(target).casefold(), target
    while str(free).casefold() in taken:
        taken[wish] += 1
        free = target.with_stem(f"{target.stem}_{taken[wish]}")
    taken[str(free).casefold()] = 1
    return free


def _example(task: Task) -> str:
    options = {Task.ASK: ' -q "what is this?"', Task.SIMILAR: " --boxes boxes.json --region 0"}
    query = " -q cat" if task in QUERY_TASKS else options.get(task, "")
    return f"for example: fo1 {task} photo.jpg{query}"


def _queries(task: Task, given: Sequence[str]) -> tuple[str, ...]:
    if task is Task.ASK:
        if len(given) != 1:
            raise QueryError(
                f"ask needs one --query, the question; got {len(given)}; {_example(task)}"
            )
        prompts.ask(given[0])
        return tuple(given)
    if task not in QUERY_TASKS:
        return ()
    names = split_names(given)
    if not names:
        raise QueryError(f"{task} needs a --query, the name of something; {_example(task)}")
    return names


def split_names(given: Sequence[str]) -> tuple[str, ...]:
    """Return the clean names in texts with separators, each once, in order.

    Raises:
        QueryError: one is too long.
    """
    pieces = [piece for text in given for piece in text.split(SEPARATOR) if piece.strip()]
    return tuple(dict.fromkeys(prompts.clean_name(piece) for piece in pieces))


def _read_boxes(file: str) -> FileProposer:
    """Return the boxes of a file; what is wrong in every picture is found here."""
    source = FileProposer(file)
    if source.file.every is not None:
        source.of("", None)
    return source
