"""lmms-eval's questions as requests of FO1, and FO1's answers in the form that its tasks read.

    prompt of a task --read_prompt--> Family, Request --FO1--> Prediction --reply--> text

A task asks for boxes in its own words and reads them from the answer in its own form. A `Family` is
such a pair of words and form; what belongs to none is a free question and is answered in words.

Source: prompts and parsers of the task files of lmms-eval 0.7.3.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from fo1 import tags
from fo1.errors import InputError
from fo1.evaluation.prediction import Prediction, Said
from fo1.geometry import Size
from fo1.parsing import plain_text
from fo1.pipeline import Request
from fo1.prompts import Task

Scale: TypeAlias = Literal["pixel", "unit", "thousand"]
"""Coordinates in pixels of the picture, from 0 to 1, or from 0 to 1000."""
Coordinates: TypeAlias = Literal["auto", "none", "pixel", "unit", "thousand"]
"""Scale of boxes in answers: "auto" that of the family, and no boxes in free answers; "none" no boxes
in free answers; a scale for all answers, free ones included."""
Box: TypeAlias = Sequence[float]
Found: TypeAlias = tuple[Box, str, float]
"""Box in the scale of the answer, label, score."""

_DIGITS: Final = {"pixel": 1, "unit": 4, "thousand": 0}
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Family:
    """Tasks that ask in the same words and read the same form.

    Attributes:
        name: for people.
        pattern: finds what is asked for in the prompt, as its only group.
        task: what FO1 is asked.
        split: what was found as names or expressions.
        write: the answer from what was found; empty for counts.
        scale: of the coordinates.
        threshold: least score of a box; 0 where something is always meant, so that the best box is
            told; the model's own if None.
    """

    name: str
    pattern: re.Pattern[str]
    task: Task
    split: Callable[[str], Sequence[str]]
    write: Callable[[Sequence[Found]], str] | None = None
    scale: Scale = "pixel"
    threshold: float | None = None


def _json_list(found: Sequence[Found]) -> str:
    rows = [{"bbox_2d": box, "label": label, "score": score} for box, label, score in found]
    return json.dumps(rows, ensure_ascii=False)


def _json_one(found: Sequence[Found]) -> str:
    return json.dumps({"bbox_2d": found[0][0] if found else None})


def _plain_list(found: Sequence[Found]) -> str:
    return json.dumps(found[0][0]) if found else ""


def _one(text: str) -> Sequence[str]:
    return [text]


FAMILIES: Final = (
    Family(
        "odinw13",
        re.compile(r"belongs to the following categories: \u00b4(.+?)\u00b4", re.DOTALL),
        Task.DETECT,
        lambda text: text.split(", "),
        _json_list,
    ),
    Family(
        "refcoco_grounding",
        re.compile(r'every object that matches the description (".+") in the image', re.DOTALL),
        Task.REFER,
        lambda text: _QUOTED.findall(text),
        _json_list,
        threshold=0.0,
    ),
    Family(
        "groundingme",
        re.compile(r"following statement describes:\n(.+)\nEnsure that", re.DOTALL),
        Task.REFER,
        _one,
        _json_one,
    ),
    Family(
        "refcoco_bbox_rec",
        re.compile(r"coordinate of the region this sentence describes: (.+)", re.DOTALL),
        Task.REFER,
        _one,
        _plain_list,
        "unit",
        0.0,
    ),
    Family(
        "counting",
        re.compile(r"[Hh]ow many (.+?) (?:are|is|do|does|can|could|will|have|has)\b"),
        Task.COUNT,
        _one,
    ),
)
"""The first whose pattern is found in a prompt is taken."""


def read_prompt(prompt: str, threshold: float | None = None) -> tuple[Family | None, Request]:
    """Return the family of a prompt, None for a free question, and what FO1 is asked.

    Raises:
        QueryError: nothing is asked for.
        InputError: the threshold is outside [0, 1].
    """
    for family in FAMILIES:
        if found := family.pattern.search(prompt):
            queries = tuple(family.split(found[1].strip()))
            least = family.threshold if threshold is None else threshold
            return family, Request(task=family.task, queries=queries, threshold=least)
    return None, Request(task=Task.ASK, queries=(prompt,), threshold=threshold)


def reply(
    family: Family | None, prediction: Prediction, said: Said, coordinates: Coordinates = "auto"
) -> str:
    """Return the text that a task reads.

    Args:
        family: of the prompt; None for a free question.
        prediction: the boxes that the model saw.
        said: what it said of them.
        coordinates: how boxes are written.
    """
    scale = None if coordinates in ("auto", "none") else coordinates
    size = prediction.image_size
    if family is None:
        text = said.written[0] if said.written else ""
        boxes = prediction.boxes.tolist()
        return with_boxes(text, scale and [scaled(box, size, scale) for box in boxes])
    if family.write is None:
        return str(said.count or 0)
    rows = zip(said.regions.tolist(), said.labels, said.scores.tolist(), strict=True)
    boxes = prediction.boxes.tolist()
    return family.write(
        [
            (scaled(boxes[region], size, scale or family.scale), label, score)
            for region, label, score in rows
        ]
    )


def with_boxes(text: str, boxes: Sequence[Box] | None) -> str:
    """Return a written answer without markup: regions as their boxes, or left out without boxes.

    Example:
        >>> with_boxes("a <ground>cat</ground><objects><region0></objects>", [[2, 4, 50, 90]])
        'a cat [2, 4, 50, 90]'
    """
    if boxes is None:
        return plain_text(tags.renumber(text, {}))
    # Boxes take the place of index tokens only after the other markup is gone, hence the stand-ins.
    kept = re.sub(f"{tags.OBJECTS_OPEN}|{tags.OBJECTS_CLOSE}", " ", text)
    named = [region for region in dict.fromkeys(tags.regions_in(kept)) if region < len(boxes)]
    for region in named:
        kept = kept.replace(tags.region_token(region), f" \ue000{region}\ue001 ")
    plain = plain_text(tags.renumber(kept, {}))
    for region in named:
        plain = plain.replace(f"\ue000{region}\ue001", json.dumps(boxes[region]))
    return plain


def scaled(box: Box, size: Size, scale: Scale) -> list[float]:
    """Return a box in another scale.

    Args:
        box: xyxy pixels of the picture.
        size: (height, width) of the picture.
        scale: what is wanted.
    """
    height, width = (max(side, 1) for side in size)
    factor = {"pixel": (1.0, 1.0), "unit": (1 / width, 1 / height)}.get(
        scale, (1000 / width, 1000 / height)
    )
    digits = _DIGITS[scale]
    values = [round(value * factor[place % 2], digits) for place, value in enumerate(box)]
    return [int(value) for value in values] if not digits else values


def as_coordinates(value: str) -> Coordinates:
    """Return the option of that name.

    Raises:
        InputError: there is none.
    """
    for name in get_args(Coordinates):
        if value == name:
            return name
    raise InputError(f"coordinates is {value!r}; give one of {', '.join(get_args(Coordinates))}")
