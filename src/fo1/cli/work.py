"""A job done: each picture through the model, one row each, failures told and counted."""

import json
import time
import traceback
from typing import TextIO

import numpy as np

from fo1.cli.job import Job, check_region_numbers
from fo1.cli.output import Row, failure_row, result_row, show
from fo1.errors import BoxError, FO1Error
from fo1.imaging import load_image
from fo1.pipeline import FO1, Outcome, Request, Scene
from fo1.pipeline.answering import MOST_UNNAMED
from fo1.prompts import Task
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.results import Detections
from fo1.visualize import draw, save_picture


class Stopwatch:
    """Seconds since the last look."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last call, or since the watch was made."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed


def work(job: Job, out: TextIO, err: TextIO) -> int:
    """Do a job and return how many pictures failed.

    Args:
        job: what to do.
        out: one row per picture goes here.
        err: everything else goes here, one line each.

    Raises:
        FO1Error: model, proposer, boxes or regions cannot be used; no picture was touched.
    """
    watch = Stopwatch()
    model = FO1.from_pretrained(job.model, device=job.device, proposer=job.proposer)
    request = Request(
        task=job.task,
        queries=job.queries,
        regions=job.regions,
        detail=job.detail,
        threshold=job.threshold,
    )
    most = model.engine.max_regions
    if job.boxes is None:
        model.get_proposer()
        check_region_numbers(job.task, job.queries, job.regions, most)
    elif len(job.boxes) > most:
        raise BoxError(
            f"got {len(job.boxes)} boxes, '{model.name}' takes at most {most}; give fewer"
        )
    failed = 0
    load = watch.lap()
    for number, image in enumerate(job.images):
        try:
            row = _answer(job, model, request, number, load)
            load = 0.0
        except Exception as error:  # one bad picture must not end the run; it becomes a row
            if job.debug:
                traceback.print_exc(file=err)
            row = failure_row(image, _one_line(error))
            failed += 1
        _emit(job, row, out, err)
    return failed


def _answer(job: Job, model: FO1, request: Request, number: int, load: float) -> Row:
    watch = Stopwatch()
    picture = load_image(job.images[number])
    seconds = {"load": load + watch.lap()}
    boxes = job.boxes
    if boxes is None:
        unnamed = job.task in (Task.DESCRIBE, Task.READ) and job.regions is None
        boxes = model.propose(picture, limit=MOST_UNNAMED if unnamed else DEFAULT_LIMIT)
    seconds["propose"] = watch.lap()
    scene = model.encode(picture, boxes)
    seconds["encode"] = watch.lap()
    outcome = scene.answer(request)
    seconds["answer"] = watch.lap()
    target = job.targets[number]
    if target is not None:
        save_picture(draw(picture, _to_draw(scene, outcome), show_scores=not outcome.texts), target)
    return result_row(job.images[number], job.task, scene, outcome, seconds)


def _to_draw(scene: Scene, outcome: Outcome) -> Detections:
    """Return what is drawn: the detections, or the regions with what was said about them."""
    if not outcome.texts:
        return outcome.detections
    rows = np.array([text.region for text in outcome.texts], dtype=np.int64)
    return Detections(
        boxes=scene.regions[rows],
        labels=tuple(f"{text.region}: {text.text}" for text in outcome.texts),
        scores=scene.proposal_scores[rows],
        regions=rows,
        image_size=scene.image_size,
    )


def _emit(job: Job, row: Row, out: TextIO, err: TextIO) -> None:
    if job.json:
        out.write(f"{json.dumps(row)}\n")
    elif "error" not in row:
        out.write(show(row))
    out.flush()
    notes = [row["error"]] if "error" in row else [f"note: {p}" for p in row["problems"]]
    for note in notes:
        err.write(f"fo1: {note if row['image'] in note else row['image'] + ': ' + note}\n")


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    if isinstance(error, FO1Error):
        return words
    return f"{type(error).__name__}: {words[:200]}; run it again with --debug"
