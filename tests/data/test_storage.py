import base64
import gzip
import io
import json
import os
import pickle
import sys
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fo1.data.converters.conversion import BadRows
from fo1.data.schema import (
    Count,
    Exchange,
    Phrase,
    PictureRef,
    Record,
    TrueObject,
)
from fo1.data.storage import RecordFile, open_picture, stream_records, write_records
from fo1.data.storage.files import shard_path
from fo1.data.storage.parquet import GROUP_ROWS, PICTURES, record_schema
from fo1.errors import ImageError, InputError, MissingExtraError
from fo1.results import Proposals

KINDS = (".jsonl", ".parquet", ".tar")
SIZE = (20, 30)


def encoded(number: int, kind: str = "PNG", size: tuple[int, int] = SIZE) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size[1], size[0]), (number % 256, 90, 200)).save(stream, kind)
    return stream.getvalue()


def full(number: int = 0) -> Record:
    """A record with something in every field."""
    return Record(
        key=f"set.a/{number:03d} ü",
        pictures=(PictureRef(f"images/{number}.png", SIZE), PictureRef(f"images/{number}.x.jpg")),
        objects=(
            TrueObject((1.125, 2.5, 10.0, 12.333), ("cat", "animal")),
            TrueObject((0.0, 0.0, 5.0, 5.0), ("sign",), 1, ("board",), ("STOP",), ("red",), True),
        ),
        proposals=(
            Proposals(np.float32([[1, 2, 3, 4.1]]), np.float32([0.3]), "grid"),
            Proposals.empty("grid"),
        ),
        phrases=(Phrase("the cat", (0,)), Phrase("a unicorn", ())),
        captions=("<ground>A cat</ground><objects><region0></objects> sits.",),
        counts=(Count("cat", 1), Count("dog", 0)),
        absent=("dog",),
        looked_for=("cat",),
        partial=("sign",),
        turns=(Exchange("What is <region0>?", "A cat.\nIndeed."),),
        source="a.json:7",
    )


def bare(number: int) -> Record:
    return Record(key=f"k{number}", turns=(Exchange("Why?", f"Because {number}."),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / f"images/{number}.png").write_bytes(encoded(number))
        (tmp_path / f"images/{number}.x.jpg").write_bytes(encoded(number + 9, "JPEG", (8, 9)))
    return tmp_path


def told(record: Record) -> dict[str, Any]:
    """What a record says, but for where its pictures are."""
    found = record.to_dict()
    for picture in found.get("pictures", ()):
        del picture["file"]
    return found


@pytest.mark.parametrize("suffix", KINDS)
def test_everything_comes_back(folder: Path, suffix: str) -> None:
    records = [full(0), bare(1), full(2)]
    path = folder / f"all{suffix}"
    assert write_records(records, path, pictures="refer", root=folder) == 3
    by_number = RecordFile(path)
    assert len(by_number) == 3
    for found in (list(stream_records(path)), list(by_number), by_number[:], [*by_number[0:3]]):
        assert list(map(told, found)) == list(map(told, records))
        assert found[2].pictures[0].file == str(folder / "images" / "2.png")
        assert found[0].pictures[0].data is None
        assert open_picture(found[2]).getpixel((0, 0)) == (2, 90, 200)
    assert by_number[-1].key == by_number[2].key == full(2).key
    for index in (3, -4):
        with pytest.raises(IndexError):
            by_number[index]


@pytest.mark.parametrize("suffix", KINDS)
def test_embedded_pictures_travel_inside(folder: Path, tmp_path: Path, suffix: str) -> None:
    path = folder / f"all{suffix}"
    records = [full(0), bare(7), full(1)]
    assert write_records(records, path, pictures="embed", root=folder) == 3
    kept = {one: one.read_bytes() for one in (folder / "images").iterdir()}
    for one in kept:
        one.unlink()
    for found in (list(stream_records(path)), RecordFile(path)):
        for number, record in ((0, found[0]), (1, found[2])):
            assert record.pictures[0].file == f"{number}.png"
            assert record.pictures[0].data == kept[folder / f"images/{number}.png"]
            assert record.pictures[1].data == kept[folder / f"images/{number}.x.jpg"]
            assert open_picture(record).getpixel((3, 3)) == (number, 90, 200)
        assert found[1].pictures == ()
        bare_pictures = tuple(replace(one, data=None) for one in found[0].pictures)
        assert told(replace(found[0], pictures=bare_pictures)) == told(records[0])


@pytest.mark.parametrize("suffix", KINDS)
def test_kinds_turn_into_each_other(folder: Path, suffix: str) -> None:
    first = folder / "first.jsonl"
    write_records([full(0), full(1)], first, pictures="embed", root=folder)
    second, third = folder / f"second{suffix}", folder / "third.jsonl"
    write_records(stream_records(first), second, pictures="embed")
    write_records(RecordFile(second), third, pictures="embed")
    assert third.read_bytes() == first.read_bytes()


def test_parquet_types_are_those_of_a_record() -> None:
    pytest.importorskip("pyarrow")
    schema = record_schema()
    assert schema.names == [*Record.__slots__, PICTURES]
    for field, kind in (("objects", TrueObject), ("phrases", Phrase), ("counts", Count)):
        assert [one.name for one in schema.field(field).type.value_type] == list(kind.__slots__)


def test_parquet_has_small_groups_and_finds_rows_in_all(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path, count = tmp_path / "a.parquet", 2 * GROUP_ROWS + 3
    write_records(map(bare, range(count)), path, pictures="refer")
    assert parquet.read_metadata(path).num_row_groups == 3
    rows = RecordFile(path)
    assert len(rows) == count
    for index in (0, GROUP_ROWS - 1, GROUP_ROWS, 2 * GROUP_ROWS, count - 1, 5):
        assert rows[index].key == f"k{index}"


def test_parquet_of_others_is_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table(
        {
            "key": ["a", "b"],
            "captions": [["A cat."], None],
            "counts": [None, [{"noun": "x", "number": 2}]],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    assert RecordFile(tmp_path / "a.parquet")[1].counts == (Count("x", 2),)
    assert RecordFile(tmp_path / "a.parquet")[0].captions == ("A cat.",)


def test_folder_can_be_moved(folder: Path) -> None:
    old, new = folder / "old", folder / "new"
    old.mkdir()
    (folder / "images").rename(old / "images")
    outside = folder / "outside.png"
    outside.write_bytes(encoded(77))
    records = [full(1), replace(bare(0), pictures=(PictureRef(str(outside)),))]
    write_records(records, old / "a.jsonl", pictures="refer", root=old)
    lines = [json.loads(line) for line in (old / "a.jsonl").read_text("utf-8").splitlines()]
    assert lines[0]["pictures"][0]["file"] == "images/1.png"
    assert lines[1]["pictures"][0]["file"] == str(outside)
    old.rename(new)
    found = RecordFile(new / "a.jsonl")
    assert open_picture(found[0]).getpixel((0, 0)) == (1, 90, 200)
    assert open_picture(found[1]).getpixel((0, 0)) == (77, 90, 200)


def test_relative_paths_start_from_the_current_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    write_records([full(1)], "a.jsonl", pictures="refer")
    found = RecordFile("a.jsonl")
    monkeypatch.chdir("/")
    assert found[0].pictures[0].file == str(folder / "images" / "1.png")
    assert open_picture(found[0], 1).size == (9, 8)
    assert open_picture(full(1), 0, folder).size == (30, 20)


def test_open_picture_checks_what_it_opens(folder: Path) -> None:
    wrong = replace(full(0), pictures=(PictureRef("images/0.png", (21, 30)),))
    with pytest.raises(ImageError, match=r"is 30 x 20, but the boxes of record .* for 30 x 21"):
        open_picture(wrong, 0, folder)
    with pytest.raises(InputError, match="no picture 2; it has 2"):
        open_picture(full(0), 2, folder)
    with pytest.raises(ImageError, match="does not exist"):
        open_picture(full(5), 0, folder)
    broken = replace(full(0), pictures=(PictureRef("a.png", data=b"junk"),))
    with pytest.raises(ImageError, match=r"picture 0 of record set\.a/000 ü: .*not a picture"):
        open_picture(broken)


def test_picture_inside_alone_cannot_be_referred_to(tmp_path: Path) -> None:
    held = replace(bare(0), pictures=(PictureRef("a.png", data=encoded(0)),))
    with pytest.raises(InputError, match='pictures="embed"'):
        write_records([held], tmp_path / "a.jsonl", pictures="refer")
    gone = replace(bare(0), pictures=(PictureRef("gone.png"),))
    with pytest.raises(ImageError, match=r"cannot read gone\.png of record k0"):
        write_records([gone], tmp_path / "a.jsonl", pictures="embed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", KINDS)
def test_what_is_inside_is_kept_inside_and_files_are_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "b.png").write_bytes(encoded(1))
    (tmp_path / "a.png").write_bytes(encoded(2))  # another one than that inside
    both = (PictureRef("a.png", data=encoded(0)), PictureRef("b.png"))
    path = tmp_path / f"a{suffix}"
    write_records([replace(bare(0), pictures=both)], path, pictures="keep", root=tmp_path)
    (found,) = RecordFile(path)
    assert found.pictures[0].data == encoded(0)
    if suffix != ".tar":
        assert (found.pictures[1].file, found.pictures[1].data) == (str(tmp_path / "b.png"), None)
    assert np.array_equal(open_picture(found, 1), Image.open(io.BytesIO(encoded(1))))


# Whole or not at all


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("shard_size", [None, 2])
def test_what_stops_half_way_leaves_nothing(
    tmp_path: Path, suffix: str, shard_size: int | None
) -> None:
    def some() -> Iterator[Record]:
        yield from map(bare, range(5))
        raise RuntimeError("stop")

    path = tmp_path / f"a{suffix}"
    write_records([bare(0)], path, pictures="refer")
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="stop"):
        write_records(some(), path, pictures="refer", shard_size=shard_size)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", KINDS)
def test_file_may_be_written_from_itself(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_records(map(bare, range(5)), path, pictures="refer")
    kept = (one for one in stream_records(path) if one.key != "k2")
    assert write_records(kept, path, pictures="refer") == 4
    assert [one.key for one in stream_records(path)] == ["k0", "k1", "k3", "k4"]


@pytest.mark.parametrize("suffix", KINDS)
def test_same_records_give_the_same_bytes(folder: Path, suffix: str) -> None:
    for name in ("a", "b"):
        write_records([full(0), full(1)], folder / f"{name}{suffix}", pictures="embed", root=folder)
    assert (folder / f"a{suffix}").read_bytes() == (folder / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", KINDS)
def test_no_records_are_a_file_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert write_records([], path, pictures="refer") == 0
    assert list(stream_records(path)) == []
    assert len(RecordFile(path)) == 0


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("a.json", {}, "unknown ending; expected one of .jsonl"),
        ("a.jsonl.gz", {}, "cannot write a.jsonl.gz; give .jsonl"),
        ("none/a.tar", {}, "is missing; create it"),
        ("a.tar", {"pictures": "copy"}, "expected 'refer', 'embed' or 'keep'"),
        ("a.tar", {"shard_size": 0}, "shard_size is 0"),
        ("folder.tar", {}, "is a folder; give a file name"),
    ],
)
def test_wrong_writing_is_told(
    tmp_path: Path, name: str, options: dict[str, Any], problem: str
) -> None:
    (tmp_path / "folder.tar").mkdir()
    with pytest.raises(InputError) as caught:
        write_records([bare(0)], tmp_path / name, **({"pictures": "refer"} | options))
    assert problem in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["folder.tar"]


def test_half_characters(tmp_path: Path) -> None:
    odd = replace(bare(0), captions=("\ud800",))
    write_records([odd], tmp_path / "a.jsonl", pictures="refer")
    assert RecordFile(tmp_path / "a.jsonl")[0].captions == ("\ud800",)
    with pytest.raises(InputError, match="the records k0 to k0 is no UTF-8"):
        write_records([odd], tmp_path / "a.parquet", pictures="refer")


# Shards


@pytest.mark.parametrize("suffix", KINDS)
def test_shards_are_one_sequence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train{suffix}"
    assert write_records(map(bare, range(7)), path, pictures="refer", shard_size=3) == 7
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        f"train-{number:06d}{suffix}" for number in range(3)
    ]
    keys = [f"k{number}" for number in range(7)]
    for place in (tmp_path, tmp_path / f"train-*{suffix}"):
        assert [one.key for one in stream_records(place)] == keys
        found = RecordFile(place)
        assert [found[index].key for index in range(7)] == keys
        assert [one.key for one in found] == keys
    with pytest.raises(InputError, match="is there already; remove its shards"):
        write_records([bare(0)], path, pictures="refer", shard_size=3)


def test_pattern_names_shards(tmp_path: Path) -> None:
    write_records([bare(0)], tmp_path / "a-%04d.tar", pictures="refer")
    assert [one.name for one in tmp_path.iterdir()] == ["a-0000.tar"]
    assert shard_path(Path("x/a-%03d-b.jsonl"), 12) == Path("x/a-012-b.jsonl")


def test_folders_that_mean_nothing_clear(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no records in"):
        list(stream_records(tmp_path))
    with pytest.raises(InputError, match="found no records in"):
        RecordFile(tmp_path / "a-*.tar")
    with pytest.raises(InputError, match="is no file; check the path"):
        RecordFile(tmp_path / "a.tar")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="unknown ending"):
        RecordFile(tmp_path / "a.txt")
    for suffix in (".jsonl", ".tar"):
        write_records([bare(0)], tmp_path / f"a{suffix}", pictures="refer")
    with pytest.raises(InputError, match=r"holds records as \.jsonl and \.tar; name the files"):
        RecordFile(tmp_path)


# Bad rows

GOOD = b'{"key": "a"}'


def test_bad_lines_are_told_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        b"\xef\xbb\xbf" + GOOD + b"\r",
        b"",
        b"   \r",
        b'{"key": "b", "oops": 1}',
        b'{"key": ',
        b"\xff\xfe",
        b"[" * 100_000,
        b"7",
        b'{"key": "c", "objects": [{"box": [0, 0, NaN, 1]}]}',
        b'{"key": "z"}',
    ]
    path.write_bytes(b"\n".join(lines))  # no line end behind the last
    with pytest.raises(InputError, match=r"a\.jsonl:4: unknown field 'oops'"):
        list(stream_records(path))
    bad = BadRows(1.0)
    assert [one.key for one in stream_records(path, bad)] == ["a", "z"]
    assert [(one.file, one.line) for one in bad.bad] == [
        (str(path), number) for number in (4, 5, 6, 7, 8, 9)
    ]
    assert bad.rows == 8
    rows = RecordFile(path)
    assert len(rows) == 8
    assert (rows[0].key, rows[7].key) == ("a", "z")
    with pytest.raises(InputError, match=r"a\.jsonl:5: no JSON") as caught:
        rows[2]
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"a\.jsonl:4: "):
        list(rows)


def test_too_many_bad_lines_stop_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((GOOD + b"\n") * 3 + b"junk\n" * 100 + (GOOD + b"\n") * 1000)
    bad = BadRows()
    with pytest.raises(InputError, match=r"of .* rows cannot be used, the first is .*a\.jsonl:4: "):
        list(stream_records(path, bad))
    assert bad.rows < 20


def test_packed_lines_are_streamed_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD + b"\n\njunk\n"))
    bad = BadRows(1.0)
    assert [one.key for one in stream_records(path, bad)] == ["a"]
    assert bad.bad[0].line == 3
    with pytest.raises(InputError, match="run: gunzip -k"):
        RecordFile(path)
    path.write_bytes(gzip.compress(os.urandom(5000))[:3000])
    with pytest.raises(InputError, match=r"cannot read .*a\.jsonl\.gz"):
        list(stream_records(path, BadRows(1.0)))


def test_bad_parquet_rows(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    rows = [
        {"key": "a", "pictures": [{"file": "a.png"}], PICTURES: [b"x"]},
        {"key": None},
        {"key": "b", PICTURES: [b"x", b"y"]},
        {"key": "c", "absent": ["x", ""]},
        {"key": "d"},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows, schema=record_schema()), path)
    bad = BadRows(1.0)
    assert [one.key for one in stream_records(path, bad)] == ["a", "d"]
    assert [one.line for one in bad.bad] == [2, 3, 4]
    with pytest.raises(InputError, match=r"a\.parquet:3: picture_bytes is no list of 0"):
        RecordFile(path)[2]


@pytest.mark.parametrize("suffix", [".parquet", ".tar"])
def test_damaged_files_are_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_records(map(bare, range(50)), path, pictures="refer")
    whole = path.read_bytes()
    for damaged in (b"", b"junk" * 400, whole[: len(whole) // 3 + 9]):
        path.write_bytes(damaged)
        for read in (RecordFile, lambda one: list(stream_records(one, BadRows(1.0)))):
            with pytest.raises(InputError, match=f"cannot read .*a\\{suffix}") as caught:
                read(path)
            assert "\n" not in str(caught.value)


# WebDataset


def members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def test_members_keep_the_convention(folder: Path) -> None:
    path = folder / "a.tar"
    records = [full(0), full(0), bare(1)]
    write_records(records, path, pictures="embed", root=folder)
    assert members(path) == [
        "000000000_set_a_000_.json",
        "000000000_set_a_000_.0.png",
        "000000000_set_a_000_.1.jpg",
        "000000001_set_a_000_.json",
        "000000001_set_a_000_.0.png",
        "000000001_set_a_000_.1.jpg",
        "000000002_k1.json",
    ]
    assert [one.key for one in RecordFile(path)] == [one.key for one in records]


def test_picture_without_an_ending_gets_that_of_its_bytes(tmp_path: Path) -> None:
    held = replace(bare(0), pictures=(PictureRef("139", data=encoded(0, "JPEG")),))
    write_records([held], tmp_path / "a.tar", pictures="embed")
    assert members(tmp_path / "a.tar")[1].endswith(".0.jpg")
    junk = replace(bare(0), pictures=(PictureRef("139", data=b"junk"),))
    with pytest.raises(ImageError, match="139 is not a picture"):
        write_records([junk], tmp_path / "b.tar", pictures="embed")


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # webdataset leaves its files open
def test_webdataset_reads_ours(folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    path = folder / "a.tar"
    write_records([full(0), bare(1), full(2)], path, pictures="embed", root=folder)
    found = list(webdataset.WebDataset(str(path), shardshuffle=False).decode("pil"))
    assert [one["json"]["key"] for one in found] == [full(0).key, "k1", full(2).key]
    assert found[2]["0.png"].getpixel((0, 0)) == (2, 90, 200)
    assert found[2]["1.jpg"].size == (9, 8)


def test_webdatasets_own_are_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    path = tmp_path / "a.tar"
    long = "folder.d/" + "ü" * 120
    with webdataset.TarWriter(str(path)) as writer:
        writer.write({"__key__": "n1", "json": {"key": "x"}, "jpg": encoded(0, "JPEG")})
        values = {"pictures": [{"file": "a"}, {"file": "b", "height": 20, "width": 30}]}
        writer.write({"__key__": long, "json": values, "1.png": encoded(5)})
        writer.write({"__key__": "n3", "json": {"captions": ["A cat."]}, "txt": "A cat."})
        writer.write({"__key__": "n4", "0.png": encoded(1)})
        writer.write({"__key__": "n5", "json": {}, "0.png": encoded(1), "png": encoded(1)})
        writer.write({"__key__": "n6", "json": {"pictures": [{"file": "a"}]}, "1.png": encoded(1)})
    bad = BadRows(1.0)
    found = list(stream_records(path, bad))
    assert [one.key for one in found] == ["x", long, "n3"]
    assert found[0].pictures[0].file == "n1.jpg"
    assert found[0].pictures[0].data == encoded(0, "JPEG")
    assert [one.data for one in found[1].pictures] == [None, encoded(5)]
    assert found[1].pictures[0].file == str(tmp_path / "a")
    assert [(one.line, one.problem[:20]) for one in bad.bad] == [
        (4, "group n4 has no .jso"),
        (5, "group n5 holds .0.pn"),
        (6, "group n6 holds pictu"),
    ]
    rows = RecordFile(path)
    assert len(rows) == 6
    assert told(rows[1]) == told(found[1])
    assert rows[2].captions == ("A cat.",)


@pytest.mark.parametrize(
    "form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=("u", "gnu", "pax")
)
def test_tars_of_all_forms(tmp_path: Path, form: int) -> None:
    path = tmp_path / "a.tar"
    name = "d/" * 10 + "n" * (70 if form == tarfile.USTAR_FORMAT else 150)
    with tarfile.open(path, "w", format=form) as tar:
        folder = tarfile.TarInfo("d")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        add(tar, "README", b"no part of a record")
        add(tar, "__note__.json", b"{}")
        for number in range(3):
            add(tar, f"{name}{number}.json", b"{}")
            tar.addfile(folder)
            add(tar, f"{name}{number}.PNG", encoded(number))
        add(tar, "twice.json", b"{}")
        add(tar, "twice.json", b"{}")
    rows = RecordFile(path)
    assert len(rows) == 4
    assert [rows[index].key for index in (2, 0, 1)] == [f"{name}{n}" for n in (2, 0, 1)]
    assert rows[2].pictures[0].data == encoded(2)
    with pytest.raises(InputError, match=r"a\.tar:4: twice\.json is there twice"):
        rows[3]


def test_large_numbers_and_strange_kinds_in_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        link = tarfile.TarInfo("a.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        add(tar, "b.json", GOOD)
    assert [one.key for one in stream_records(path)] == ["a"]


# By number, from anywhere


def keys_of(rows: RecordFile, indices: range) -> list[str]:
    return [rows[index].key for index in indices]


@pytest.mark.parametrize("suffix", KINDS)
def test_pickles_threads_and_processes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_records(map(bare, range(600)), path, pictures="refer")
    rows = RecordFile(path)
    assert rows[3].key == "k3"
    packed = pickle.dumps(rows)
    assert len(packed) < 20_000
    assert pickle.loads(packed)[599].key == "k599"
    wanted = [f"k{number}" for number in range(0, 600, 7)]
    found: dict[int, list[str]] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: keys_of(rows, range(0, 600, 7))}))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), wanted)
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(keys_of, (rows, range(0, 600, 7))) == wanted


def test_memory_of_a_stream_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    data = encoded(0) + b"\0" * 200_000
    held = replace(bare(0), pictures=(PictureRef("a.png", data=data),))
    for name, count in (("a", 5), ("b", 60)):
        write_records((held for _ in range(count)), tmp_path / f"{name}.tar", pictures="embed")
    peaks = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.tar"
        tracemalloc.start()
        for _ in stream_records(path):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


@pytest.mark.parametrize("suffix", KINDS)
def test_fingerprint_follows_the_data(tmp_path: Path, suffix: str) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        write_records(map(bare, range(5)), folder / f"a{suffix}", pictures="refer")
    first = RecordFile(one / f"a{suffix}").fingerprint
    assert len(first) == 64
    assert RecordFile(other).fingerprint == first
    os.utime(one / f"a{suffix}", (1, 1))
    assert RecordFile(one).fingerprint == first
    write_records([*map(bare, range(4)), bare(9)], other / f"a{suffix}", pictures="refer")
    assert RecordFile(other).fingerprint != first
    (one / f"a{suffix}").rename(one / f"b{suffix}")
    assert RecordFile(one).fingerprint != first


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for act in (
        lambda: RecordFile(tmp_path / "a.parquet"),
        lambda: list(stream_records(tmp_path / "a.parquet")),
        lambda: write_records([], tmp_path / "b.parquet", pictures="refer"),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'fo1\[train\]'"):
            act()
    assert [one.name for one in tmp_path.iterdir()] == ["a.parquet"]


def test_base64_in_lines(folder: Path) -> None:
    write_records([full(0)], folder / "a.jsonl", pictures="embed", root=folder)
    row = json.loads((folder / "a.jsonl").read_bytes())
    assert base64.b64decode(row["pictures"][0]["data"]) == encoded(0)
