"""Numbers of things in pictures, as CountBenchQA and PixMo-Count write them.

    data/train-*.parquet    {"image_url", "image_sha256", "label": "dogs", "count": 3, "points": [{"x", "y"}, ...]}
    rows.jsonl, rows.json   {"image": "a.jpg", "question": "How many headsets are there in the image?", "number": 10}
    images/                 pictures that were downloaded: by name, by SHA-256 or by the end of their URL

Of a folder the files whose names say test or validation are left alone: they are for measuring. To learn from one,
name it. A number has no boxes; points say where things are, not how large, so only their number is compared. Zero
means that the thing was looked for and is not there.

Sources: the cards of vikhyatk/CountBenchQA and allenai/pixmo-count.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from fo1.data.converters.conversion import BadRows
from fo1.data.converters.picture_files import PictureFolders
from fo1.data.schema import Count, PictureRef, Record, check_record
from fo1.errors import InputError, short_name
from fo1.formats.limits import COUNTS, QUESTION_LENGTH, check_length, check_whole, read_name
from fo1.formats.tables import TableRow, read_tables
from fo1.imaging import PICTURE_SUFFIXES, load_image

TABLES: Final = (
    "data/train*.parquet",
    "train*.parquet",
    "data/*.parquet",
    "*.parquet",
    "*.jsonl",
    "*.json",
)
"""Files of rows; those of the first pattern that any fits are read."""
FOLDERS: Final = ("images", "train_images", ".")
NUMBERS: Final = ("number", "count", "answer")
_FOR_MEASURING = {"test", "val", "valid", "validation"}
_THERE = re.compile(r"\s*how many\s+(.+?)\s+(?:are|is)\s+there\b", re.IGNORECASE)
_OTHER = re.compile(
    r"\s*how many\s+(.+?)(?:\s+(?:are|is|do|does|have|has|can)\b|\s+in\s+th(?:e|is)\b|\s*\?|\s*$)",
    re.IGNORECASE,
)


def convert_counts(source: Path, bad: BadRows, *, pictures: Path | None = None) -> Iterator[Record]:
    """Return one record per row; see the module for the fields.

    Args:
        source: folder or file of rows.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures, where they do not lie as the format says.

    Raises:
        InputError: there is no file of rows, it is something else, or too many rows are bad.
        MissingExtraError: a file is parquet and pyarrow is not installed.
    """
    files = _find_tables(source)
    root = source if source.is_dir() else source.parent
    finder = _Pictures((pictures or root, root))
    table = read_tables(files, "train")
    bad.seen(len(table.rows) + len(table.broken))
    for one in table.broken:
        bad.drop(one.file or files[0], one.line, one.problem)
    for row in table.rows:
        try:
            yield _record(row, finder)
        except InputError as error:
            place = "" if row.line is not None else f"{row.place}: "
            bad.drop(row.file or files[0], row.line, f"{place}{error}")


def _find_tables(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    for pattern in TABLES:
        found = [path for path in sorted(source.glob(pattern)) if path.is_file()]
        found = [path for path in found if not _FOR_MEASURING & _words(path)]
        if found:
            return found
    raise InputError(f"{source} holds no rows to learn from; expected {TABLES[0]} or rows.jsonl")


def _words(path: Path) -> set[str]:
    return set(re.split(r"[^a-z]+", path.stem.lower()))


def _record(row: TableRow, finder: "_Pictures") -> Record:
    """Return the record of a row.

    Raises:
        InputError: it lacks something, or its points do not fit its number.
    """
    name = next((one for one in NUMBERS if one in row.values), NUMBERS[0])
    number = check_whole(row.take(name, int), repr(name), COUNTS)
    points = row.values.get("points")
    if isinstance(points, Mapping):  # lists of x and of y
        points = points.get("x")
    if isinstance(points, list) and len(points) != number:
        raise InputError(f"there are {len(points)} points but {name!r} is {number}; mend one")
    noun = _noun(row.values)
    return check_record(
        Record(
            key=f"counts/{row.file.stem if row.file else ''}/{row.number}",
            pictures=(finder.refer(row),),
            counts=(Count(noun, number),),
            absent=() if number else (noun,),
            source=row.place,
        )
    )


def _noun(values: Mapping[str, Any]) -> str:
    """Return what is counted.

    Raises:
        InputError: nothing says it.
    """
    if values.get("label") is not None:
        return read_name(values["label"], "'label'")
    question = values.get("question")
    if not isinstance(question, str):
        raise InputError("there is no 'label' and no 'question'; say what is counted")
    check_length(question, "'question'", QUESTION_LENGTH)
    found = _THERE.match(question) or _OTHER.match(question)
    if found is None:
        shown = short_name(repr(question), 60)
        raise InputError(f"'question' is {shown}; expected 'How many X are there?'")
    return read_name(found[1], "what is counted")


class _Pictures:
    """Finds the pictures of rows: inside them, by name, by SHA-256 or by the end of their URL."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        places = [root / name for root in dict.fromkeys(roots) for name in FOLDERS]
        self.folders = PictureFolders(places)
        self.known: dict[str, str] = {}
        for folder in (place for place in places if place.is_dir()):
            for path in folder.iterdir():
                if path.suffix.lower() in PICTURE_SUFFIXES:
                    self.known.setdefault(path.stem, path.name)

    def refer(self, row: TableRow) -> PictureRef:
        """Return the picture of a row.

        Raises:
            InputError: it is not there, or is no picture.
        """
        given = row.values.get("image")
        if isinstance(given, Mapping):
            inside, given = given.get("bytes"), given.get("path")
            if isinstance(inside, bytes):
                name = given if isinstance(given, str) and given else f"{row.number}"
                width, height = load_image(inside).size
                return PictureRef(name, (height, width), inside)
        url = row.values.get("image_url")
        end = _end_of(url) if isinstance(url, str) else None
        names = [one for one in (given, row.values.get("image_sha256"), end) if one]
        names = [one for one in names if isinstance(one, str)]
        if not names:
            raise InputError("there is no 'image' and no 'image_url'; name the picture's file")
        for name in names:
            if name in self.known:
                return self.folders.refer(self.known[name])
        for name in names[:-1]:
            try:
                return self.folders.refer(name)
            except InputError:
                continue  # the last name's error is told
        return self.folders.refer(names[-1])


def _end_of(url: str) -> str:
    try:
        return unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:  # no URL at all
        return url
