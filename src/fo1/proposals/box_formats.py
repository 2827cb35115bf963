"""Files of boxes, told apart by what they hold.

    [[x1, y1, x2, y2], ...]                                       JSON: boxes of every picture
    {"boxes": [[...], ...], "scores": [...], "labels": [...]}     the same; scores and labels may be left out
    {"images": [...], "annotations": [...], "categories": [...]}  COCO: by file name, crowds left out
    [{"image_id": 139, "bbox": [x, y, w, h], "score": 0.9}, ...]  COCO results: by number, as the file's name
    {"shapes": [...], "imagePath": "a.jpg", ...}                  LabelMe: the box around each shape
    0 0.5 0.5 0.2 0.1 0.9                                         YOLO (.txt): class, centre, sides, confidence
    a folder of LabelMe or YOLO files                             by file name without its ending

All are pixels of the picture but YOLO's, which are shares of it. YOLO's confidence may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from fo1.data.converters.labelme import read_shape
from fo1.data.converters.picture_files import is_numbers
from fo1.data.converters.yolo import read_line
from fo1.data.converters.yolo_folder import NAME_FILES
from fo1.errors import BoxError, InputError, short_name
from fo1.formats.coco import read_coco
from fo1.formats.located import locate
from fo1.geometry import Boxes, as_boxes, xywh_to_xyxy
from fo1.proposals.box_files import BoxFile, PictureBoxes

_CURE = "give a JSON list of boxes: [[x1, y1, x2, y2], ...]"


def read_box_folder(folder: Path, name: str) -> BoxFile:
    """Return what the label files of a folder hold.

    Raises:
        InputError: there are none, or one cannot be used.
    """
    files = sorted(folder.glob("*.json")) or [
        path for path in sorted(folder.glob("*.txt")) if path.name not in NAME_FILES
    ]
    if not files:
        raise InputError(
            f"{name} holds no label files; give a folder with .txt of YOLO or LabelMe's .json"
        )
    found: dict[str, PictureBoxes] = {}
    for path in files:
        shown = short_name(str(path))
        read = _yolo if path.suffix == ".txt" else _labelme
        try:
            found[path.stem] = read(path, path.read_text(encoding="utf-8-sig"), shown)
        except InputError as error:
            raise InputError(
                f"{error}; a folder of boxes is LabelMe's .json or YOLO's .txt"
            ) from error
    return BoxFile(name, pictures=found, listed=files[0].suffix == ".json")


def read_box_bytes(data: bytes, name: str, path: Path | None = None) -> BoxFile:
    """Return what a file of boxes holds.

    Args:
        data: its bytes.
        name: what it is called in errors.
        path: where it lies; None for standard input, which is JSON.

    Raises:
        InputError: it is of no known form, or a row cannot be used.
        BoxError: a row of plain boxes is none.
    """
    if path is not None and path.suffix.lower() == ".txt":
        return BoxFile(name, _yolo(path, data.decode("utf-8-sig", errors="replace"), name))
    if not data.strip():
        raise InputError(f"{name} is empty; {_CURE}")
    try:
        # Integers are read as floats because one of a thousand digits has no place in an array.
        rows = json.loads(data, parse_int=float)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name} is not JSON ({reason}); {_CURE}") from error
    if isinstance(rows, list):
        if rows and isinstance(rows[0], dict) and "bbox" in rows[0]:
            return BoxFile(name, pictures=_coco_results(rows, name), listed=False)
        return BoxFile(name, PictureBoxes(_plain(cast("list[object]", rows), name)))
    if not isinstance(rows, dict):
        raise BoxError(f"{name} holds {_kind(rows)}, not a list; {_CURE}")
    if "shapes" in rows:
        text = data.decode(json.detect_encoding(data), errors="surrogatepass")
        return BoxFile(name, _labelme(path or Path(name), text, name))
    if "annotations" in rows and path is not None:
        return BoxFile(name, pictures=_coco(path, name))
    if "boxes" in rows:
        return BoxFile(name, _object(cast("dict[str, Any]", rows), name))
    raise InputError(
        f"{name} holds an object without boxes, shapes or annotations; {_CURE}, or COCO's or LabelMe's"
    )


def _object(values: dict[str, Any], name: str) -> PictureBoxes:
    """Return the boxes of {"boxes": ..., "scores": ..., "labels": ...}."""
    rows, scores, labels = (values.get(key) for key in ("boxes", "scores", "labels"))
    if not isinstance(rows, list):
        raise BoxError(f"{name}: boxes is {_kind(rows)}, not a list; {_CURE}")
    boxes = _plain(cast("list[object]", rows), name)
    for key, own in (("scores", scores), ("labels", labels)):
        if own is not None and (not isinstance(own, list) or len(own) != len(boxes)):
            raise InputError(f"{name}: {key} is no list of {len(boxes)}; give one a box, or none")
    return PictureBoxes(
        boxes,
        None
        if scores is None
        else tuple(_score(score, f"{name} row {n}") for n, score in enumerate(scores)),
        None if labels is None else tuple(map(str, labels)),
    )


def _plain(rows: list[object], name: str) -> Boxes:
    """Return (N, 4) boxes from rows of four numbers."""
    for index, row in enumerate(rows):
        if isinstance(row, float):
            raise BoxError(f"{name} row {index} is a number, not a box; {_CURE}")
        if not isinstance(row, list):
            raise BoxError(f"{name} row {index} is {_kind(row)}, not a box; {_CURE}")
        values = cast("list[object]", row)
        if len(values) != 4:
            raise BoxError(f"{name} row {index} has {len(values)} entries, a box has 4; {_CURE}")
        for value in values:
            if not isinstance(value, float):
                raise BoxError(f"{name} row {index} holds {_kind(value)}, not a number; {_CURE}")
    return as_boxes(cast("Any", rows), where=name)


def _coco_results(rows: list[Any], name: str) -> dict[str, PictureBoxes]:
    found: dict[str, list[tuple[list[float], float]]] = {}
    for number, row in enumerate(rows):
        where = f"{name} row {number}"
        if not isinstance(row, dict) or not is_numbers(row.get("bbox"), 4):
            raise InputError(f"{where} has no bbox [x, y, width, height]; mend or remove it")
        picture = row.get("image_id")
        if isinstance(picture, float) and picture.is_integer():
            picture = int(picture)
        if isinstance(picture, bool) or not isinstance(picture, int | str):
            raise InputError(f"{where} has no image_id; mend or remove it")
        scored = (row["bbox"], _score(row.get("score"), where))
        found.setdefault(str(picture), []).append(scored)
    return {
        picture: PictureBoxes(
            xywh_to_xyxy([box for box, _ in own]), tuple(score for _, score in own)
        )
        for picture, own in found.items()
    }


def _coco(path: Path, name: str) -> dict[str, PictureBoxes]:
    file = read_coco(path)
    if file.broken:
        bad = file.broken[0]
        raise InputError(f"{name}: {bad.key}: {bad.problem}; mend or remove it")
    found: dict[str, PictureBoxes] = {}
    for row in file.pictures:
        kept = [one for one in file.boxes[row["id"]] if not one.crowd]
        own = PictureBoxes(
            as_boxes([one.box for one in kept]), labels=tuple(one.name for one in kept)
        )
        called = str(row.get("file_name", row["id"]))
        found[called] = own
        found.setdefault(Path(called).name, own)
    return found


def _labelme(path: Path, text: str, name: str) -> PictureBoxes:
    rows = locate(path, text).rows("shapes")
    found = [
        _told(f"{name} line {row.line}", lambda row=row: read_shape(row.value, None))
        for row in rows
    ]
    return PictureBoxes(
        as_boxes([box for _, box in found]), labels=tuple(label for label, _ in found)
    )


def _yolo(path: Path, text: str, name: str) -> PictureBoxes:
    boxes: list[Any] = []
    labels: list[str] = []
    scores: list[float | None] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words, where = line.split(), f"{name} line {number}"
        if not words:
            continue
        scored = len(words) == 6
        scores.append(_score(_number(words.pop()), where) if scored else None)
        first = _number(words[0])
        names = {int(first): words[0]} if first is not None and first.is_integer() else {}
        found = _told(
            where, lambda words=words, names=names: read_line(" ".join(words), names, (1, 1))
        )
        boxes.append(found.box)
        labels.append(found.names[0])
    known = tuple(1.0 if score is None else score for score in scores)
    any_scored = any(score is not None for score in scores)
    return PictureBoxes(as_boxes(boxes), known if any_scored else None, tuple(labels), shares=True)


def _told(where: str, read: Callable[[], Any]) -> Any:
    """Return what a row holds, or raise with the place of the row."""
    try:
        return read()
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _score(value: object, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        shown = short_name(repr(value), 40)
        raise InputError(f"{where}: the score is {shown}; expected a number from 0 to 1")
    return float(value)


def _kind(value: object) -> str:
    """Return what a JSON value is called, with its article."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return "null" if value is None else names.get(type(value), "a number")
