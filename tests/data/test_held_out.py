"""Which records are held out: a fixed share, and no picture on both sides."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fo1.data.held_out import ChosenRecords, hold_out
from fo1.data.schema import PictureRef, Record, TrueObject
from fo1.errors import InputError

BOX = (1.0, 1.0, 5.0, 6.0)


def record(number: int, picture: PictureRef) -> Record:
    return Record(
        key=f"r{number}",
        pictures=(picture,),
        objects=(TrueObject(BOX, ("cat",)),),
        looked_for=("cat",),
    )


def pictures(folder: Path, count: int) -> list[PictureRef]:
    folder.mkdir(parents=True, exist_ok=True)
    found: list[PictureRef] = []
    for number in range(count):
        file = folder / f"{number}.png"
        Image.new("RGB", (8, 8), (number, 3, 7)).save(file)
        found.append(PictureRef(str(file), (8, 8)))
    return found


def keys(records: object) -> list[str]:
    return [one.key for one in records]  # pyright: ignore


def test_a_share_is_held_out_and_the_rest_is_kept_in_order(tmp_path: Path) -> None:
    records = [record(n, one) for n, one in enumerate(pictures(tmp_path, 20))]
    kept, held = hold_out({"a": records}, 0.25, seed=0)
    assert len(held) == 5
    assert keys(kept["a"]) == [one.key for one in records if one.key not in keys(held)]
    assert isinstance(kept["a"], ChosenRecords)
    assert keys(kept["a"][2:4]) == keys(kept["a"])[2:4]
    assert keys(hold_out({"a": records}, 0.25, seed=1)[1]) != keys(held)


def test_the_choice_does_not_depend_on_where_files_lie(tmp_path: Path) -> None:
    one, other = (
        [record(n, p) for n, p in enumerate(pictures(tmp_path / folder, 12))]
        for folder in ("here", "there")
    )
    assert keys(hold_out({"a": one}, 0.3, 0)[1]) == keys(hold_out({"a": other}, 0.3, 0)[1])


@pytest.mark.parametrize(("count", "share", "held"), [(3, 0.1, 0), (4, 0.1, 1), (9, 0.0, 0)])
def test_few_records(tmp_path: Path, count: int, share: float, held: int) -> None:
    records = [record(n, one) for n, one in enumerate(pictures(tmp_path, count))]
    assert len(hold_out({"a": records}, share, 0)[1]) == held


def test_what_cannot_be_measured_is_not_held_out(tmp_path: Path) -> None:
    one, two, three, four = (record(n, p) for n, p in enumerate(pictures(tmp_path, 4)))
    records = [
        replace(one, looked_for=()),
        replace(two, objects=()),
        replace(three, pictures=(*three.pictures, *four.pictures)),
        Record(key="text"),
    ]
    kept, held = hold_out({"a": records}, 0.9, 0)
    assert (held, len(kept["a"])) == ([], 4)


def test_a_picture_of_the_same_bytes_is_left_out_of_all_sources(tmp_path: Path) -> None:
    """As a copy under another name, inside a record, and as the same file."""
    refs = pictures(tmp_path, 8)
    records = [record(n, one) for n, one in enumerate(refs)]
    copies, inside, again = ([] for _ in range(3))
    for number, one in enumerate(refs):
        copy = tmp_path / "copies" / f"other{number}.png"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(Path(one.file).read_bytes())
        copies.append(Record(key=f"c{number}", pictures=(PictureRef(str(copy)),)))
        data = Path(one.file).read_bytes()
        inside.append(Record(key=f"i{number}", pictures=(PictureRef("x.png", None, data),)))
        again.append(Record(key=f"a{number}", pictures=(one,)))
    sources = {"own": records, "copies": copies, "inside": inside, "again": again}
    kept, held = hold_out(sources, 0.25, 0)
    numbers = {one.key[1:] for one in held}
    assert len(numbers) == 2
    for chosen in kept.values():
        assert {key[1:] for key in keys(chosen)} == {str(n) for n in range(8)} - numbers


def test_pictures_inside_records_that_share_a_name_are_told_apart(tmp_path: Path) -> None:
    datas = [Path(one.file).read_bytes() for one in pictures(tmp_path, 8)]
    records = [record(n, PictureRef("image.png", (8, 8), d)) for n, d in enumerate(datas)]
    kept, held = hold_out({"a": records}, 0.25, 0)
    assert (len(held), len(kept["a"])) == (2, 6)


def test_a_picture_that_is_gone_is_told_when_it_is_opened(tmp_path: Path) -> None:
    records = [record(n, PictureRef(str(tmp_path / f"{n}.png"), (8, 8))) for n in range(8)]
    kept, held = hold_out({"a": records}, 0.25, 0)
    assert (len(held), len(kept["a"])) == (2, 6)


def test_a_source_without_records_left_is_told(tmp_path: Path) -> None:
    records = [record(n, one) for n, one in enumerate(pictures(tmp_path, 4))]
    with pytest.raises(InputError, match=r"a has no record left.*held_out=0"):
        hold_out({"a": records}, 1.0, 0)
