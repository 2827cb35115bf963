"""Records as a COCO file, read back by the task that measures on it."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from fo1.data.coco_writer import to_coco, write_coco
from fo1.data.converters import get_converter
from fo1.data.converters.conversion import BadRows
from fo1.data.schema import PictureRef, Record, TrueObject
from fo1.evaluation.detection.photo_set import load_photo_set

SIZE = (48, 64)


def picture(folder: Path, number: int, *, inside: bool = False) -> PictureRef:
    held = io.BytesIO()
    Image.new("RGB", SIZE[::-1], (number, 30, 90)).save(held, format="PNG")
    if inside:
        return PictureRef("image.png", SIZE, held.getvalue())
    file = folder / f"{number}.png"
    file.write_bytes(held.getvalue())
    return PictureRef(str(file), SIZE)


def record(folder: Path, number: int = 0, *, inside: bool = False, **fields: object) -> Record:
    given = {
        "objects": (
            TrueObject((4, 5, 30, 31), ("cat", "pet")),
            TrueObject((0, 0, 20, 10), ("person",), crowd=True),
        ),
        "looked_for": ("cat", "person", "dog"),
        **fields,
    }
    return Record(key=f"r{number}", pictures=(picture(folder, number, inside=inside),), **given)  # pyright: ignore


def test_a_file_where_every_name_was_looked_for_is_plain_coco(tmp_path: Path) -> None:
    file = tmp_path / "held.json"
    assert write_coco([record(tmp_path), Record(key="text")], file) == 1
    table = json.loads(file.read_text())
    assert [one["name"] for one in table["categories"]] == ["cat", "dog", "person"]
    assert set(table["images"][0]) == {"id", "file_name", "height", "width"}
    first, second = table["annotations"]
    assert (first["bbox"], first["category_id"], first["iscrowd"]) == ([4, 5, 26, 26], 1, 0)
    assert (second["category_id"], second["iscrowd"], second["area"]) == (3, 1, 200)
    (again,) = get_converter("coco")(file, BadRows())
    assert [(one.box, one.crowd) for one in again.objects] == [
        ((4, 5, 30, 31), False),
        ((0, 0, 20, 10), True),
    ]


def test_names_that_were_not_looked_for_are_neither_right_nor_wrong(tmp_path: Path) -> None:
    """LVIS says of each picture which names were looked for; the others' boxes are no mistakes there."""
    one = record(tmp_path, partial=("person",), looked_for=("cat", "pet"), absent=("bird",))
    two = record(tmp_path, 1, objects=(), looked_for=("dog", "cat"))
    file = tmp_path / "held.json"
    write_coco([one, two], file)
    found = load_photo_set(file)
    assert found.broken == ()
    assert found.names == ("bird", "cat", "dog", "person", "pet")
    first, second = (photo.truth for photo in found.photos)
    assert [found.names[int(n)] for n in first.names] == ["cat"]
    assert {found.names[n] for n in first.absent} == {"bird"}
    # "pet" is true of the cat, which stands under its own name; of persons there may be more than have boxes.
    assert {found.names[n] for n in first.unsure} == {"dog", "person", "pet"}
    assert [found.names[int(n)] for n in first.ignore_names] == ["person"]
    assert {found.names[n] for n in second.unsure} == {"bird", "person", "pet"}


def test_pictures_inside_records_are_written_beside(tmp_path: Path) -> None:
    file = tmp_path / "held.json"
    records = [record(tmp_path, n, inside=True) for n in range(2)]
    write_coco(records, file)
    photos = load_photo_set(file).photos
    assert [photo.path.parent for photo in photos] == [tmp_path / "held"] * 2
    for photo, one in zip(photos, records, strict=True):
        assert photo.path.read_bytes() == one.pictures[0].data


def test_a_size_that_nobody_told_is_that_of_the_picture(tmp_path: Path) -> None:
    one = record(tmp_path)
    one = Record(key="a", pictures=(PictureRef(one.pictures[0].file),), objects=one.objects)
    (image,) = to_coco([one])["images"]
    assert (image["height"], image["width"]) == SIZE


@pytest.mark.parametrize("names", [(), ("cat",)])
def test_objects_without_a_name_have_no_category(tmp_path: Path, names: tuple[str, ...]) -> None:
    table = to_coco([record(tmp_path, objects=(TrueObject((1, 1, 3, 3), names),))])
    assert len(table["annotations"]) == len(names)
