"""The files of the RefCOCO family: which boxes are meant by which words.

    data/refcoco/refs(unc).p         pickle of Python 2, or refs(unc).json of the same content
    data/refcoco/instances.json      pictures and annotated boxes, as COCO writes them
    data/images/mscoco/images/train2014/COCO_train2014_*.jpg

Or one JSON line per expression: {"image", "sent", "bbox" (xyxy), "height", "width"}.

Sources: lichengunc/refer, refer.py (layout and keys); henghuiding/ReLA, grefer.py (gRefCOCO, where
one expression means any number of boxes, [-1] none); QwenLM/Qwen-VL, eval_mm/evaluate_grounding.py
(one line per expression).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fo1.errors import InputError, short_name
from fo1.evaluation.example import Example
from fo1.formats.broken import Broken
from fo1.formats.limits import check_length
from fo1.formats.refer_rows import (
    Instances,
    Picture,
    read_pickle,
    read_size,
    with_area,
)
from fo1.formats.tables import TableRow, TableRows, read_tables
from fo1.geometry import Boxes, Size, as_boxes
from fo1.pipeline import Request

PICTURES = ("images/mscoco/images/train2014", "images/train2014", "train2014", "coco/train2014")
"""Where the pictures of COCO train2014 may lie."""

NOTHING = [-1]
"""Annotations of an expression that means nothing in its picture."""


@dataclass(frozen=True, slots=True)
class ReferLayout:
    """How one data set of the family is laid out.

    Attributes:
        folder: its folder, for example "refcoco".
        refs: name of the file of expressions, without ending.
        many: whether an expression may mean several boxes or none.
    """

    folder: str
    refs: str
    many: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Referred:
    """What is meant in one picture, one entry per request.

    Attributes:
        texts: Q expressions.
        targets: Q arrays (M, 4) xyxy of the boxes that are meant.
        objects: (K, 4) xyxy of all boxes that are annotated in the picture.
        size: (height, width) of the picture.
    """

    texts: tuple[str, ...]
    targets: tuple[Boxes, ...]
    objects: Boxes
    size: Size


@dataclass(frozen=True, slots=True, eq=False)
class ReferFiles:
    """What was read; the arguments of a task.

    Attributes:
        examples: one per picture.
        broken: rows and sentences that cannot be asked.
        files: that were read.
    """

    examples: tuple[Example[Referred], ...]
    broken: tuple[Broken, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Expression:
    row: TableRow
    text: str
    targets: Boxes
    picture: Picture


def read_refer(
    data: Path, layout: ReferLayout, split: str, ask: Callable[[str], Request]
) -> ReferFiles:
    """Return one example per picture, with one request per expression of a split.

    Args:
        data: folder that holds the data set's folder, that folder, or a file of expressions.
        layout: of the data set.
        split: for example "val".
        ask: makes the request for an expression.

    Raises:
        InputError: a file is missing or is something else; names what is expected.
    """
    path = _find(data, layout, split)
    pictures = _pictures_of(path)
    if path.suffix == ".jsonl":
        table = read_tables([path])
        expressions = list(_of_lines(table, pictures))
    else:
        table = read_pickle(path) if path.suffix == ".p" else read_tables([path])
        instances = path.parent / "instances.json"
        table.files = (path, instances)
        _check_split(table, path, split)
        known = Instances(instances, pictures)
        expressions = list(_of_refs(table, split, known, layout.many))
    examples = tuple(_examples(table, expressions, ask))
    return ReferFiles(examples, tuple(table.broken), table.files)


def _find(data: Path, layout: ReferLayout, split: str) -> Path:
    """Return the file of expressions."""
    if data.is_file():
        return data
    names = [f"{layout.refs}.p", f"{layout.refs}.json"]
    names += [] if layout.many else [f"{layout.folder}_{split}.jsonl"]
    places = [folder / name for name in names for folder in (data / layout.folder, data)]
    for place in places:
        if place.is_file():
            return place
    raise InputError(f"{places[0]} is missing; expected {' or '.join(names)} beside instances.json")


def _check_split(table: TableRows, path: Path, split: str) -> None:
    """Raises an InputError if a file has refs of other splits alone."""
    there = {row.values.get("split") for row in table.rows}
    splits = sorted(one for one in there if isinstance(one, str))
    if splits and split not in splits:
        shown = ", ".join(short_name(one, 40) for one in splits[:10])
        cure = "ask one of these, or give the published file of all splits"
        raise InputError(f"{path} has no ref of the split {split}, only of {shown}; {cure}")


def _pictures_of(path: Path) -> Path:
    """Return the folder of the pictures that go with a file of expressions."""
    folder = path.absolute().parent
    roots = (folder.parent, folder, folder.parent.parent)
    places = [root / name for name in PICTURES for root in roots]
    return next((place for place in places if place.is_dir()), places[0])


def _of_refs(table: TableRows, split: str, known: Instances, many: bool) -> Iterator[_Expression]:
    """Yield the expressions of a split; what is wrong with others is noted in the table."""
    seen: set[int] = set()
    for row in table.rows:
        try:
            if row.take("split", str) != split:
                continue
            number = row.take("ref_id", int)
            if number in seen:
                raise InputError(f"a second ref has the ref_id {number}; expected one")
            meant = row.values.get("ann_id")
            if not many or not isinstance(meant, list):
                meant = [row.take("ann_id", int)]
            if not meant or any(type(one) is not int for one in meant):
                raise InputError(f"'ann_id' is {str(meant)[:40]}; expected numbers, or [-1]")
            picture = known.picture(row.take("image_id", int))
            targets = known.boxes([] if many and meant == NOTHING else meant, picture.number)
            sentences = row.take("sentences", list)
            if not sentences:
                raise InputError("'sentences' is empty; expected one or more")
            seen.add(number)
        except InputError as error:
            table.drop(row, error)
            continue
        for place, sentence in enumerate(sentences):
            values = sentence if isinstance(sentence, dict) else {}
            own = TableRow(row.number, f"{row.place} (ref {number}), sentence {place}", values)
            try:
                yield _Expression(own, own.take("sent", str), targets, picture)
            except InputError as error:
                table.drop(own, error)


def _of_lines(table: TableRows, folder: Path) -> Iterator[_Expression]:
    """Yield the expressions of a file with one a line; what is wrong is noted in the table."""
    for row in table.rows:
        try:
            name = Path(row.take("image", str)).name
            digits = Path(name).stem.rpartition("_")[2]
            if not digits.isdecimal():
                raise InputError(f"'image' is {name[:60]!r}; expected COCO_train2014_<number>.jpg")
            size = read_size(row)
            target = with_area(as_boxes([row.take("bbox", list)]), "bbox, xyxy,")
            picture = Picture(folder / name, int(digits), size, None)
            yield _Expression(row, row.take("sent", str), target, picture)
        except InputError as error:
            table.drop(row, error)


def _examples(
    table: TableRows, expressions: list[_Expression], ask: Callable[[str], Request]
) -> Iterator[Example[Referred]]:
    """Yield one example per picture, in the order of the expressions."""
    together: dict[int, list[tuple[_Expression, Request]]] = {}
    for one in expressions:
        try:
            request = ask(check_length(one.text, "the expression"))
            together.setdefault(one.picture.number, []).append((one, request))
        except InputError as error:
            table.drop(one.row, error)
    for number, pairs in together.items():
        if not pairs:
            continue
        picture = pairs[0][0].picture
        targets = tuple(one.targets for one, _ in pairs)
        objects = picture.objects
        if objects is None:  # of this form of the files only what is meant is known
            objects = np.unique(np.concatenate(targets), axis=0)
        yield Example(
            key=str(number),
            picture=picture.path.name,
            image=picture.path,
            requests=tuple(request for _, request in pairs),
            truth=Referred(tuple(one.text for one, _ in pairs), targets, objects, picture.size),
            image_id=number,
            image_size=picture.size,
        )
