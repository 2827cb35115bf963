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
from fo1.proposals import names

TRUE = "true"
"""Name of the perfect proposer: the boxes of the annotation."""


def check_source(given: str | None) -> None:
    """Check that a source is a name or a file that exists; nothing is read.

    Raises:
        InputError: it is neither.
    """
    known = (*names(), TRUE)
    if given is not None and given not in known and not Path(given).is_file():
        raise InputError(
            f"--proposals {short_name(given)} is no file and no proposer; "
            f"give a file of boxes, or one of {', '.join(known)}"
        )


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
    if given is not None and given not in names():
        recorded = RecordedProposals(Path(given))
        recorded.check(task.examples)
        return recorded
    model.get_proposer(given)  # a missing package or weight is told before any work
    return lambda example, image: model.propose(image, proposer=given)


def describe_source(given: str | None, model: FO1) -> str:
    """Return what names a source in the settings of a run: a file by its contents."""
    if given is None:
        return model.get_proposer().name
    if given in (*names(), TRUE):
        return given
    return f"sha256 {hashlib.sha256(Path(given).read_bytes()).hexdigest()}"
