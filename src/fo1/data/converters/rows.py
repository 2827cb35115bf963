"""What converters of tables share: rows with their line, pictures beside or inside them, unique keys."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.coco import NOT_FOR_TRAINING
from fo1.data.converters.conversion import BadRows
from fo1.data.converters.picture_files import PictureFolders
from fo1.data.schema import PictureRef, Record
from fo1.errors import ImageError, InputError, short_name
from fo1.formats.located import parse_json, read_text
from fo1.formats.tables import TableRow, read_tables
from fo1.geometry import Size
from fo1.imaging import PICTURE_SUFFIXES, load_image

TABLES: Final = ("*.jsonl", "*.json", "*.parquet", "*.tar")
FOLDERS: Final = ("images", "pictures", "image", "train", "data", ".")
"""Beside a table, where its pictures may lie."""

IMAGE: Final = "image"
"""Field under which a picture stands that lies in a tar beside its row."""


def find_training_tables(source: Path, patterns: Sequence[str] = TABLES) -> tuple[Path, ...]:
    """Return the tables of a folder that may be learned from; a file itself, whatever its name.

    Of a folder, files named for validation or test are left out. The first pattern that fits any file counts, then
    the same one folder deeper.

    Raises:
        InputError: there is none.
    """
    if source.is_file():
        return (source,)
    left_out: list[Path] = []
    for pattern in (*patterns, *(f"*/{one}" for one in patterns)):
        files = sorted(path for path in source.glob(pattern) if path.is_file())
        found = tuple(path for path in files if not _for_measuring(path, source))
        if found:
            return found
        left_out += files
    if left_out:
        raise InputError(
            f"{source} holds only files for measuring, such as {short_name(left_out[0].name)}; "
            "name a file itself to learn from it"
        )
    raise InputError(f"{source} holds no table; expected {', '.join(patterns)}")


def table_rows(files: Iterable[Path], bad: BadRows) -> Iterator[TableRow]:
    """Yield the rows of tables, of one file after another; each is counted, what is no object is dropped.

    Args:
        files: JSON (a list, or one object), JSON lines, Parquet, or a tar whose members "a.json" and "a.jpg" are one
            row, with the picture under `IMAGE`.
        bad: takes the others.

    Raises:
        InputError: a file cannot be read, or too many rows are bad.
        MissingExtraError: a file is Parquet and pyarrow is not installed.
    """
    for path in files:
        if path.suffix == ".tar":
            yield from _tar_rows(path, bad)
            continue
        if (row := _single(path)) is not None:
            bad.seen()
            yield row
            continue
        table = read_tables([path], "train")
        bad.seen(len(table.rows) + len(table.broken))
        for one in table.broken:
            bad.drop(path, one.line, one.problem)
        yield from table.rows


def records_of(
    rows: Iterable[TableRow],
    make: Callable[[TableRow, PictureFolders, "Keys"], Record],
    folders: PictureFolders,
    keys: "Keys",
    bad: BadRows,
) -> Iterator[Record]:
    """Yield the record of each row; rows of which none can be made are dropped.

    Args:
        rows: counted already, see `table_rows`.
        make: of a row; raises an `InputError` that says what is wrong with it.
        folders: where pictures lie.
        keys: of the records.
        bad: takes rows that cannot be used.

    Raises:
        InputError: too many rows are bad.
    """
    for row in rows:
        try:
            record = make(row, folders, keys)
        except InputError as error:
            drop(row, error, bad)
            continue
        yield record


def first_of(values: Mapping[str, Any], *names: str) -> Any:
    """Return the first of several fields that holds something; None if none does."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def drop(row: TableRow, problem: object, bad: BadRows) -> None:
    """Note a bad row; one without a line is called by its number.

    Raises:
        InputError: it is one too many.
    """
    file = row.file or Path(row.place)
    bad.drop(file, row.line, problem if row.line is not None else f"{row.place}: {problem}")


def source_of(row: TableRow) -> str:
    """Return what people find a row by."""
    return row.place if row.file is None or row.line is None else f"{row.file.name}:{row.line}"


def picture_folders(source: Path, pictures: Path | None) -> PictureFolders:
    """Return the folders in which pictures of a table may lie: the one that somebody named, or those beside it."""
    root = source.parent if source.is_file() else source
    tops = [pictures] if pictures else [root, root.parent]
    return PictureFolders(folder for top in tops for folder in (*(top / f for f in FOLDERS), top))


def read_picture(value: object, folders: PictureFolders, name: str) -> PictureRef:
    """Return the picture that a field of a row holds: a file's name, or the picture itself.

    Args:
        value: text, or {"bytes", "path"} as data sets on the hub have it.
        folders: where files lie.
        name: of a picture that has none.

    Raises:
        InputError: it is neither, or the picture is missing or damaged.
    """
    if isinstance(value, str):
        return folders.refer(value)
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if isinstance(data, bytes) and data:
            height, width = load_image(data).size[::-1]
            shown = path if isinstance(path, str) and path.strip() else name
            return PictureRef(
                shown.replace("\\", "/").rpartition("/")[2] or name, (height, width), data
            )
        if isinstance(path, str):
            return folders.refer(path)
    raise ImageError(f"the picture is {short_name(repr(value), 60)}; expected a file's name")


def read_sized_picture(
    value: object, folders: PictureFolders, name: str
) -> tuple[PictureRef, Size]:
    """Return a picture as `read_picture` does, and its size, which boxes need.

    Raises:
        InputError: it is neither, missing, damaged or without a size.
    """
    picture = read_picture(value, folders, name)
    if picture.size is None:
        raise ImageError(f"the picture {short_name(picture.file)} has no size")
    return picture, picture.size


class Keys:
    """Keys of one data set, each given once; in some sets many rows share one id.

    Args:
        prefix: what all begin with.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.given: set[str] = set()
        self.times: Counter[str] = Counter()

    def new(self, name: object, number: int) -> str:
        """Return the key of a row; one whose name was there before gets a number behind it.

        Args:
            name: what the row is called; its number where it is no name.
            number: of the row.
        """
        usable = isinstance(name, int) or (isinstance(name, str) and name.strip())
        plain = key = f"{self.prefix}/{short_name(str(name).strip()) if usable else number}"
        while key in self.given:
            self.times[plain] += 1
            key = f"{plain}-{self.times[plain] + 1}"
        self.given.add(key)
        return key


def _for_measuring(path: Path, root: Path) -> bool:
    """Return whether a file is named for validation or test; its folders below the root count too."""
    parts = path.relative_to(root).with_suffix("").parts
    words = {
        word
        for part in parts
        for word in "".join(c if c.isalpha() else " " for c in part.lower()).split()
    }
    return bool(words & NOT_FOR_TRAINING - {"captions", "keypoints"})


def _single(path: Path) -> TableRow | None:
    """Return the row of a .json file that holds one object over several lines; None for all other files."""
    if path.suffix != ".json":
        return None
    text = read_text(path)
    if text.lstrip()[:1] != "{":
        return None
    try:
        values = parse_json(text)
    except ValueError:  # one object a line, most likely; else told when it is read as such
        return None
    return TableRow(0, f"{path.name} row 0", values, path, 1)


def _tar_rows(path: Path, bad: BadRows) -> Iterator[TableRow]:
    try:
        with tarfile.open(path) as archive:
            members = [one for one in archive if one.isfile()]
            groups: dict[str, dict[str, tarfile.TarInfo]] = {}
            for member in members:
                stem, _, ending = member.name.partition(".")
                groups.setdefault(stem, {})[f".{ending.lower()}"] = member
            for number, (stem, parts) in enumerate(groups.items()):
                if ".json" not in parts:
                    continue
                bad.seen()
                place = f"{path.name} {short_name(stem)}.json"
                row = TableRow(number, place, {}, path)
                try:
                    values = json.loads(_content(archive, parts[".json"]))
                    if not isinstance(values, dict):
                        raise InputError(f"{type(values).__name__}; expected an object")
                except (ValueError, RecursionError) as error:
                    drop(row, error if isinstance(error, InputError) else "no JSON", bad)
                    continue
                suffix = next((one for one in parts if one in PICTURE_SUFFIXES), None)
                if suffix is not None:
                    data = _content(archive, parts[suffix])
                    values[IMAGE] = {"bytes": data, "path": f"{stem}{suffix}"}
                yield TableRow(number, place, values, path)
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{path} is no tar file ({error}); download it again") from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return (file or io.BytesIO()).read()
