"""LVIS: COCO's pictures with 1,203 names, of which only some were looked for in each picture.

    folder/lvis_v1_train.json, folder/annotations/lvis_v1_train.json, or the file itself
    folder/train2017/000000391895.jpg, folder/val2017/...

A picture knows the names that are not in it (`neg_category_ids`) and those of which it may hold more than have boxes
(`not_exhaustive_category_ids`); of all other names that have no box in it nothing is known. An object has all names
of its category: the official one without what stands in parentheses first, so that people's words come before
"cup (drink container)", then its synonyms.

Source: lvisdataset.org/dataset.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fo1.data.converters.coco import count_broken, row_size, true_objects
from fo1.data.converters.conversion import BadRows
from fo1.data.converters.picture_files import PictureFolders
from fo1.data.schema import Record, check_record
from fo1.errors import InputError
from fo1.formats.coco import CocoFile, Fields, read_coco
from fo1.formats.limits import read_name

LAYOUTS: Final = (
    "lvis_v1_train.json",
    "annotations/lvis_v1_train.json",
    "lvis_v0.5_train.json",
    "annotations/lvis_v0.5_train.json",
)
ABSENT: Final = "neg_category_ids"
PARTIAL: Final = "not_exhaustive_category_ids"

_OF_2014 = re.compile(r"^COCO_[a-z]+2014_(?=\d{12}\.)")  # version 0.5 names the pictures of 2017 so
_PARENTHESIS = re.compile(r"\s*\([^()]*\)")


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Names as a `Record` lists them."""

    looked_for: tuple[str, ...]
    partial: tuple[str, ...]
    absent: tuple[str, ...]


def convert_lvis(source: Path, bad: BadRows, *, pictures: Path | None = None) -> Iterator[Record]:
    """Return one record per picture; see the module for the layout.

    Args:
        source: folder or annotation file.
        bad: takes rows that cannot be used.
        pictures: folder of the pictures, or of train2017/ and val2017/.

    Raises:
        InputError: there is no annotation file, it is something else, or too many rows are bad.
    """
    path = find_annotations(source)
    file = read_coco(path, spaces_for="_", any_ids=True)
    count_broken(file, bad)
    root = pictures or (path.parent.parent if path.parent.name == "annotations" else path.parent)
    folders = PictureFolders([root, root / "train2017", root / "val2017", root / "images"])
    names = category_names(file)
    owners = owners_of(names)
    for row in file.pictures:
        number, line = row["id"], file.lines[row["id"]]
        try:
            picture = folders.refer(picture_name(row), row_size(row))
            negative, partial = file.listed(row, ABSENT), file.listed(row, PARTIAL)
        except InputError as error:
            bad.drop(path, line, error)
            continue
        objects, doubtful = true_objects(file, number, picture, bad, names)
        shown = {name for one in objects for name in one.names}
        there = [one.name for one in file.boxes[number] if shown.issuperset(names[one.name])]
        known = known_names(names, owners, there, set(negative) - doubtful, doubtful.union(partial))
        yield check_record(
            Record(
                key=f"lvis/{number}",
                pictures=(picture,),
                objects=objects,
                source=f"{path.name}:{line}",
                looked_for=known.looked_for,
                partial=known.partial,
                absent=known.absent,
            )
        )


def find_annotations(source: Path) -> Path:
    """Return the annotation file of the training split, or the file itself.

    Raises:
        InputError: there is none.
    """
    if source.is_file():
        return source
    for name in LAYOUTS:
        if (source / name).is_file():
            return source / name
    raise InputError(f"{source} holds no LVIS file for training; expected {LAYOUTS[0]}")


def picture_name(row: Fields) -> str:
    """Return the folder and file of a picture, from its address or its name.

    Raises:
        InputError: the row tells neither.
    """
    for field in ("coco_url", "file_name"):
        value = row.get(field)
        if isinstance(value, str) and value.strip():
            parts = value.replace("\\", "/").split("/")
            return "/".join((*parts[:-1][-1:], _OF_2014.sub("", parts[-1])))
    raise InputError("no coco_url and no file_name; expected the address of a picture of COCO")


def category_names(file: CocoFile) -> dict[str, tuple[str, ...]]:
    """Return all names of every category, by the name that the file goes by.

    A plain name that two categories share, as "bow" of "bow (weapon)" and "bow (decorative ribbons)" is, stays: it
    is true of both.
    """
    found: dict[str, tuple[str, ...]] = {}
    for number, name in file.names.items():
        synonyms = file.categories[number].get("synonyms")
        listed = [str(one) for one in synonyms] if isinstance(synonyms, list) else []
        found[name] = tuple(dict.fromkeys((*found.get(name, ()), *_plain_first([name, *listed]))))
    return found


def _plain_first(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        spaced = name.replace("_", " ")
        for one in (_PARENTHESIS.sub("", spaced), spaced):
            try:
                yield read_name(one)
            except ValueError:  # nothing but a parenthesis, or far too long
                continue


def known_names(
    names: Mapping[str, tuple[str, ...]],
    owners: Mapping[str, Collection[str]],
    there: Iterable[str],
    negative: Iterable[str],
    partial: Iterable[str],
) -> KnownNames:
    """Return what is known of all names in a picture.

    Of a name that several categories share only as much is said as holds for all of them: "bow" is absent where
    neither weapons nor ribbons are.

    Args:
        names: all names by category.
        owners: all categories by name; see `owners_of`.
        there: categories that have a box.
        negative: categories that were looked for and are not there.
        partial: categories that may be there once more.
    """
    there, negative, partial = set(there), set(negative), set(partial)
    complete = (there | negative) - partial
    absent = negative - there
    shown = _flat(names[one] for one in sorted(there))
    denied = _flat(names[one] for one in sorted(absent))
    return KnownNames(
        looked_for=tuple(name for name in shown if complete.issuperset(owners[name])),
        partial=tuple(name for name in shown if not complete.issuperset(owners[name])),
        absent=tuple(name for name in denied if absent.issuperset(owners[name])),
    )


def owners_of(names: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """Return the categories that have a name, by name."""
    owners: dict[str, set[str]] = {}
    for category, each in names.items():
        for name in each:
            owners.setdefault(name, set()).add(category)
    return owners


def _flat(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))
