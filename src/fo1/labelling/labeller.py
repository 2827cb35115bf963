"""One process's work: shards of pictures through a model, rows on the disk."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image

from fo1.errors import CheckpointError, FO1Error, ImageError, MissingExtraError
from fo1.imaging import load_image
from fo1.labelling.pictures import PICTURES, Picture, Shard, read_shard
from fo1.labelling.rows import Row, Tally, as_row, read_rows, tally, write_rows
from fo1.pipeline import FO1

THREADS = "OMP_NUM_THREADS"
_FATAL = (MemoryError, torch.OutOfMemoryError, CheckpointError, MissingExtraError)


class LabellingError(RuntimeError):
    """Raised when a run cannot go on, though nothing is wrong with the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every process of a run must know.

    Attributes:
        out: folder of the run.
        model: name or folder.
        queries: clean names.
        root: folder that the names of the pictures start from; told when they were found.
        device: None for the usual one.
        proposer: name of the proposer; None for the model's own.
        threshold: least score; None for the usual one.
        batch_size: pictures that are asked together.
    """

    out: Path
    model: str
    queries: tuple[str, ...]
    root: Path = Path()
    device: str | None = None
    proposer: str | None = None
    threshold: float | None = None
    batch_size: int = 1


class Labeller:
    """Labels shards; the model is loaded when the first picture needs it.

    Args:
        work: what is to be done.
    """

    def __init__(self, work: Work) -> None:
        self.work = work

    @cached_property
    def model(self) -> FO1:
        """The model.

        Raises:
            FO1Error: it cannot be loaded.
        """
        work = self.work
        model = FO1.from_pretrained(work.model, device=work.device, proposer=work.proposer)
        model.get_proposer()
        return model

    def label(self, shard: Shard) -> Iterator[Tally]:
        """Label a shard and yield what each batch adds; its rows are on the disk when this ends.

        Rows that are there already stay, but pictures that failed are tried again.

        Raises:
            FO1Error: the model cannot be used.
            LabellingError: memory is too short for a batch.
        """
        out = self.work.out
        pictures = read_shard(out / PICTURES, shard)
        rows: list[Row | None] = [None] * len(pictures)
        if tally(out, shard).done:
            rows = [None if "error" in row else row for row in read_rows(out, shard, pictures)]
        missing = [place for place, row in enumerate(rows) if row is None]
        for places, images in _ahead(self.work, pictures, missing):
            try:
                made = self._rows([pictures[place] for place in places], images)
            except (MemoryError, torch.OutOfMemoryError) as error:
                raise LabellingError(
                    f"memory ran out with {len(images)} pictures at once; give a smaller "
                    "--batch-size and another --out, or fewer --processes"
                ) from error
            for place, row in zip(places, made, strict=True):
                rows[place] = row
            yield Tally(len(made), sum("error" in row for row in made))
        write_rows(out, shard, [row for row in rows if row is not None])

    def _rows(
        self, pictures: Sequence[Picture], images: Sequence[Image.Image | ImageError]
    ) -> list[Row]:
        """Return a row for each picture of a batch."""
        rows = {
            one.name: _failure(one, image)
            for one, image in zip(pictures, images, strict=True)
            if isinstance(image, ImageError)
        }
        usable = [
            (one, image)
            for one, image in zip(pictures, images, strict=True)
            if not isinstance(image, ImageError)
        ]
        try:
            rows |= self._ask(usable)
        except _FATAL:
            raise
        except Exception:  # of one of them; the others must not suffer
            for pair in usable:
                try:
                    rows |= self._ask([pair])
                except _FATAL:
                    raise
                except Exception as error:
                    rows[pair[0].name] = _failure(pair[0], error)
        return [rows[one.name] for one in pictures]

    def _ask(self, pairs: Sequence[tuple[Picture, Image.Image]]) -> dict[str, Row]:
        if not pairs:
            return {}
        found = self.model.detect(
            [image for _, image in pairs],
            self.work.queries,
            self.work.threshold,
            batch_size=len(pairs),
        )
        return {one.name: as_row(one, each) for (one, _), each in zip(pairs, found, strict=True)}


def set_threads() -> None:
    """Let this process compute with one thread, or as many as `OMP_NUM_THREADS` says.

    Sums in another order differ in their last digits: rows do not depend on how many processes share a machine.
    """
    told = os.environ.get(THREADS, "")
    torch.set_num_threads(int(told) if told.isdigit() and int(told) else 1)


def _ahead(
    work: Work, pictures: Sequence[Picture], places: Sequence[int]
) -> Iterator[tuple[Sequence[int], list[Image.Image | ImageError]]]:
    """Yield batches of places with their pictures; the next batch, and no more, is read meanwhile."""
    batches = [
        places[first : first + work.batch_size] for first in range(0, len(places), work.batch_size)
    ]

    def read(batch: Sequence[int]) -> list[Image.Image | ImageError]:
        return [_open(work.root / pictures[place].name) for place in batch]

    with ThreadPoolExecutor(1, "fo1-read") as reader:
        coming: list[Future[list[Image.Image | ImageError]]] = []
        for number, batch in enumerate(batches):
            images = coming.pop().result() if coming else read(batch)
            if number + 1 < len(batches):
                coming.append(reader.submit(read, batches[number + 1]))
            yield batch, images


def _open(path: Path) -> Image.Image | ImageError:
    try:
        return load_image(path)
    except ImageError as error:
        return error


def _failure(picture: Picture, error: Exception) -> Row:
    words = " ".join(str(error).split())
    told = words if isinstance(error, FO1Error) else f"{type(error).__name__}: {words[:200]}"
    return {"image": picture.name, "error": told}
