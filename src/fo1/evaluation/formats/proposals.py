"""Proposals that somebody else made, for many pictures in one file.

    [{"image_id": 139, "bbox": [x, y, w, h], "score": 0.9}, ...]          COCO results, one JSON list
    {"image": "000000000139.jpg", "boxes": [[x1, y1, x2, y2], ...], "scores": [...]}   one per line

Pictures are known by their number, by their file name, or by that without its ending. COCO results
have no way to say that a picture has no boxes, so one that is not in them has none; in the second
form it needs a row. The files with UPN's boxes that om-ai-lab/VLM-FO1 keeps in
evaluation/processed_data are read as they are: there the second form has other keys, or is a list.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from fo1.errors import BoxError, InputError, short_name
from fo1.evaluation.example import Example
from fo1.geometry import Size, check_boxes
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.results import Proposals

_BOXES, _SCORES = ("boxes", "bbox_list", "bboxes"), ("scores", "score_list")
_CURE = "give COCO results, or one JSON object with image, boxes and scores per line"

_Scored: TypeAlias = tuple[list[float], float, str]
"""A box, its score, and where in the file it stands."""


class RecordedProposals:
    """Finds the boxes of an example in a file.

    Args:
        path: the file; read at once, so that a bad one is found before any work.
        limit: boxes per picture; the best ones.

    Raises:
        InputError: the file cannot be read, has another form, or has a picture twice.
    """

    def __init__(self, path: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.path, self.limit = path, limit
        self._name = short_name(path.name)
        self._found: dict[str, list[_Scored]] = {}
        try:
            rows = _rows(path.read_bytes())
            self.complete = not any("bbox" in row for row in rows)
            for number, row in enumerate(rows):
                self._add(row, number)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"cannot read {short_name(str(path))} ({reason}); {_CURE}") from error
        except KeyError as error:
            raise InputError(f"{self._name}: a row has no {error}; {_CURE}") from error
        except (ValueError, TypeError, AttributeError) as error:
            reason = short_name(str(error), 80)
            raise InputError(f"{self._name} holds no proposals ({reason}); {_CURE}") from error

    def check(self, examples: Sequence[Example[Any]]) -> None:
        """Check that the file knows pictures of a task.

        Raises:
            InputError: it knows none of them, so it is of another data set.
        """
        if not any(self._rows_of(example) is not None for example in examples):
            own = next(iter(self._found), "none at all")
            raise InputError(
                f"{self._name} has boxes for none of the {len(examples)} pictures "
                f"(it has '{short_name(own, 60)}', they are called "
                f"'{short_name(examples[0].picture, 60)}'); give boxes of this data set"
            )

    def __call__(self, example: Example[Any], image: Image.Image) -> Proposals:
        """Return the best boxes of an example's picture.

        Raises:
            InputError: the file does not know the picture, but ought to.
            BoxError: a box lies outside the picture.
        """
        rows = self._rows_of(example)
        if rows is None and self.complete:
            raise InputError(
                f"{self._name} has no entry for {short_name(example.picture)}; "
                "propose boxes for it, or give an entry without boxes"
            )
        best = sorted(rows or (), key=lambda row: -row[1])[: self.limit]
        boxes = np.array([box for box, _, _ in best], np.float32).reshape(-1, 4)
        scores = np.array([score for _, score, _ in best], np.float32)
        size = image.height, image.width
        try:
            checked = check_boxes(boxes, size, where=self._name)
        except BoxError:
            self._check_each(best, size)
            raise
        return Proposals(checked, scores, self._name)

    def _check_each(self, rows: Sequence[_Scored], size: Size) -> None:
        """Raises a BoxError that says where in the file the bad box stands."""
        for box, _, place in rows:
            try:
                check_boxes([box], size, where=self._name)
            except BoxError as error:
                told = str(error).replace(f"{self._name} row 0", f"{self._name} {place}", 1)
                raise BoxError(told) from error

    def _rows_of(self, example: Example[Any]) -> list[_Scored] | None:
        name = Path(example.picture)
        known = (str(example.image_id), example.picture, name.name, name.stem)
        return next((self._found[key] for key in known if key in self._found), None)

    def _add(self, row: dict[str, Any], number: int) -> None:
        if "bbox" in row:
            x, y, width, height = map(float, row["bbox"])
            box = [x, y, x + width, y + height]
            scored = box, _score(row["score"]), f"row {number}"
            self._found.setdefault(str(row["image_id"]), []).append(scored)
            return
        boxes = row[next((key for key in _BOXES if key in row), _BOXES[0])]
        scores = next((row[key] for key in _SCORES if key in row), [1.0] * len(boxes))
        if len(boxes) != len(scores):
            raise ValueError(f"row {number} has {len(boxes)} boxes but {len(scores)} scores")
        image = str(row["image"])
        if image in self._found:
            raise ValueError(f"'{image}' comes twice")
        own = self._found[image] = [
            ([float(side) for side in box], _score(score), f"row {number}, box {place}")
            for place, (box, score) in enumerate(zip(boxes, scores, strict=True))
        ]
        if any(len(box) != 4 for box, _, _ in own):
            raise ValueError(f"row {number} has a box that is not four numbers")
        self._found.setdefault(Path(image).name, own)  # paths of another machine


def _rows(content: bytes) -> list[dict[str, Any]]:
    """Return a file's rows."""
    text = content.decode("utf-8-sig")
    if text.lstrip().startswith("["):
        return json.loads(text)
    rows = list(_lines(text))
    if any("annotations" in row for row in rows):
        raise ValueError("it is an annotation file")
    return rows


def _lines(text: str) -> Iterator[dict[str, Any]]:
    try:
        yield json.loads(text)  # one object over several lines
        return
    except ValueError:
        pass
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON") from error


def _score(value: Any) -> float:
    score = float(value)
    if not 0 <= score <= 1:
        raise ValueError(f"a score is {score:g}, not 0 to 1")
    return score
