"""Proposals that somebody else made, for many pictures in one file.

    [{"image_id": 139, "bbox": [x, y, w, h], "score": 0.9}, ...]          COCO results, one JSON list
    {"image": "000000000139.jpg", "boxes": [[x1, y1, x2, y2], ...], "scores": [...]}   one per line

Pictures are known by their number, by their file name, or by that without its ending. The files with
UPN's boxes that om-ai-lab/VLM-FO1 keeps in evaluation/processed_data are read as they are: there the
second form has other keys, or is one list.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fo1.errors import InputError, short_name
from fo1.evaluation.example import Example
from fo1.geometry import check_boxes
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.results import Proposals

_BOXES, _SCORES = ("boxes", "bbox_list", "bboxes"), ("scores", "score_list")
_CURE = "give COCO results, or one JSON object with image, boxes and scores per line"


class RecordedProposals:
    """Finds the boxes of an example in a file.

    Args:
        path: the file; read at once, so that a bad one is found before any work.
        limit: boxes per picture; the best ones.

    Raises:
        InputError: the file cannot be read or has another form.
    """

    def __init__(self, path: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.path, self.limit = path, limit
        self._found: dict[str, list[tuple[list[float], float]]] = {}
        try:
            for image, box, score in _read(path.read_bytes()):
                own = self._found.setdefault(str(image), [])
                if box is not None:
                    own.append((box, score))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(f"cannot read {short_name(str(path))} ({reason}); {_CURE}") from error
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {short_name(str(error), 80)}"
            raise InputError(
                f"{short_name(str(path))} holds no proposals ({reason}); {_CURE}"
            ) from error

    def __len__(self) -> int:
        return len(self._found)

    def __call__(self, example: Example[Any], image: Image.Image) -> Proposals:
        """Return the best boxes of an example's picture.

        Raises:
            InputError: the file does not know the picture.
            BoxError: a box lies outside the picture.
        """
        name = Path(example.picture)
        known = (str(example.image_id), example.picture, name.name, name.stem)
        rows = next((self._found[key] for key in known if key in self._found), None)
        if rows is None:
            raise InputError(
                f"{short_name(self.path.name)} has no entry for {short_name(example.picture)}; "
                "propose boxes for it, or give an entry without boxes"
            )
        rows = sorted(rows, key=lambda row: -row[1])[: self.limit]
        boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
        scores = np.array([score for _, score in rows], np.float32)
        checked = check_boxes(boxes, (image.height, image.width), where=self.path.name)
        return Proposals(checked, scores, short_name(self.path.name))


def _read(content: bytes) -> Iterator[tuple[Any, list[float] | None, float]]:
    """Return (image, xyxy box, score) of a file's rows; the box is None where there are none."""
    if content.lstrip()[:1] == b"[":
        rows = json.loads(content)
    else:
        rows = [json.loads(line) for line in content.splitlines() if line.strip()]
    for row in rows:
        if "bbox" in row:
            x, y, width, height = map(float, row["bbox"])
            yield row["image_id"], [x, y, x + width, y + height], _score(row["score"])
            continue
        boxes = row[next((key for key in _BOXES if key in row), _BOXES[0])]
        scores = next((row[key] for key in _SCORES if key in row), [1.0] * len(boxes))
        yield row["image"], None, 0.0
        for box, score in zip(boxes, scores, strict=True):
            x1, y1, x2, y2 = map(float, box)
            yield row["image"], [x1, y1, x2, y2], _score(score)


def _score(value: Any) -> float:
    score = float(value)
    if not 0 <= score <= 1:
        raise ValueError(f"a score is {score:g}, not 0 to 1")
    return score
