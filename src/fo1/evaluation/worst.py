"""Pictures of the worst errors: what is true on the left, what the model said on the right."""

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fo1.errors import FO1Error
from fo1.evaluation.example import Example
from fo1.evaluation.prediction import Prediction
from fo1.evaluation.task import AnyTask
from fo1.pipeline import DEFAULT_THRESHOLD
from fo1.results import NO_REGION, Detections
from fo1.visualize import draw, save_picture

MOST_BOXES = 15
_LONG_SIDE = 720
_MARGIN, _LINE, _LETTER = 8, 18, 8


def save_worst(
    task: AnyTask, predictions: Sequence[Prediction], folder: Path, count: int = 8
) -> list[Path]:
    """Return the files that show the worst predictions, worst first; right ones are not shown.

    Args:
        task: tells how wrong a prediction is.
        predictions: one per example.
        folder: made if missing; older pictures of this kind in it are removed.
        count: at most so many pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9]_*.png"):
        old.unlink()
    badness = [
        task.error(example, prediction)
        for example, prediction in zip(task.examples, predictions, strict=True)
    ]
    saved: list[Path] = []
    for index in np.argsort(-np.array(badness, float), kind="stable").tolist():
        example, prediction = task.examples[index], predictions[index]
        if len(saved) == count or not badness[index] > 0:
            break
        if prediction.error is None:  # what failed is told in its row
            try:
                sheet = _side_by_side(task, example, prediction)
            except FO1Error:  # the picture was there when it was asked
                continue
            name = re.sub(r"[^A-Za-z0-9.-]+", "-", example.key)[:60]
            saved.append(folder / f"{len(saved) + 1:02d}_{name}.png")
            save_picture(sheet, saved[-1])
    return saved


def _side_by_side(task: AnyTask, example: Example[Any], prediction: Prediction) -> Image.Image:
    image = example.open()
    boxes, labels = task.truth_to_draw(example)
    truth = Detections(
        boxes=boxes,
        labels=labels,
        scores=np.ones(len(labels), np.float32),
        regions=np.full(len(labels), NO_REGION),
        image_size=(image.height, image.width),
    )
    left = draw(image, truth, show_scores=False)
    right = draw(image, _shown(prediction, (image.height, image.width)))
    scale = min(1.0, _LONG_SIDE / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    width = 2 * size[0] + 3 * _MARGIN
    lines = _lines(example, prediction, task.truth_in_words(example), max(40, width // _LETTER))
    top = _MARGIN * 2 + _LINE * len(lines)
    sheet = Image.new("RGB", (width, top + size[1] + _MARGIN), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, _MARGIN + number * _LINE), line, fill="black", font=font)
    for number, panel in enumerate((left, right)):
        place = _MARGIN + number * (size[0] + _MARGIN), top
        sheet.paste(panel.resize(size, Image.Resampling.LANCZOS), place)
    return sheet


def _shown(prediction: Prediction, image_size: tuple[int, int]) -> Detections:
    """Return the best detections of all answers, and regions with what was said about them."""
    parts = [Detections.empty(image_size)]
    for number, said in enumerate(prediction.said):
        if said.labels:
            found = prediction.detections(number, image_size)
            least = DEFAULT_THRESHOLD if said.scored_by in ("head", "fusion") else 0.0
            parts.append(found.filter(least))
        if said.texts:
            rows = np.array(list(said.texts), np.int64)
            parts.append(
                Detections(
                    boxes=prediction.boxes[rows].astype(np.float32),
                    labels=tuple(text[:60] for text in said.texts.values()),
                    scores=np.ones(len(rows), np.float32),
                    regions=rows,
                    image_size=image_size,
                )
            )
    every = Detections.merge(parts)
    best = every[np.argsort(-every.scores, kind="stable")]
    once = {(item.label, item.region): row for row, item in reversed(list(enumerate(best)))}
    return best[sorted(once.values())[:MOST_BOXES]]


def _lines(example: Example[Any], prediction: Prediction, truth: str, letters: int) -> list[str]:
    """Return what is written above the panels: the example, the questions, the answers."""
    asked = [", ".join(request.queries) for request in example.requests if request.queries]
    said = [text for one in prediction.said for text in one.written if text]
    counts = [str(one.count) for one in prediction.said if one.count is not None]
    same = example.key == example.picture
    told = {
        example.key
        if same
        else f"{example.key} ({example.picture})": "truth on the left, the model on the right",
        "asked": "; ".join(asked),
        "true": truth,
        "written": "; ".join(said),
        "counted": ", ".join(counts),
    }
    lines = [
        line
        for head, text in told.items()
        if text
        for line in textwrap.wrap(f"{head}: {text}", letters, max_lines=2, placeholder=" ...")
    ]
    return [line.encode("latin-1", "replace").decode("latin-1") for line in lines]
