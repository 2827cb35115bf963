"""A job done: each picture through the model, one row each, failures told and counted."""

import time
from typing import TextIO

import numpy as np
from PIL import Image

from fo1.cli.interrupts import Interrupts
from fo1.cli.job import Job
from fo1.cli.output import Row, emit, failure
from fo1.cli.progress import Progress
from fo1.imaging import load_image
from fo1.pipeline import FO1, Outcome, Request, Scene
from fo1.pipeline.answering import MOST_UNNAMED
from fo1.pipeline.json_row import json_row
from fo1.prompts import QUERY_TASKS, REGION_TASKS
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


def work(job: Job, out: TextIO, err: TextIO, interrupts: Interrupts) -> int:
    """Do a job and return how many pictures failed.

    Args:
        job: what to do.
        out: one row per picture goes here.
        err: everything else goes here, one line each.
        interrupts: a picture saved and its row written are never cut by them.

    Raises:
        FO1Error: the model or the proposer cannot be used; no picture was touched.
        KeyboardInterrupt: stopped; says after how many pictures.
    """
    watch = Stopwatch()
    model = FO1.from_pretrained(job.model, device=job.device, proposer=job.proposer)
    request = Request(
        task=job.task,
        queries=job.queries,
        regions=job.regions,
        detail=job.detail,
        think=job.think,
        threshold=job.threshold,
    )
    if job.boxes is None:
        model.get_proposer()
    load = watch.lap()
    with Progress(len(job.images), err) as progress:
        try:
            for number in range(len(job.images)):
                try:
                    row, drawn = _answer(job, model, request, number, load)
                    load = 0.0
                except Exception as error:  # one bad picture must not end the run
                    interrupts.check()
                    row, drawn = failure(job, job.images[number], error, err), None
                with interrupts.held(), progress.aside():
                    if drawn is not None:
                        row = _save(job, number, row, drawn, err)
                    emit(job, row, out, err)
                    progress.step(failed="error" in row)
        except KeyboardInterrupt as stop:
            if progress.total == 1:
                raise
            told = f"stopped after {progress.done} of {progress.total} pictures"
            raise KeyboardInterrupt(f"{told}; their rows are complete") from stop
    return progress.failed


def _answer(
    job: Job, model: FO1, request: Request, number: int, load: float
) -> tuple[Row, Image.Image | None]:
    """Return the row of a picture, and the drawn picture if it is to be saved."""
    watch = Stopwatch()
    picture = load_image(job.images[number])
    seconds = {"load": load + watch.lap()}
    if job.boxes is None:
        unnamed = job.task in REGION_TASKS and job.regions is None
        limit = MOST_UNNAMED if unnamed else DEFAULT_LIMIT
        queries = request.queries if job.task in QUERY_TASKS else ()
        boxes = model.propose(picture, limit=limit, queries=queries)
    else:
        found = job.boxes.of(job.images[number], (picture.height, picture.width))
        boxes = found if job.boxes.scored else found.boxes
    seconds["propose"] = watch.lap()
    scene = model.encode(picture, boxes)
    seconds["encode"] = watch.lap()
    outcome = scene.answer(request)
    seconds["answer"] = watch.lap()
    row = json_row(job.images[number], job.task, scene, outcome, seconds)
    if job.targets[number] is None:
        return row, None
    return row, draw(picture, _to_draw(scene, outcome), show_scores=not outcome.texts)


def _save(job: Job, number: int, row: Row, drawn: Image.Image, err: TextIO) -> Row:
    """Return the row of a picture once it is saved, or why it cannot be."""
    target = job.targets[number]
    try:
        if target is not None:
            save_picture(drawn, target)
    except Exception as error:  # as above
        return failure(job, job.images[number], error, err)
    return row


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
