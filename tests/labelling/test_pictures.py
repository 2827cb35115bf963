"""Which pictures a folder or a list means, in which order, under which names, and in which shards."""

import io
import json
import os
from pathlib import Path

import pytest

from fo1.errors import InputError
from fo1.labelling.pictures import (
    MOST_IN_SHARD,
    PictureList,
    list_pictures,
    read_shard,
    shared_label_files,
)


def listed(source: Path, out: Path | None = None, **options: object) -> PictureList:
    out = out or source.parent / "out"
    out.mkdir(exist_ok=True)
    file = io.BytesIO()
    pictures = list_pictures(source, out, file, **options)  # type: ignore[arg-type]
    pictures.file.write_bytes(file.getvalue())
    return pictures


def names(source: Path, **options: object) -> list[str]:
    return [one.name for one in listed(source, **options)]


def make(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")


def test_a_folder_is_walked_by_name(tmp_path: Path) -> None:
    make(tmp_path, "p/b.png", "p/a/2.JPG", "p/a/1.webp", "p/a.txt", "p/.hid.png", "p/.h/x.png")
    make(tmp_path, "p/c/deep/x.png", "p/dir.png/y.png")
    found = listed(tmp_path / "p")
    expected = ["b.png", "a/1.webp", "a/2.JPG", "c/deep/x.png", "dir.png/y.png"]
    assert [one.name for one in found] == expected
    assert [one.number for one in found] == [1, 2, 3, 4, 5]
    assert found.root == tmp_path / "p"
    assert (found.count, found.repeated) == (5, 0)


def test_what_a_run_writes_is_none_of_its_pictures(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "out/contact_sheet.jpg")
    assert names(tmp_path, out=tmp_path / "out") == ["a.png"]


def test_the_folder_of_the_pictures_is_not_that_of_the_run(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    with pytest.raises(InputError, match="is the folder of the pictures; give another"):
        listed(tmp_path, out=tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_linked_folders_are_walked_once(tmp_path: Path) -> None:
    make(tmp_path, "p/a/x.png", "far/y.png")
    (tmp_path / "p/b").symlink_to(tmp_path / "p")
    (tmp_path / "p/far").symlink_to(tmp_path / "far")
    assert names(tmp_path / "p") == ["a/x.png", "far/y.png"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_picture_and_a_dead_link_is_told_later(tmp_path: Path) -> None:
    make(tmp_path, "p/1.png")
    os.mkfifo(tmp_path / "p/2.png")
    (tmp_path / "p/3.png").symlink_to(tmp_path / "gone.png")
    assert names(tmp_path / "p") == ["1.png", "3.png"]


def test_lists_name_pictures(tmp_path: Path) -> None:
    lists = {
        "l.txt": "\ufeffb/1.png\n\n  a.png \nb/1.png\n",
        "l.csv": 'id,image\n1,b/1.png\n2,"a.png"\n3,./b/1.png\n',
        "l.jsonl": '"b/1.png"\n{"path": "a.png", "x": 1}\n{"image": "b/1.png"}\n',
        "l.json": json.dumps(
            {"images": [{"id": n, "file_name": f} for n, f in ((7, "b/1.png"), (3, "a.png"))]}
        ),
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = listed(tmp_path / name)
        assert [one.name for one in found] == ["b/1.png", "a.png"], name
        assert [one.number for one in found] == ([7, 3] if name == "l.json" else [1, 2])
        assert found.repeated == (0 if name == "l.json" else 1)
        assert found.root == tmp_path


def test_relative_paths_may_start_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("1.png\n")
    (tmp_path / "far").mkdir()
    found = listed(tmp_path / "l.txt", base=tmp_path / "far")
    assert [one.name for one in found] == ["1.png"]
    assert found.root == tmp_path / "far"


def test_pictures_outside_the_base_are_named_from_a_folder_above(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    here, there = tmp_path / "lists/1.png", tmp_path / "photos/a/2.png"
    (tmp_path / "lists/l.txt").write_text(f"1.png\n{there}\n../photos/3.png\n")
    found = listed(tmp_path / "lists/l.txt", out=tmp_path / "out")
    assert found.root == tmp_path
    paths = [found.root / one.name for one in found]
    assert paths == [here, there, tmp_path / "photos/3.png"]


def test_coco_ids_that_are_none_are_counted(tmp_path: Path) -> None:
    images = [{"id": "x", "file_name": "a.png"}, {"id": 4, "file_name": "b.png"}]
    (tmp_path / "l.json").write_text(json.dumps({"images": images}))
    assert [one.number for one in listed(tmp_path / "l.json")] == [1, 2]


@pytest.mark.parametrize(
    ("count", "batch", "size"),
    [(1, 1, 1), (64, 1, 1), (65, 1, 2), (300, 1, 5), (300, 8, 8), (5000, 7, 70), (5000, 1, 64)],
)
def test_shards_hold_all_pictures_once_in_whole_batches(
    tmp_path: Path, count: int, batch: int, size: int
) -> None:
    (tmp_path / "l.txt").write_text("".join(f"{n:05}.png\n" for n in range(count)))
    found = listed(tmp_path / "l.txt", batch_size=batch)
    assert found.in_shard == size
    assert size % batch == 0
    assert size < MOST_IN_SHARD + batch
    shards = [found.shard(number) for number in range(found.num_shards)]
    read = [one.name for shard in shards for one in read_shard(found.file, shard)]
    assert read == [f"{n:05}.png" for n in range(count)]
    assert [shard.count for shard in shards[:-1]] == [size] * (len(shards) - 1)


def test_the_digest_is_of_names_and_ids(tmp_path: Path) -> None:
    make(tmp_path, "p/a.png", "q/a.png")
    one, two = listed(tmp_path / "p"), listed(tmp_path / "q")
    assert one.digest == two.digest
    make(tmp_path, "q/b.png")
    assert listed(tmp_path / "q").digest != one.digest


def test_pictures_that_would_share_a_file_of_labels(tmp_path: Path) -> None:
    make(tmp_path, "p/a/1.png", "p/1.png", "p/2.png")
    assert shared_label_files(listed(tmp_path / "p")) is None
    make(tmp_path, "p/2.jpg")
    assert shared_label_files(listed(tmp_path / "p")) == ("2.jpg", "2.png")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("gone", None, "gone does not exist; give a folder of pictures or a list of them"),
        ("a.png", "", "a.png is a picture; give its folder, or use fo1 detect"),
        ("a.xls", "", "is no list of pictures; give a folder, or a file .txt, .csv, .jsonl, .json"),
        ("l.txt", " \n", "l.txt names no pictures"),
        ("l.txt", "https://a.b/c.png", "l.txt line 1: https://a.b/c.png is no file; download it"),
        ("l.txt", "a\0b", "l.txt line 1: 'a\\x00b' is no path of a picture"),
        ("l.csv", "id,name\n1,a.png\n", "l.csv has no column that names a picture; call it image"),
        ("l.csv", "id,image\n1\n", "l.csv line 2: None is no path"),
        ("l.csv", "", "l.csv has no column"),
        ("l.jsonl", "{", "l.jsonl line 1 is no JSON"),
        ("l.jsonl", "{}", "l.jsonl line 1 has no field that names a picture"),
        ("l.jsonl", "3", "l.jsonl line 1: 3 is no path"),
        ("l.json", "[]", "has no list 'images'"),
        ("l.json", '{"images": [3]}', "l.json line 1: None is no path"),
        ("l.json", '{"images": []}', "l.json names no pictures"),
    ],
)
def test_sources_that_cannot_be_used(
    tmp_path: Path, name: str, text: str | None, told: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        listed(tmp_path / name)
    assert told in str(caught.value)


def test_lists_that_are_no_text_and_folders_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"caf\xe9.png\n")
    with pytest.raises(InputError, match="give a list in UTF-8"):
        listed(tmp_path / "l.txt")
    (tmp_path / "p").mkdir()
    with pytest.raises(InputError, match="p holds no picture files"):
        listed(tmp_path / "p")
    with pytest.raises(InputError, match="whose pictures lie in it; leave --pictures out"):
        listed(tmp_path / "p", base=tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        listed(tmp_path / "l.txt", base=tmp_path / "none")
