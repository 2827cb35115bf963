"""RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: expressions that mean boxes of COCO's pictures.

    data/refcoco/refs(unc).p         pickle of Python 2, or refs(unc).json of the same content
    data/refcoco/instances.json      pictures and boxes, as COCO writes them
    data/images/mscoco/images/train2014/COCO_train2014_*.jpg

Or one JSON line per expression, for example refcoco_train.jsonl: {"image", "sent", "bbox" (xyxy), "height", "width"}.

Only refs of the training split are read. A picture that also has refs of another split, in any of the data sets that
are read together, is left out: the split "google" divides objects and not pictures, and the data sets share pictures.
Every box of a picture is annotated, so all names were looked for; of the
JSON lines only what is meant is known.

Sources: lichengunc/refer, refer.py (layout and keys); henghuiding/ReLA, grefer.py (several boxes or none);
QwenLM/Qwen-VL, eval_mm/evaluate_grounding.py (one line per expression).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.coco import count_broken, refer_picture
from fo1.data.converters.conversion import BadRows
from fo1.data.converters.expressions import clear_phrases
from fo1.data.converters.known_names import known_names
from fo1.data.converters.picture_files import PictureFolders, read_box
from fo1.data.converters.rows import Keys, drop, source_of
from fo1.data.schema import Box, Phrase, Record, TrueObject, check_record
from fo1.errors import InputError, short_name
from fo1.formats.coco import CocoFile, read_coco
from fo1.formats.limits import read_name
from fo1.formats.refer_rows import read_pickle, read_size
from fo1.formats.tables import TableRow, TableRows, read_tables

REFS: Final = tuple(
    f"{stem}{ending}"
    for stem in ("refs(unc)", "refs(umd)", "grefs(unc)", "refs(google)")
    for ending in (".p", ".json")
)
"""Files of expressions; the first one that a folder has counts."""

PICTURES: Final = (
    "images/mscoco/images/train2014",
    "images/train2014",
    "train2014",
    "coco/train2014",
)
NOTHING: Final = [-1]
"""Annotations of an expression that means nothing in its picture."""


def convert_refcoco(
    source: Path, bad: BadRows, *, pictures: Path | None = None, split: str = "train"
) -> Iterator[Record]:
    """Return one record per picture; see the module for the layouts.

    Args:
        source: folder of one data set, folder that holds several, or a file of expressions.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures, where they do not lie as the format says.
        split: whose refs are read.

    Raises:
        InputError: there is no file of expressions, it is something else, or too many rows are bad.
    """
    names: dict[str, int] = {}
    paths = find_refs(source)
    tables = {path: _read_refs(path, split) for path in paths if path.suffix != ".jsonl"}
    measured = {number for table in tables.values() for number in _of_other_splits(table, split)}
    for path in paths:
        folder = path.absolute().parent.name
        if path.suffix == ".jsonl":
            folder = path.stem
        names[folder] = names.get(folder, 0) + 1
        prefix = folder if names[folder] == 1 else f"{folder}-{names[folder]}"
        folders = PictureFolders(_folders(path, pictures))
        if path.suffix == ".jsonl":
            yield from _of_lines(path, Keys(prefix), folders, bad)
        else:
            yield from _of_refs(tables[path], split, measured, prefix, folders, bad)


def find_refs(source: Path) -> tuple[Path, ...]:
    """Return the files of expressions: one per data set.

    Raises:
        InputError: there is none.
    """
    if source.is_file():
        return (source,)
    found: list[Path] = []
    for folder in (source, *sorted(path for path in source.glob("*") if path.is_dir())):
        found += [path for name in REFS if (path := folder / name).is_file()][:1]
    found = found or sorted(source.glob("*train*.jsonl"))
    if not found:
        raise InputError(f"{source} holds no {REFS[0]}; expected it beside instances.json")
    return tuple(found)


def _folders(path: Path, pictures: Path | None) -> list[Path]:
    if pictures is not None:
        return [pictures, pictures / "train2014"]
    folder = path.absolute().parent
    roots = (folder.parent, folder, folder.parent.parent)
    named = [root / name for name in PICTURES for root in roots]
    return [*(one for one in named if one.is_dir()), folder / "images", folder]


def _read_refs(path: Path, split: str) -> TableRows:
    """Return the refs of a file, of all splits.

    Raises:
        InputError: it is no such file, or has refs of other splits alone.
    """
    table = (
        read_pickle(path)
        if path.suffix in (".p", ".pkl", ".pickle")
        else read_tables([path], "train")
    )
    _check_split(table, path, split)
    return table


def _of_other_splits(table: TableRows, split: str) -> Iterator[int]:
    """Yield the pictures of refs that are not to be read."""
    for row in table.rows:
        kind, number = row.values.get("split"), row.values.get("image_id")
        if isinstance(kind, str) and kind != split and isinstance(number, int):
            yield number


def _of_refs(
    table: TableRows,
    split: str,
    measured: Collection[int],
    prefix: str,
    folders: PictureFolders,
    bad: BadRows,
) -> Iterator[Record]:
    (path,) = table.files
    file = read_coco(path.parent / "instances.json")
    count_broken(file, bad)
    bad.seen(len(table.broken))
    for one in table.broken:
        bad.drop(path, one.line, one.problem)
    refs = _by_picture(table, split, bad)
    rows = {row["id"]: row for row in file.pictures}
    for number, own in refs.items():
        if number in measured:
            continue
        try:
            if number not in rows:
                raise InputError(f"instances.json has no image {number}")
            picture = refer_picture(rows[number], folders)
        except InputError as error:
            place = f" ({file.path.name}:{file.lines[number]})" if number in rows else ""
            for row in own:
                drop(row, f"{error}{place}", bad)
            continue
        objects, places, doubtful = _objects(file, number, picture.size, bad)
        known = known_names(file.vocabulary, objects, doubtful)
        yield check_record(
            Record(
                key=f"{prefix}/{number}",
                pictures=(picture,),
                objects=objects,
                phrases=clear_phrases(_phrases(own, places, bad)),
                looked_for=known.looked_for,
                partial=known.partial,
                source=source_of(own[0]),
            )
        )


def _check_split(table: TableRows, path: Path, split: str) -> None:
    """Raises an InputError if a file has refs of other splits alone."""
    kinds = {
        row.values.get("split") for row in table.rows if isinstance(row.values.get("split"), str)
    }
    if kinds and split not in kinds:
        shown = ", ".join(short_name(str(one), 40) for one in sorted(kinds, key=str)[:10])
        raise InputError(
            f"{path} has no ref of the split {split}, only of {shown}; name one of them"
        )


def _by_picture(table: TableRows, split: str, bad: BadRows) -> dict[int, list[TableRow]]:
    """Return the refs of a split by picture."""
    found: dict[int, list[TableRow]] = defaultdict(list)
    seen: set[int] = set()
    for row in table.rows:
        own = TableRow(row.number, row.place, row.values, table.files[0], row.line)
        kind = row.values.get("split")
        if isinstance(kind, str) and kind != split:
            continue
        bad.seen()
        try:
            row.take("split", str)
            ref, image = row.take("ref_id", int), row.take("image_id", int)
            if ref in seen:
                raise InputError(f"a second ref has the ref_id {ref}; expected one")
            seen.add(ref)
        except InputError as error:
            drop(own, error, bad)
            continue
        found[image].append(own)
    return found


def _objects(
    file: CocoFile, number: int, size: Any, bad: BadRows
) -> tuple[tuple[TrueObject, ...], dict[int, int], set[str]]:
    """Return the objects of a picture, the place of each by its annotation, and the names of unusable ones."""
    objects: list[TrueObject] = []
    places: dict[int, int] = {}
    doubtful = set(file.doubtful.get(number, ()))
    for one in file.boxes.get(number, ()):
        try:
            box = read_box(one.box, size, what=f"bbox of annotation {one.number}")
        except InputError as error:
            bad.drop(file.path, one.line, error)
            doubtful.add(one.name)
            continue
        places[one.number] = len(objects)
        objects.append(TrueObject(box, (one.name,), crowd=one.crowd))
    return tuple(objects), places, doubtful


def _phrases(rows: Iterable[TableRow], places: dict[int, int], bad: BadRows) -> Iterator[Phrase]:
    for row in rows:
        try:
            meant = row.values.get("ann_id")
            meant = meant if isinstance(meant, list) else [row.take("ann_id", int)]
            if not meant or any(type(one) is not int for one in meant):
                raise InputError(f"'ann_id' is {str(meant)[:40]}; expected numbers, or [-1]")
            meant = [] if meant == NOTHING else meant
            meant = list(dict.fromkeys(meant))
            missing = [one for one in meant if one not in places]
            if missing:
                raise InputError(f"its picture has no usable annotation {missing[0]}")
            sentences = row.take("sentences", list)
            if not sentences:
                raise InputError("'sentences' is empty; expected one or more")
            texts = [_sentence(one) for one in sentences]
        except InputError as error:
            drop(row, error, bad)
            continue
        yield from (Phrase(text, tuple(places[one] for one in meant)) for text in texts)


def _sentence(sentence: object) -> str:
    values = sentence if isinstance(sentence, dict) else {}
    text = values.get("sent") or values.get("raw")
    if not isinstance(text, str):
        raise InputError(f"a sentence is {short_name(str(sentence), 40)}; expected 'sent'")
    return read_name(text, "the expression")


def _of_lines(path: Path, keys: Keys, folders: PictureFolders, bad: BadRows) -> Iterator[Record]:
    table = read_tables([path], "train")
    bad.seen(len(table.rows) + len(table.broken))
    for one in table.broken:
        bad.drop(path, one.line, one.problem)
    together: dict[str, list[TableRow]] = defaultdict(list)
    for row in table.rows:
        try:
            together[row.take("image", str)].append(row)
        except InputError as error:
            drop(row, error, bad)
    for name, rows in together.items():
        try:
            stem = Path(name.replace("\\", "/")).stem
            picture = folders.refer(name, read_size(rows[0]))
            key = keys.new(stem, rows[0].number)
        except InputError as error:
            for row in rows:
                drop(row, error, bad)
            continue
        boxes: dict[Box, int] = {}
        phrases: list[Phrase] = []
        for row in rows:
            try:
                box = read_box(row.take("bbox", list), picture.size, what="bbox")
                text = read_name(row.take("sent", str), "the expression")
                if read_size(row) != picture.size:
                    raise InputError(f"its size is {read_size(row)}, the picture's {picture.size}")
            except InputError as error:
                drop(row, error, bad)
                continue
            phrases.append(Phrase(text, (boxes.setdefault(box, len(boxes)),)))
        if phrases:
            yield check_record(
                Record(
                    key=key,
                    pictures=(picture,),
                    objects=tuple(map(TrueObject, boxes)),
                    phrases=clear_phrases(phrases),
                    source=source_of(rows[0]),
                )
            )
