"""Our benchmarks as tasks of lmms-eval: one question at a time out, one answer at a time in.

    Example with its requests --asked--> one `Asked` and one prompt per request
    answers of any model --understand--> parts --join--> one Prediction per example --> measure

FO1 answers with its whole `Prediction` as JSON, so that nothing is lost between the harnesses. Other
models answer the prompt, which asks for boxes as JSON, in pixels.

Legend: N regions of one picture.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fo1 import tags
from fo1.evaluation.example import Example
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.task import AnyTask
from fo1.geometry import Boxes
from fo1.parsing import parse_count
from fo1.pipeline import Request
from fo1.prompts import Task

_FORM: Final = (
    'as a JSON list of {"bbox_2d": [x1, y1, x2, y2], "label": "...", "score": 0.0 to 1.0}, '
    "coordinates in pixels of the picture, which is %d wide and %d high; [] if there is none."
)
_OBJECT = re.compile(r"\{[^{}]*\}")
NO_ANSWER: Final = "no answer"


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One question of a benchmark, beside the prompt that stands for it.

    Attributes:
        key: of its example.
        request: the question.
        boxes: (N, 4) xyxy regions that the protocol gives; None where they are proposed.
        most: detections of the answer that the protocol looks at.
    """

    key: str
    request: Request
    boxes: Boxes | None
    most: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One answer: which question of which example, and what was understood."""

    example: int
    request: int
    prediction: Prediction

    def __str__(self) -> str:  # what lmms-eval writes into its log, which holds the answer already
        return f"{self.prediction.key} {self.request}"


def prompt(request: Request, size: tuple[int, int], boxes: Boxes | None) -> str:
    """Return a question in the words of models that know boxes by their coordinates.

    Args:
        request: the question.
        size: (height, width) of the picture.
        boxes: (N, 4) the regions that the request may name.
    """
    height, width = size
    form = _FORM % (width, height)
    queries = ", ".join(request.queries)
    regions = "; ".join(_place(boxes, region) for region in request.regions or _all(boxes))
    match request.task:
        case Task.DETECT:
            return f"Locate every instance of these categories: {queries}. Answer {form}"
        case Task.REFER:
            return f'Locate what "{queries}" describes. Answer {form}'
        case Task.COUNT:
            return f"How many {queries} are there in this image? Answer with a number."
        case Task.DESCRIBE:
            return f"Describe briefly, one line each, what is in these boxes: {regions}"
        case Task.READ:
            return f"Write, one line each, the text that can be read in these boxes: {regions}"
        case _:
            text = request.queries[0] if request.queries else str(request.task)
            for region in dict.fromkeys(tags.regions_in(text)):
                text = text.replace(tags.region_token(region), _place(boxes, region))
            return text


def understand(text: str, example: Example[Any], number: int) -> Prediction:
    """Return an answer to one request of an example as a prediction about that request alone.

    Never fails: what cannot be read is nothing said, which scores as wrong.
    """
    if not text.strip():
        return replace(Prediction.failed(example, NO_ANSWER), said=(Said(),))
    row = _parsed(text)
    if row.get("key") == example.key and "said" in row:
        return Prediction.from_row(row)
    request = example.requests[number]
    if request.task in (Task.DETECT, Task.REFER):
        return _detections(text, example, request)
    boxes = np.zeros((0, 4)) if example.boxes is None else example.boxes
    regions = request.regions or tuple(_all(example.boxes))
    said = Said(written=(text,))
    if request.task is Task.COUNT:
        said = Said(written=(text,), count=parse_count(text))
    elif request.task in (Task.DESCRIBE, Task.READ):
        lines = text.strip().splitlines() if len(regions) > 1 else [text.strip()]
        said = Said(written=(text,), texts=dict(zip(regions, lines, strict=False)))
    return Prediction.made(example, boxes, said)


def join(example: Example[Any], parts: Mapping[int, Prediction]) -> Prediction:
    """Return one prediction from the answers to single requests; those that lack say nothing.

    Args:
        example: whose requests they answer.
        parts: by number of the request.
    """
    apart: list[Prediction] = []
    said: list[Said] = []
    for number in range(len(example.requests)):
        part = parts.get(number)
        if part is None or part.error is not None:
            said.append(Said())
            continue
        start = 0
        if not apart:
            apart.append(part)
        elif not np.array_equal(part.boxes, apart[0].boxes):
            # Models that write boxes write others each time.
            start = sum(len(one.boxes) for one in apart)
            apart.append(part)
        own = part.said[0]
        said.append(replace(own, regions=own.regions + start))
    if not apart:
        return Prediction.failed(example, NO_ANSWER)
    return replace(
        apart[0],
        boxes=np.concatenate([one.boxes for one in apart]),
        box_scores=np.concatenate([one.box_scores for one in apart]),
        said=tuple(said),
    )


def figures(task: AnyTask, parts: Iterable[Part]) -> dict[str, float]:
    """Return the figures of a benchmark in its units, from the answers in any order.

    Examples of which no question was asked are left out, as with `--limit`.
    """
    told: dict[int, dict[int, Prediction]] = {}
    for part in parts:
        told.setdefault(part.example, {}).setdefault(part.request, part.prediction)
    if not told:
        return {}
    examples = tuple(task.examples[number] for number in sorted(told))
    asked = replace(task, examples=examples)
    predictions = [join(task.examples[number], told[number]) for number in sorted(told)]
    weights = np.ones((1, len(asked.picture_names)))
    return {one.name: one.estimate.value for one in asked.measure(predictions, weights)}


def _all(boxes: Boxes | None) -> Sequence[int]:
    return range(0 if boxes is None else len(boxes))


def _place(boxes: Boxes | None, region: int) -> str:
    """Return a region by its coordinates."""
    if boxes is None or region >= len(boxes):
        return f"region {region}"
    return str([round(float(value)) for value in boxes[region]])


def _detections(text: str, example: Example[Any], request: Request) -> Prediction:
    """Return the boxes in an answer; labels are compared with the names as they were asked."""
    known = {query.casefold(): query for query in request.queries}
    boxes: list[list[float]] = []
    labels: list[str] = []
    scores: list[float] = []
    for row in map(_parsed, _OBJECT.findall(text)):
        numbers = _numbers(row.get("bbox_2d", row.get("bbox")), row.get("score", 1.0))
        if numbers is None:
            continue
        label = " ".join(str(row.get("label") or "").split())
        if len(request.queries) == 1:  # what is asked alone needs no label
            label = request.queries[0]
        boxes.append(numbers[:4])
        labels.append(known.get(label.casefold(), label))
        scores.append(numbers[4])
    said = Said.found(zip(labels, range(len(boxes)), strict=True), scores, written=(text,))
    return Prediction.made(example, np.array(boxes).reshape(-1, 4), said)


def _numbers(box: Any, score: Any) -> list[float] | None:
    """Return the four corners and the score, None where they are something else."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    try:
        numbers = [float(value) for value in (*box, score)]
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def _parsed(text: str) -> dict[str, Any]:
    """Return the JSON object that a text is, an empty one where it is none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
