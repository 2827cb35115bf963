"""GRIT: captions from the web whose noun phrases and longer expressions have boxes that a machine found.

    {"key": "000373938", "caption": "a wire hanger with a paper cover", "url": "...", "width": 1024, "height": 693,
     "noun_chunks": [[0, 13, 0.02, 0.31, 0.96, 0.99, 0.98], ...],
     "ref_exps":    [[0, 33, 0.02, 0.31, 0.96, 0.99, 0.98], ...]}

Each entry is [first letter, behind the last, x1, y1, x2, y2, score]; boxes are shares of the picture. Rows stand in
JSON lines, Parquet, one .json per picture, or tars with the pictures; else a picture is <key>.jpg, or
00037/000373938.jpg as img2dataset files them. A row whose download failed says so in "status" and is passed over.

Noun phrases are grounded in the caption; of those that overlap, the first. Nobody looked for all things of a name.

Source: the card of zzliang/GRIT (fields).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.conversion import BadRows
from fo1.data.converters.expressions import clear_phrases
from fo1.data.converters.picture_files import PictureFolders, is_numbers, read_box
from fo1.data.converters.rows import (
    IMAGE,
    Keys,
    find_training_tables,
    first_of,
    picture_folders,
    read_sized_picture,
    records_of,
    source_of,
    table_rows,
)
from fo1.data.schema import Box, Phrase, PictureRef, Record, TrueObject, check_record
from fo1.errors import ImageError, InputError, short_name
from fo1.formats.limits import QUESTION_LENGTH, SIDES, check_length, check_whole, read_name
from fo1.formats.tables import TableRow
from fo1.geometry import Size
from fo1.tags import (
    GROUND_CLOSE,
    GROUND_OPEN,
    OBJECTS_CLOSE,
    OBJECTS_OPEN,
    neutralise,
    region_token,
)

NOUNS: Final = "noun_chunks"
EXPRESSIONS: Final = "ref_exps"
TABLES: Final = ("*.jsonl", "*.tar", "*.parquet", "*.json")
STATISTICS: Final = "_stats.json"
"""How the names of files end in which img2dataset counts its downloads."""

_SHARD_LETTERS: Final = 5
_ROUNDING: Final = 0.01
_ASPECT: Final = 0.05
"""How much width / height may differ from what a row says; beyond, its URL shows another picture today."""


@dataclass(frozen=True, slots=True)
class _Grounded:
    """Letters of a caption and the object that they mean."""

    start: int
    end: int
    number: int


def convert_grit(source: Path, bad: BadRows, *, pictures: Path | None = None) -> Iterator[Record]:
    """Return one record per row; see the module for the fields.

    Args:
        source: folder or table.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures, where they do not lie beside the table or in images/.

    Raises:
        InputError: there is no table, or too many rows are bad.
        MissingExtraError: a table is Parquet and pyarrow is not installed.
    """
    files = [
        path for path in find_training_tables(source, TABLES) if not path.name.endswith(STATISTICS)
    ]
    rows = (row for row in table_rows(files, bad) if row.values.get("status") in (None, "success"))
    folders = picture_folders(source, pictures)
    yield from records_of(rows, _record, folders, Keys("grit"), bad)


def _record(row: TableRow, folders: PictureFolders, keys: Keys) -> Record:
    """Return the record of a row.

    Raises:
        InputError: it lacks something, an entry is none, or its picture is another one.
    """
    caption = check_length(row.take("caption", str), "'caption'", QUESTION_LENGTH)
    if not caption.strip():
        raise InputError("'caption' is empty; expected a text")
    picture, size = _picture(row, folders)
    boxes: dict[Box, int] = {}
    nouns = _entries(row.values, NOUNS, caption, size, boxes)
    longer = _entries(row.values, EXPRESSIONS, caption, size, boxes)
    if not boxes:
        raise InputError(f"{NOUNS!r} and {EXPRESSIONS!r} are empty; expected boxes")
    phrases = clear_phrases((*_phrases(caption, nouns), *_phrases(caption, longer)))
    said: dict[int, dict[str, None]] = {}
    for one in phrases:
        if len(one.objects) == 1:
            said.setdefault(one.objects[0], {})[one.text] = None
    return check_record(
        Record(
            key=keys.new(first_of(row.values, "key", "id"), row.number),
            pictures=(picture,),
            objects=tuple(
                TrueObject(box, descriptions=tuple(said.get(number, ())))
                for box, number in boxes.items()
            ),
            phrases=phrases,
            captions=(ground(caption, nouns or longer),),
            source=source_of(row),
        )
    )


def ground(caption: str, entries: list[_Grounded]) -> str:
    """Return a caption in the answer markup; of entries that overlap the first is taken.

    Raises:
        InputError: with its markup it is too long.
    """
    parts: list[str] = []
    end = 0
    for (start, stop), numbers in sorted(_by_letters(entries).items()):
        if start < end:
            continue
        parts.append(neutralise(caption[end:start]))
        words = read_name(caption[start:stop], "a noun phrase")
        regions = "".join(map(region_token, numbers))
        parts.append(f"{GROUND_OPEN}{words}{GROUND_CLOSE}{OBJECTS_OPEN}{regions}{OBJECTS_CLOSE}")
        end = stop
    parts.append(neutralise(caption[end:]))
    return check_length("".join(parts).strip(), "the caption with its regions", QUESTION_LENGTH)


def _phrases(caption: str, entries: list[_Grounded]) -> Iterator[Phrase]:
    for (start, stop), numbers in _by_letters(entries).items():
        yield Phrase(read_name(caption[start:stop], "an expression"), tuple(numbers))


def _by_letters(entries: list[_Grounded]) -> dict[tuple[int, int], list[int]]:
    """Return the objects of each stretch of letters; one that has several boxes means them all."""
    found: dict[tuple[int, int], list[int]] = {}
    for one in entries:
        numbers = found.setdefault((one.start, one.end), [])
        if one.number not in numbers:
            numbers.append(one.number)
    return found


def _entries(
    values: Mapping[str, Any], name: str, caption: str, size: Size, boxes: dict[Box, int]
) -> list[_Grounded]:
    """Return the entries of a field; their boxes are added to those that are known."""
    rows = values.get(name)
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise InputError(f"{name!r} is {short_name(str(rows), 40)}; expected a list")
    found: list[_Grounded] = []
    height, width = size
    for place, row in enumerate(rows):
        what = f"{name}[{place}]"
        if not is_numbers(row) or len(row) not in (6, 7):
            shown = short_name(str(row), 60)
            raise InputError(f"{what} is {shown}; expected [start, end, x1, y1, x2, y2, score]")
        start, end = row[:2]
        if start != int(start) or end != int(end) or not 0 <= start < end <= len(caption):
            raise InputError(f"{what} names letters {start:g} to {end:g} of {len(caption)}")
        start, end = int(start), int(end)
        if not all(-_ROUNDING <= one <= 1 + _ROUNDING for one in row[2:6]):
            raise InputError(f"{what} has the box {row[2:6]}; expected shares from 0 to 1")
        corners = [one * side for one, side in zip(row[2:6], (width, height) * 2, strict=True)]
        box = read_box(corners, size, what=f"the box of {what}")
        found.append(_Grounded(start, end, boxes.setdefault(box, len(boxes))))
    return found


def _picture(row: TableRow, folders: PictureFolders) -> tuple[PictureRef, Size]:
    values = row.values
    given = first_of(values, IMAGE, "file_name")
    key = values.get("key")
    if given is None and isinstance(key, str) and key.strip():
        given = f"{key[:_SHARD_LETTERS]}/{key}.jpg"
    if given is None:
        raise ImageError("there is no 'key' and no 'image'; name the picture's file")
    picture, size = read_sized_picture(given, folders, f"{row.number}.jpg")
    if values.get("height") is not None and values.get("width") is not None:
        height, width = (check_whole(values[side], side, SIDES) for side in ("height", "width"))
        true = size[1] / size[0]
        if abs(true - width / height) > _ASPECT * true:
            raise ImageError(
                f"the picture is {size[1]} x {size[0]}, but its row says {width} x {height}; "
                "it is not the one that the boxes were made on"
            )
    return picture, size
