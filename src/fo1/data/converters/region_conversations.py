r"""Conversations about regions of a picture, in the forms that Osprey and Ferret use.

    {"id": 1, "file_name": "a.jpg", "height": 48, "width": 64,         Osprey: regions are numbered from 1
     "annotation": [{"segmentation": ..., "bbox": [x, y, width, height]}, ...],
     "conversations": [{"from": "human", "value": "<image>\nWhat is <region1>?"}, {"from": "gpt", "value": "A cat."}],
     "description": ["<region1>: A grey cat on a mat.", ...]}

    {"id": 1, "image": "a.jpg", "image_h": 48, "image_w": 64,          Ferret: boxes of each message, from 0
     "conversations": [{"from": "human", "value": "<image>\nWhat is <bbox_location0>?"}, ...],
     "box_x1y1x2y2": [[[4, 5, 30, 31]], []]}

    {"image": "a.jpg", "conversations": [{"from": "human", "value": "What is [0.1, 0.1, 0.5, 0.6]?"}, ...]}

A row has conversations, descriptions or both. Of an annotation the box counts, else what its mask spans. A bare
"<region>" is the next annotation. Boxes inside a text are shares of the picture where no number of the row exceeds 1,
else pixels. All other markup in texts becomes words.

Sources: CircleRadon/Osprey, osprey/datasets/osprey_724k.py; apple/ml-ferret, ferret/train/train.py (fields).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.coco import row_size
from fo1.data.converters.conversations import (
    clean_answer,
    clean_question,
    messages_of,
    paired,
    place_pictures,
    read_said,
)
from fo1.data.converters.conversion import BadRows
from fo1.data.converters.mask_boxes import box_of_mask
from fo1.data.converters.picture_files import PictureFolders, is_numbers, read_box
from fo1.data.converters.rows import (
    Keys,
    find_training_tables,
    first_of,
    picture_folders,
    read_sized_picture,
    records_of,
    source_of,
    table_rows,
)
from fo1.data.schema import Box, Exchange, PictureRef, Record, TrueObject, check_record
from fo1.errors import ImageError, InputError, short_name
from fo1.formats.limits import QUESTION_LENGTH, check_length
from fo1.formats.tables import TableRow
from fo1.geometry import Size
from fo1.tags import neutralise, region_token

BOX_LISTS: Final = "box_x1y1x2y2"
ANNOTATIONS: Final = ("annotation", "annotations")

_NUMBER = r"\s*-?[0-9]{1,6}(?:\.[0-9]{1,18})?\s*"
_MARK = re.compile(
    rf"<region\s?(?P<region>[0-9]{{1,9}})>|<bbox_location(?P<place>[0-9]{{1,9}})>|(?P<next><region>)"
    rf"|(?P<feature>(?<=\])\s?<region_fea>)|\[(?P<box>{_NUMBER}(?:,{_NUMBER}){{3}})\]",
    re.IGNORECASE,
)
_DESCRIBED = re.compile(r"\s*<region\s?([0-9]{1,9})>\s*:", re.IGNORECASE)


def convert_region_conversations(
    source: Path, bad: BadRows, *, pictures: Path | None = None
) -> Iterator[Record]:
    """Return one record per row; see the module for the forms.

    Args:
        source: folder or table.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures, where they do not lie beside the table or in images/.

    Raises:
        InputError: there is no table, or too many rows are bad.
        MissingExtraError: a table is Parquet and pyarrow is not installed.
    """
    rows = table_rows(find_training_tables(source), bad)
    folders = picture_folders(source, pictures)
    yield from records_of(rows, _record, folders, Keys("regions"), bad)


class _Regions:
    """The boxes of a row, each an object once, and which of them a mark in a text means.

    Args:
        values: of the row.
        size: (height, width) of its picture.

    Raises:
        InputError: a box is none.
    """

    def __init__(self, values: Mapping[str, Any], size: Size) -> None:
        self.size = size
        self.boxes: dict[Box, int] = {}
        self.numbered: list[int] | None = None
        self.lists: list[list[int]] | None = None
        self.shares = False
        self.used = 0
        rows = first_of(values, *ANNOTATIONS)
        lists = values.get(BOX_LISTS)
        if rows is not None:
            if not isinstance(rows, list):
                raise InputError(f"annotation is {short_name(str(rows), 40)}; expected a list")
            self.numbered = [self._annotated(one, n) for n, one in enumerate(rows, start=1)]
        elif lists is not None:
            if not isinstance(lists, list) or not all(isinstance(one, list) for one in lists):
                shown = short_name(str(lists), 40)
                raise InputError(f"{BOX_LISTS} is {shown}; expected a list of boxes per message")
            self.lists = [[self._add(box) for box in one] for one in lists]

    def name(self, said: Sequence[tuple[str, str]], first: int) -> list[tuple[str, str]]:
        """Return messages in which marks are `<regionN>` of the objects.

        Args:
            said: (role, text).
            first: place of the first of them among all messages of the row.

        Raises:
            InputError: a mark means no box.
        """
        marks = [found["box"] for _, text in said for found in _MARK.finditer(text) if found["box"]]
        self.shares = all(abs(n) <= 1 for one in marks for n in _numbers(one))

        def named(text: str, message: int) -> str:
            return _MARK.sub(lambda found: self._meant(found, message), text)

        return [(role, named(text, place)) for place, (role, text) in enumerate(said, first)]

    def _meant(self, found: re.Match[str], message: int) -> str:
        if found["feature"]:  # behind coordinates, which say the same
            return ""
        if found["box"]:
            if self.numbered is not None or self.lists is not None:
                return found[0]
            box = _numbers(found["box"])
            if self.shares:
                height, width = self.size
                box = [one * side for one, side in zip(box, (width, height) * 2, strict=True)]
            return region_token(self._add(box))
        if found["place"]:
            boxes = self.lists[message] if self.lists and message < len(self.lists) else []
            if int(found["place"]) >= len(boxes):
                raise InputError(f"message {message} has no box for {found[0]}; see {BOX_LISTS}")
            return region_token(boxes[int(found["place"])])
        if self.numbered is None:
            return f"\u2039{found[0][1:-1]}\u203a"
        if found["next"]:
            self.used += 1
        return region_token(self.at(int(found["region"] or self.used)))

    def at(self, number: int) -> int:
        """Return the object of an annotation, which count from 1.

        Raises:
            InputError: there is none.
        """
        known = self.numbered or []
        if not 1 <= number <= len(known):
            raise InputError(f"a text names region {number}; there are regions 1 to {len(known)}")
        return known[number - 1]

    def _annotated(self, one: object, number: int) -> int:
        values = one if isinstance(one, Mapping) else {}
        try:
            box = values.get("bbox")
            if box is None:
                return self._add(box_of_mask(values.get("segmentation"), self.size))
            if not is_numbers(box, 4):
                shown = short_name(str(box), 60)
                raise InputError(f"bbox is {shown}; expected [x, y, width, height]")
            x, y, width, height = map(float, box)
            return self._add([x, y, x + width, y + height])
        except InputError as error:
            raise InputError(f"region {number}: {error}") from error

    def _add(self, box: object) -> int:
        return self.boxes.setdefault(read_box(box, self.size), len(self.boxes))


def _record(row: TableRow, folders: PictureFolders, keys: Keys) -> Record:
    """Return the record of a row.

    Raises:
        InputError: it lacks something, or a text names a region that it does not have.
    """
    values = row.values
    picture, size = _picture(row, folders)
    regions = _Regions(values, size)
    described = _descriptions(values.get("description"), regions)
    turns: list[tuple[str, str]] = []
    if values.get("conversations") or values.get("messages") or not described:
        said = read_said(values)
        first = len(messages_of(values)) - len(said)
        turns = paired(place_pictures(regions.name(said, first), 1))
    exchanges = tuple(
        Exchange(clean_question(q, keep_regions=True), clean_answer(a, keep_regions=True))
        for q, a in turns
    )
    return check_record(
        Record(
            key=keys.new(values.get("id"), row.number),
            pictures=(picture,),
            objects=tuple(
                TrueObject(box, descriptions=tuple(described.get(number, ())))
                for box, number in regions.boxes.items()
            ),
            turns=exchanges,
            source=source_of(row),
        )
    )


def _picture(row: TableRow, folders: PictureFolders) -> tuple[PictureRef, Size]:
    values = row.values
    given = first_of(values, "image", "file_name")
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if isinstance(given, str) and given.rpartition("/")[2].startswith("COCO_"):
        given = _newer_name(given, folders)
    picture, size = read_sized_picture(given, folders, str(row.number))
    told = row_size(values) or row_size(
        {"height": values.get("image_h"), "width": values.get("image_w")}
    )
    if told is not None and told != size:
        raise ImageError(
            f"the picture has (height, width) {size}, but its row says {told}; take the picture that the "
            "boxes were made on"
        )
    return picture, size


def _newer_name(name: str, folders: PictureFolders) -> str:
    """Return the name that a picture of COCO 2014 has in the folders; 2017 calls it by its number alone."""
    try:
        folders.find(name)
    except ImageError:
        return name.rpartition("_")[2]
    return name


def _descriptions(texts: object, regions: _Regions) -> dict[int, list[str]]:
    """Return what is said of objects, by their number."""
    found: dict[int, list[str]] = {}
    if texts is None:
        return found
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise InputError(f"description is {short_name(str(texts), 40)}; expected a list of texts")
    for place, text in enumerate(texts, start=1):
        mark = _DESCRIBED.match(text)
        number = regions.at(int(mark[1]) if mark else place)
        words = " ".join(text[mark.end() if mark else 0 :].split())
        if not words:
            raise InputError(f"description {place} is empty; expected a text")
        words = neutralise(check_length(words, f"description {place}", QUESTION_LENGTH))
        found.setdefault(number, []).append(words)
    return found


def _numbers(text: str) -> list[float]:
    return [float(one) for one in text.split(",")]
