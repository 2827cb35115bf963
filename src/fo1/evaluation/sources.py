"""Where the boxes of a run come from: `--proposals FILE|NAME`."""

import hashlib
from pathlib import Path
from typing import Any

from PIL import Image

from fo1.errors import InputError, short_name
from fo1.evaluation.example import Example
from fo1.evaluation.formats.proposals import RecordedProposals
from fo1.evaluation.predicting import Source
from fo1.evaluation.task import AnyTask
from fo1.geometry import Boxes
from fo1.pipeline import FO1
from fo1.prompts import QUERY_TASKS
from fo1.proposals import DETECTOR_HELP, check_name, names
from fo1.results import Proposals

TRUE = "true"
"""Name of the perfect proposer: the boxes of the annotation."""


def check_source(given: str | None) -> None:
    """Check that a source is a name or a file that exists; nothing is read.

    Raises:
        InputError: it is neither.
    """
    if given is None or given == TRUE or Path(given).is_file():
        return
    try:
        check_name(given)
    except InputError as error:
        raise InputError(
            f"--proposals {short_name(given)} is no file and no proposer; give a file of boxes, "
            f"one of {', '.join((*names(), TRUE))}, or {DETECTOR_HELP}"
        ) from error


def make_source(given: str | None, task: AnyTask, model: FO1) -> Source:
    """Return what finds the boxes of an example.

    Args:
        given: a name, a file, or None for the model's own proposer.
        task: knows the true boxes.
        model: knows the proposers by their names.

    Raises:
        InputError: the file holds something else, or the proposer cannot be used.
    """
    if given == TRUE:

        def true_boxes(example: Example[Any], image: Image.Image) -> Boxes:
            boxes = task.true_boxes(example)
            if boxes is None:
                raise InputError(f"{task.name} knows no true boxes for it; propose them")
            return boxes

        return true_boxes
    if given is not None and given not in names() and Path(given).is_file():
        recorded = RecordedProposals(Path(given))
        recorded.check(task.examples)
        return recorded
    model.get_proposer(given)  # a missing package or weight is told before any work

    def propose(example: Example[Any], image: Image.Image) -> Proposals:
        asked = (request for request in example.requests if request.task in QUERY_TASKS)
        queries = tuple(dict.fromkeys(query for request in asked for query in request.queries))
        return model.propose(image, proposer=given, queries=queries)

    return propose


def describe_source(given: str | None, model: FO1) -> str:
    """Return what names a source in the settings of a run: a file by its contents."""
    if given is None:
        return model.get_proposer().name
    if not Path(given).is_file() or given in (*names(), TRUE):
        return given
    return f"sha256 {hashlib.sha256(Path(given).read_bytes()).hexdigest()}"
