"""Visual Genome: names, attributes and descriptions of boxes; never all boxes of a name.

    image_data.json             [{"image_id": 1, "width": 800, "height": 600, "url": ".../VG_100K_2/1.jpg"}, ...]
    objects.json                [{"image_id": 1, "objects": [{"object_id": 1058498, "names": ["clock"], "x": 421,
                                                              "y": 91, "w": 79, "h": 339, "synsets": [...]}]}, ...]
    attributes.json             the same with "attributes": ["green", "tall"] for each; optional
    region_descriptions.json    [{"id": 1, "regions": [{"region_id": 1382, "phrase": "the clock is green in colour",
                                                        "x": 421, "y": 57, "width": 82, "height": 139}]}, ...]
    VG_100K/1.jpg, VG_100K_2/1.jpg

One of objects.json and region_descriptions.json is enough. Nobody marked all things of a kind, so no name counts as
looked for and the names of a picture's objects are partial. Rows stand in their picture's row, whose line is told.

Source: homes.cs.washington.edu/~ranjay/visualgenome/api.html (fields).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fo1.data.converters.coco import row_size
from fo1.data.converters.conversion import BadRows
from fo1.data.converters.picture_files import PictureFolders, is_numbers, read_box
from fo1.data.converters.rows import first_of
from fo1.data.schema import Box, PictureRef, Record, TrueObject, check_record
from fo1.errors import InputError, short_name
from fo1.formats.limits import read_name
from fo1.formats.located import Located, read_located

PICTURES: Final = "image_data.json"
OBJECTS: Final = "objects.json"
ATTRIBUTES: Final = "attributes.json"
REGIONS: Final = "region_descriptions.json"
FOLDERS: Final = ("VG_100K", "VG_100K_2", "images/VG_100K", "images/VG_100K_2", "images", ".")


def convert_visual_genome(
    source: Path, bad: BadRows, *, pictures: Path | None = None
) -> Iterator[Record]:
    """Return one record per picture with an object; see the module for the layout.

    Args:
        source: the folder, or its image_data.json.
        bad: takes rows that cannot be used.
        pictures: folder that holds VG_100K/ and VG_100K_2/, or the pictures themselves.

    Raises:
        InputError: a file is missing or is something else, or too many rows are bad.
    """
    folder = source.parent if source.is_file() else source
    if not any((folder / name).is_file() for name in (OBJECTS, REGIONS)):
        raise InputError(f"{folder} holds no {OBJECTS} and no {REGIONS}; download one of them")
    path = folder / PICTURES
    images = read_located(path).rows()
    bad.seen(len(images))
    tables = {
        name: _by_picture(folder / name, inner, bad)
        for name, inner in ((OBJECTS, "objects"), (ATTRIBUTES, "attributes"), (REGIONS, "regions"))
    }
    folders = PictureFolders([(pictures or folder) / name for name in FOLDERS])
    seen: set[int] = set()
    for row in images:
        try:
            number = _picture_id(row.value)
            if number in seen:
                raise InputError(f"a second picture has the image_id {number}; expected one")
            seen.add(number)
            picture = folders.refer(f"{number}.jpg", row_size(row.value))
        except InputError as error:
            bad.drop(path, row.line, error)
            continue
        said = _attributes(folder / ATTRIBUTES, tables[ATTRIBUTES].get(number), bad)
        objects = (
            *_objects(folder / OBJECTS, tables[OBJECTS].get(number), picture, said, bad),
            *_regions(folder / REGIONS, tables[REGIONS].get(number), picture, bad),
        )
        if objects:
            yield check_record(
                Record(
                    key=f"visual-genome/{number}",
                    pictures=(picture,),
                    objects=objects,
                    partial=tuple(dict.fromkeys(name for one in objects for name in one.names)),
                    source=f"{path.name}:{row.line}",
                )
            )


def _by_picture(path: Path, inner: str, bad: BadRows) -> dict[int, Located]:
    """Return the list of things of each picture, by its id; none where the file is not there."""
    found: dict[int, Located] = {}
    if not path.is_file():
        return found
    rows = read_located(path).rows()
    bad.seen(len(rows))
    for row in rows:
        try:
            number = _picture_id(row.value)
            things = row.value.get(inner)
            if not isinstance(things, list):
                raise InputError(f"{inner!r} is {short_name(str(things), 40)}; expected a list")
            if number in found:
                raise InputError(f"a second row has the image_id {number}; expected one")
            bad.seen(len(things))
            found[number] = Located(row.line, inner, things)
        except InputError as error:
            bad.drop(path, row.line, error)
    return found


def _picture_id(row: object) -> int:
    """Return the id of a picture, which older files call "id"."""
    if not isinstance(row, Mapping):
        raise InputError(f"the row is {short_name(str(row), 40)}; expected an object")
    number = first_of(row, "image_id", "id")
    if isinstance(number, bool) or not isinstance(number, int):
        raise InputError(f"'image_id' is {short_name(str(number), 40)}; expected a number")
    return number


def _things(path: Path, row: Located | None, bad: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the things of a picture with the line of its row."""
    for place, one in enumerate(row.value if row else ()):
        if isinstance(one, dict):
            yield row.line if row else 0, one
        else:
            bad.drop(path, row and row.line, f"{row and row.key}[{place}] is no object")


def _attributes(path: Path, row: Located | None, bad: BadRows) -> dict[int, tuple[str, ...]]:
    """Return what is said of a picture's objects, by their id."""
    found: dict[int, tuple[str, ...]] = {}
    for line, one in _things(path, row, bad):
        number, said = one.get("object_id"), one.get("attributes") or []
        try:
            if not isinstance(number, int) or not isinstance(said, list):
                raise InputError("expected a number and a list of texts")
            found[number] = tuple(dict.fromkeys(read_name(text, "an attribute") for text in said))
        except InputError as error:
            bad.drop(path, line, f"attributes of object {short_name(str(number), 40)}: {error}")
    return found


def _objects(
    path: Path,
    row: Located | None,
    picture: PictureRef,
    attributes: Mapping[int, tuple[str, ...]],
    bad: BadRows,
) -> Iterator[TrueObject]:
    for line, one in _things(path, row, bad):
        number = first_of(one, "object_id", "id")
        try:
            named = one.get("names")
            named = [one.get("name")] if named is None else named
            if not isinstance(named, list) or not named:
                raise InputError(f"'names' is {short_name(str(named), 40)}; expected texts")
            names = tuple(dict.fromkeys(read_name(name, "a name") for name in named))
            box = _box(one, "w", "h", picture)
        except InputError as error:
            bad.drop(path, line, f"object {short_name(str(number), 40)}: {error}")
            continue
        said = attributes.get(number, ()) if isinstance(number, int) else ()
        yield TrueObject(box, names, descriptions=tuple(f"{text} {names[0]}" for text in said))


def _regions(
    path: Path, row: Located | None, picture: PictureRef, bad: BadRows
) -> Iterator[TrueObject]:
    """Yield a nameless object for every box that is described; the same box counts once."""
    said: dict[Box, dict[str, None]] = {}
    for line, one in _things(path, row, bad):
        try:
            text = read_name(one.get("phrase"), "'phrase'")
            said.setdefault(_box(one, "width", "height", picture), {})[text] = None
        except InputError as error:
            bad.drop(path, line, f"region {short_name(str(one.get('region_id')), 40)}: {error}")
    for box, texts in said.items():
        yield TrueObject(box, descriptions=tuple(texts))


def _box(one: Mapping[str, Any], width: str, height: str, picture: PictureRef) -> Box:
    numbers = [one.get(name) for name in ("x", "y", width, height)]
    if not is_numbers(numbers, 4):
        shown = short_name(str(numbers), 60)
        raise InputError(f"x, y, {width}, {height} are {shown}; expected four numbers")
    x, y, across, down = map(float, numbers)
    return read_box([x, y, x + across, y + down], picture.size)
