"""A checkpoint from the published layout to ours and back: weights bit for bit, all files or none."""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from fo1.errors import CheckpointError
from fo1.models.checkpoints.dry_loading import our_names
from fo1.models.checkpoints.model_card import write_card
from fo1.models.checkpoints.published_processor import check_processor, write_published_processor
from fo1.models.checkpoints.shards import Entry, write_shards, written_bytes
from fo1.models.checkpoints.verification import Status, verify
from fo1.models.configuration import FO1Config
from fo1.models.modeling import FO1ForConditionalGeneration
from fo1.models.processing import FO1Processor
from fo1.models.published.export import SCORE_PREFIX, export_config
from fo1.models.published.names import our_name_to_published
from fo1.models.published.options import unused_tensors
from fo1.models.published.reading import (
    is_published,
    plan_names,
    published_config,
    published_generation_config,
)
from fo1.models.tensor_files import TensorInfo, main_dtype, read_header, read_json, weight_files

Layout: TypeAlias = Literal["fo1", "published"]

SHARD_BYTES = 4_000_000_000
SPARE_BYTES = 100_000_000
COPIED = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")
"""Files that go wherever the weights go."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written.

    Attributes:
        folder: the new checkpoint.
        files: bytes of each file.
        left_behind: stored tensors that the new layout has no place for.
        notes: what else differs from the source, a line each.
    """

    folder: Path
    files: dict[str, int]
    left_behind: tuple[str, ...]
    notes: tuple[str, ...]


def convert(
    source: str | Path,
    out: str | Path,
    *,
    layout: Layout = "fo1",
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Conversion:
    """Return what was written; nothing is left behind when it fails.

    Args:
        source: folder of a checkpoint in the other layout.
        out: a folder that does not exist yet or is empty.
        layout: of the new checkpoint.
        dtype: of its floating tensors; as they are stored if not given.
        shard_bytes: largest size of a weight file.

    Raises:
        CheckpointError: the source is incomplete or cannot be expressed, or `out` is taken.
    """
    source, given = Path(source), Path(out)
    out = given.resolve()
    _check_source(source, layout)
    stored = {
        name: info for file in weight_files(source) for name, info in read_header(file).items()
    }
    plan = _plan_ours(source, stored) if layout == "fo1" else _plan_published(source, stored)
    with beside(out) as folder:
        _check_space(folder, plan.entries, dtype)
        write_shards(folder, plan.entries, shard_bytes, dtype)
        _write_configs(source, folder, plan, dtype)
        for file in (file for pattern in COPIED for file in source.glob(pattern)):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
        write_card(source, folder, out.name, layout=layout, dtype=dtype, notes=plan.notes)
    files = {file.name: file.stat().st_size for file in sorted(out.iterdir())}
    return Conversion(given, files, plan.left_behind, plan.notes)


def _check_source(source: Path, layout: Layout) -> None:
    found = verify(source, run=False)
    for finding in found.findings:
        if finding.status is Status.FAIL:
            raise CheckpointError(f"{source}: {finding.name}: {finding.detail}")
    if is_published(source) == (layout == "published"):
        other = "fo1" if layout == "published" else "published"
        raise CheckpointError(
            f"{source} is in the layout '{layout}' already; convert it to '{other}'"
        )


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """Yield a folder that becomes `out` when all went well; otherwise it and parents made for it vanish."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists and is not empty; give a new folder")
    partial = out.with_name(f"{out.name}.partial")
    with ExitStack() as undo:
        try:
            for parent in reversed([parent for parent in out.parents if not parent.exists()]):
                parent.mkdir(exist_ok=True)
                undo.callback(_remove_empty, parent)
            partial.mkdir()
        except FileExistsError as error:
            raise CheckpointError(
                f"{partial} is there from another conversion; remove it if none is running"
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"cannot write beside {out} ({error.strerror}); give another folder"
            ) from error
        undo.callback(shutil.rmtree, partial, ignore_errors=True)
        try:
            yield partial
            _put(partial, out)
        except OSError as error:
            raise CheckpointError(f"cannot write {out} ({error.strerror or error})") from error


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # it holds what was made in it
        folder.rmdir()


def _put(partial: Path, out: Path) -> None:
    """Make a finished folder the new one; an empty one, perhaps the working folder, is filled instead."""
    if not out.exists():
        partial.rename(out)
        return
    moved: list[Path] = []
    try:
        for file in sorted(partial.iterdir()):
            moved.append(file.rename(out / file.name))
    except BaseException:
        for file in moved:
            file.unlink()
        raise


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be written besides the processor; `published` is the config.json of that layout."""

    entries: tuple[Entry, ...]
    left_behind: tuple[str, ...]
    notes: tuple[str, ...]
    config: FO1Config
    processor: FO1Processor
    published: dict[str, Any] | None = None


def _plan_ours(source: Path, stored: dict[str, TensorInfo]) -> _Plan:
    plan = plan_names(stored, read_json(source / "config.json"))
    plan.check()
    left = tuple(sorted(plan.unused))
    entries = tuple(Entry(own, name, stored[name]) for name, own in plan.ours.items())
    notes = (f"left behind: {len(left)} tensors that this mode never reads",) if left else ()
    config, processor = published_config(source), FO1Processor.from_pretrained(source)
    return _Plan(entries, left, notes, config, processor)


def _plan_published(source: Path, stored: dict[str, TensorInfo]) -> _Plan:
    config, processor = FO1Config.from_pretrained(source), FO1Processor.from_pretrained(source)
    raw = export_config(config, processor.auxiliary_resize)
    check_processor(processor)
    left = tuple(sorted(name for name in stored if name.startswith(SCORE_PREFIX)))
    ours = our_names(config, stored)
    entries = tuple(
        Entry(our_name_to_published(ours[name], config), name, info)
        for name, info in stored.items()
        if name not in left
    )
    notes = []
    if left:
        notes.append(f"left behind: the score head, {len(left)} tensors; answers are written")
    if unused := unused_tensors(raw):
        names = ", ".join(name.removeprefix("model.") + "*" for name in unused)
        notes.append(f"not restored: {names}, which the authors' code stores but never reads")
    if "aux_vision_config" in raw:
        notes.append(
            "aux_vision_config holds the sizes of the auxiliary encoder; not all tools read it"
        )
    if config.repeat_regions:
        notes.append("trained with repeat_regions, for which the published layout has no option")
    return _Plan(entries, left, tuple(notes), config, processor, raw)


def _write_configs(source: Path, folder: Path, plan: _Plan, dtype: torch.dtype | None) -> None:
    kind = dtype or main_dtype(entry.info for entry in plan.entries)
    if plan.published is None:
        plan.config.architectures = [FO1ForConditionalGeneration.__name__]
        plan.config.dtype = kind
        plan.config.save_pretrained(folder)
        plan.processor.save_pretrained(folder)
    else:
        raw = plan.published | {"torch_dtype": str(kind).removeprefix("torch.")}
        text = json.dumps(raw, indent=2, sort_keys=True)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        write_published_processor(plan.processor, folder)
    generation = source / "generation_config.json"
    if generation.is_file():
        shutil.copyfile(generation, folder / generation.name)
    else:
        published_generation_config(source).save_pretrained(folder)


def _check_space(folder: Path, entries: Iterable[Entry], dtype: torch.dtype | None) -> None:
    needed = sum(written_bytes(entry.info, dtype) for entry in entries) + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"{folder.parent} has {free / 1e9:.1f} GB left, the new checkpoint takes {needed / 1e9:.1f} GB; "
            "give a folder on a larger disk"
        )
