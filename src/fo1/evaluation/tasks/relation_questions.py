"""Questions about pairs of boxes whose answers follow from the boxes and their names alone.

    COCO annotation file --coco_relations--> per picture: up to 8 boxes, up to 16 questions

Every question is asked with its opposite: in both orders, or for more and for less. So whoever
always says the same, names the first or names the lowest number is right half of the time. Numbers
are dealt at random. Pairs that are a close call are not asked.

Legend: N boxes of one picture.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import Bools
from fo1.formats.broken import Broken
from fo1.formats.coco import CocoFile, read_coco
from fo1.formats.refer_rows import read_size
from fo1.formats.tables import TableRow
from fo1.geometry import Boxes, Size, as_boxes, box_area, clip_boxes
from fo1.tags import region_token

MOST_BOXES: Final = 8
"""Boxes of one picture that are asked about."""
LEAST_SIDE: Final = 0.02
"""Share of the picture's side from which a box can be seen well enough."""
APART: Final = 0.02
"""Boxes beside each other are at least this share of the picture's side apart."""
TWICE: Final = 2.0
"""A larger box has at least this many times the area of the other."""

YES_NO: Final = "Answer yes or no."
WHICH: Final = "Answer with one of the two."

_WORDS: Final = {
    "left of": "Is {} to the left of {}?",
    "right of": "Is {} to the right of {}?",
    "above": "Is {} above {}?",
    "below": "Is {} below {}?",
    "larger": "Does {} take up more of the picture than {}?",
    "contains": "Does the box of {} contain the box of {}?",
    "same kind": "Do {} and {} show the same kind of thing?",
    "which is larger": "Which takes up more of the picture, {} or {}?",
    "which is smaller": "Which takes up less of the picture, {} or {}?",
}
RELATIONS: Final = tuple(_WORDS)


@dataclass(frozen=True, slots=True)
class RelationQuestion:
    """A question about regions.

    Attributes:
        relation: what it is about.
        text: regions are called `<regionN>`.
        answer: "yes", "no" or `<regionN>`.
    """

    relation: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True, eq=False)
class RelationPicture:
    """A picture with what is asked about it.

    Attributes:
        name: as the file has it.
        path: where it lies.
        boxes: (N, 4) xyxy pixels, the regions of the questions.
        asked: the questions.
    """

    name: str
    path: Path
    boxes: Boxes
    asked: tuple[RelationQuestion, ...]


def coco_relations(path: Path, seed: int) -> tuple[list[RelationPicture], list[Broken]]:
    """Return questions made from a COCO annotation file, and the rows that cannot be used.

    Args:
        path: the annotation file.
        seed: of the choice of boxes and pairs; each picture has its own, whatever the order.

    Raises:
        InputError: the file cannot be read, or no two of its boxes can be asked about.
    """
    file = read_coco(path)
    broken, folder, groups = list(file.broken), _folder(path), _groups(file)
    found: dict[str, RelationPicture] = {}
    for number, fields in enumerate(file.pictures):
        row = TableRow(number, f"image {fields['id']}", dict(fields))
        try:
            picture = _picture(row, file, groups, folder, seed)
            if picture is not None and picture.name in found:
                raise InputError(f"a second picture is called {picture.name}; expected one")
        except InputError as error:
            broken.append(Broken(row.place, f"{row.place}: {error}"))
            continue
        if picture is not None:
            found[picture.name] = picture
    if not found and not broken:
        boxes = sum(map(len, file.boxes.values()))
        raise InputError(
            f"{path}: {boxes} boxes in {len(file.pictures)} pictures, but no pair to ask about; "
            "give pictures with two boxes or more that are clearly apart or of different size"
        )
    return list(found.values()), broken


def relation_questions(
    boxes: Boxes,
    names: Sequence[str],
    groups: Sequence[str],
    image_size: Size,
    rng: np.random.Generator,
) -> list[RelationQuestion]:
    """Return at most one pair of questions for each relation.

    Args:
        boxes: (N, 4) xyxy pixels.
        names: N, equal where things are of one kind.
        groups: N, which differ where they surely are not.
        image_size: (height, width).
        rng: chooses among the pairs that hold a relation.
    """
    asked: list[RelationQuestion] = []
    holds = dict(_relations(boxes, image_size))
    for relation, table in holds.items():
        if (pair := _drawn(table, rng)) is not None:
            first, second = pair
            asked.append(_ask(relation, first, second, "yes"))
            asked.append(_ask(relation, second, first, "no"))
    if (pair := _drawn(holds["larger"], rng)) is not None:
        first, second = rng.permutation(pair).tolist()
        asked.append(_ask("which is larger", first, second, region_token(pair[0])))
        asked.append(_ask("which is smaller", first, second, region_token(pair[1])))
    others = ~np.eye(len(boxes), dtype=bool)
    alike, unlike = _drawn(_equal(names) & others, rng), _drawn(~_equal(groups), rng)
    if alike is not None and unlike is not None:
        asked.append(_ask("same kind", *alike, "yes"))
        asked.append(_ask("same kind", *unlike, "no"))
    return asked


def _relations(boxes: Boxes, image_size: Size) -> Iterator[tuple[str, Bools]]:
    """Yield each relation with (N, N) bool: is row so to column, beyond doubt?"""
    height, width = image_size
    x1, y1, x2, y2 = boxes.astype(float).T
    left = x2[:, None] + APART * width <= x1[None]
    above = y2[:, None] + APART * height <= y1[None]
    area = box_area(boxes)
    larger = area[:, None] >= TWICE * np.maximum(area[None], 1e-9)
    around = (x1[:, None] <= x1) & (y1[:, None] <= y1) & (x2[:, None] >= x2) & (y2[:, None] >= y2)
    yield "left of", left
    yield "right of", left.T
    yield "above", above
    yield "below", above.T
    yield "larger", larger
    yield "contains", around & larger


def _equal(words: Sequence[str]) -> Bools:
    table = [[one == other for other in words] for one in words]
    return np.array(table, bool).reshape(len(words), len(words))


def _drawn(table: Bools, rng: np.random.Generator) -> tuple[int, int] | None:
    pairs = np.argwhere(table)
    if not len(pairs):
        return None
    first, second = pairs[rng.integers(len(pairs))].tolist()
    return first, second


def _ask(relation: str, first: int, second: int, answer: str) -> RelationQuestion:
    words = _WORDS[relation].format(region_token(first), region_token(second))
    ending = YES_NO if answer in ("yes", "no") else WHICH
    return RelationQuestion(relation, f"{words} {ending}", answer)


def _picture(
    row: TableRow, file: CocoFile, groups: Mapping[str, str], folder: Path, seed: int
) -> RelationPicture | None:
    """Return the questions about a picture; None where there is nothing to ask."""
    name, size = row.take("file_name", str), read_size(row)
    given = [one for one in file.boxes[row.values["id"]] if not one.crowd]
    annotated = sorted(given, key=lambda one: one.number)  # whatever their order in the file
    boxes = clip_boxes(as_boxes([one.box for one in annotated]), size)
    sides = boxes[:, 2:] - boxes[:, :2]
    seen = np.flatnonzero((sides >= LEAST_SIDE * np.array(size[::-1])).all(1))
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    kept = rng.permutation(seen)[:MOST_BOXES]
    names = [annotated[index].name for index in kept]
    asked = relation_questions(boxes[kept], names, [groups[name] for name in names], size, rng)
    return RelationPicture(name, folder / name, boxes[kept], tuple(asked)) if asked else None


def _groups(file: CocoFile) -> dict[str, str]:
    """Return by name what a thing must differ in to be of another kind.

    That is its supercategory, as a chair and a couch are not told apart by everyone; the name
    itself where the file puts all under one.
    """
    groups = {
        name: str(file.categories[number].get("supercategory"))
        for number, name in file.names.items()
    }
    return groups if len(set(groups.values())) > 1 else {name: name for name in groups}


def _folder(path: Path) -> Path:
    """Return where the pictures of an annotation file lie: as COCO unpacks, or beside the file."""
    near, split = path.parent, path.stem.removeprefix("instances_")
    places = (near.parent / split, near / split, near / "images", near.parent / "images")
    return next((folder for folder in places if folder.is_dir()), near)
