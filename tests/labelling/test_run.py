"""`fo1 label` from the words to the files, killed and not, alone and in processes, with a tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import torch

from fo1.errors import CheckpointError, InputError
from fo1.labelling.labeller import Labeller, LabellingError, Work, _ahead
from fo1.labelling.pictures import Picture, Shard
from fo1.labelling.processes import _receive, _send, label_in_processes, usual_count
from fo1.labelling.rows import Tally
from fo1.labelling.run import Run, begin, check_formats, finish, label
from fo1.pipeline import FO1
from tests import tiny

ROOT = Path(__file__).parents[2]
FORMATS = ("coco", "yolo", "labelme", "voc", "jsonl", "parquet")
COUNT = 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in two folders, and two that are none."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        path = root / str(number % 2) / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        tiny.picture(60 + number, 50, seed=number).save(path)
    (root / "0/bad.jpg").write_bytes(b"no picture")
    (root / "1/cut.png").write_bytes((root / "1/01.png").read_bytes()[:60])
    return root


@pytest.fixture
def work(folder: Path, tmp_path: Path) -> Work:
    return Work(out=tmp_path / "out", model=str(folder), queries=("cat", "cup"), proposer="grid")


@pytest.fixture
def in_memory(loaded: FO1, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the model in memory; the list fills with how often it was asked for."""
    asked: list[str] = []

    def load(name: str, **_: Any) -> FO1:
        asked.append(name)
        return loaded

    monkeypatch.setattr("fo1.labelling.labeller.FO1.from_pretrained", load)
    return asked


def go(work: Work, source: Path, formats: tuple[str, ...] = FORMATS, **options: Any) -> Run:
    with begin(work, source) as run:
        list(label(run, **options))
        finish(run, formats)
    return run


def contents(out: Path) -> dict[str, bytes]:
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and not path.is_symlink())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def reference(photos: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an uninterrupted run in one process writes."""
    out = tmp_path_factory.mktemp("reference") / "out"
    go(Work(out=out, model=str(folder), queries=("cat", "cup"), proposer="grid"), photos)
    return out


def test_rows_are_what_the_model_says_of_each_picture(
    reference: Path, photos: Path, loaded: FO1
) -> None:
    """The oracle asks picture by picture, without shards, batches or files."""
    rows = [json.loads(line) for line in (reference / "labels.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == sorted(f"{n % 2}/{n:02}.png" for n in range(COUNT))
    for row in rows:
        found = loaded.detect(str(photos / row["image"]), ["cat", "cup"], proposer="grid")
        assert row["detections"] == found.to_dicts()
        assert (row["height"], row["width"]) == found.image_size
    assert sum(len(row["detections"]) for row in rows) > COUNT
    broken = [json.loads(line) for line in (reference / "broken.jsonl").read_text().splitlines()]
    assert [row["image"] for row in broken] == ["0/bad.jpg", "1/cut.png"]
    assert "is not a picture that can be read" in broken[0]["error"]
    summary = json.loads((reference / "summary.json").read_text())
    assert (summary["pictures"], summary["broken"]) == (COUNT, 2)
    assert summary["boxes"] == sum(len(row["detections"]) for row in rows)
    assert (reference / "contact_sheet.jpg").stat().st_size > 5000


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_killed_again_and_again_it_writes_the_same_files(
    reference: Path, photos: Path, folder: Path, tmp_path: Path
) -> None:
    words = ["label", str(photos), "-q", "cat;cup", "--model", str(folder), "--proposer", "grid"]
    words += ["--out", str(tmp_path / "out"), "--format", ",".join(FORMATS), "--processes", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.labelling.killed", "3", "7", *words],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))},
    )
    told = json.loads(done.stdout.splitlines()[-1]) if done.stdout else done.stderr
    assert told["status"] == 1, done.stderr  # two pictures are broken
    assert 0 < told["left"][0] < told["left"][1] < told["left"][2] <= COUNT + 2
    assert contents(tmp_path / "out") == contents(reference)


def test_processes_write_the_same_files(reference: Path, photos: Path, work: Work) -> None:
    run = go(work, photos, processes=2)
    assert len(run.missing) == COUNT + 2
    assert contents(work.out) == contents(reference)


def test_the_files_of_ray_are_the_same(reference: Path, photos: Path, work: Work) -> None:
    pytest.importorskip("ray", reason="an extra: pip install 'fo1[ray]'")
    go(work, photos, processes=2, ray=True)
    assert contents(work.out) == contents(reference)


def test_another_format_needs_no_model(
    reference: Path, photos: Path, work: Work, in_memory: list[str]
) -> None:
    (photos / "0/bad.jpg").rename(photos.parent / "bad")
    (photos / "1/cut.png").rename(photos.parent / "cut")
    try:
        go(work, photos, ("jsonl",))
        assert len(in_memory) == 1
        run = go(work, photos, ("coco", "yolo"))
        assert (run.found, run.missing, len(in_memory)) == (COUNT, (), 1)
        made, wanted = contents(work.out), contents(reference)
        assert all(made[name] == wanted[name] for name in made if name.startswith("yolo/labels"))
    finally:
        (photos.parent / "bad").rename(photos / "0/bad.jpg")
        (photos.parent / "cut").rename(photos / "1/cut.png")


def test_pictures_that_failed_are_tried_again(
    photos: Path, work: Work, in_memory: list[str], tmp_path: Path
) -> None:
    root = tmp_path / "few"
    root.mkdir()
    (root / "a.png").write_bytes((photos / "0/00.png").read_bytes())
    (root / "b.png").write_bytes(b"")
    run = go(work, root, ("jsonl",))
    assert run.found == 0
    assert "b.png is empty" in (work.out / "broken.jsonl").read_text()
    (root / "b.png").write_bytes((photos / "0/02.png").read_bytes())
    run = go(work, root, ("jsonl",))
    assert (run.found, len(run.missing)) == (1, 1)
    assert (work.out / "broken.jsonl").read_text() == ""
    assert len((work.out / "labels.jsonl").read_text().splitlines()) == 2


def test_a_batch_does_not_suffer_from_one_of_its_pictures(
    reference: Path, photos: Path, work: Work, loaded: FO1, in_memory: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    detect, sizes = loaded.detect, list[int]()

    def fail(images: list[Any], *words: Any, **options: Any) -> Any:
        sizes.append(len(images))
        if any(image.width == 63 for image in images):
            raise RuntimeError("too\nstrange")
        return detect(images, *words, **options)

    monkeypatch.setattr(loaded, "detect", fail)
    go(replace(work, batch_size=4), photos, ("jsonl",))
    assert max(sizes) == 4
    broken = [json.loads(line) for line in (work.out / "broken.jsonl").read_text().splitlines()]
    assert [row["image"] for row in broken] == ["0/bad.jpg", "1/03.png", "1/cut.png"]
    assert broken[1]["error"] == "RuntimeError: too strange"
    rows = (work.out / "labels.jsonl").read_text().splitlines()
    wanted = (reference / "labels.jsonl").read_text().splitlines()
    assert rows == [row for row in wanted if '"1/03.png"' not in row]


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_short_memory_ends_the_run(
    photos: Path, work: Work, loaded: FO1, in_memory: list[str], monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
) -> None:  # fmt: skip
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(loaded, "detect", fail)
    with pytest.raises(LabellingError, match="give a smaller --batch-size"):
        go(work, photos)
    assert not list((work.out / "parts").glob("*/*"))


def test_other_settings_pictures_and_runs_are_refused(
    photos: Path, work: Work, in_memory: list[str], tmp_path: Path
) -> None:
    with begin(work, photos):
        listed = (work.out / "pictures.jsonl").read_bytes()
        with pytest.raises(InputError, match="another run is writing"), begin(work, photos):
            pass
    for other, told in (
        (replace(work, queries=("cat",)), r"a run with queries \"\['cat', 'cup'\]\", this one has"),
        (replace(work, threshold=0.3), r"with threshold 'None', this one has '0.3'; give --out"),
        (replace(work, batch_size=2), "with batch size '1', this one has '2'"),
        (replace(work, proposer=None), "with proposer 'grid', this one has 'None'"),
        (replace(work, model="nano"), "with model "),
    ):
        with pytest.raises(InputError, match=told), begin(other, photos):
            pass
    with (
        pytest.raises(InputError, match="with number of pictures '22', this one has '11'"),
        begin(work, photos / "0"),
    ):
        pass
    assert (work.out / "pictures.jsonl").read_bytes() == listed
    assert sorted(path.name for path in work.out.iterdir()) == ["pictures.jsonl", "settings.json"]


def test_rows_that_somebody_changed_are_made_again_or_told(
    photos: Path, work: Work, in_memory: list[str]
) -> None:
    go(work, photos / "0", ("jsonl",))
    before = contents(work.out)
    one, two = sorted((work.out / "parts/0000").iterdir())[:2]
    one.write_bytes(b"")
    (work.out / f"coco.json.{one.name}.7.new").write_bytes(b"left by a process that was killed")
    (work.out / "my.old").write_bytes(b"somebody's own")
    again = go(work, photos / "0", ("jsonl",))
    assert set(again.missing) - set(again.missing[1:]) == {0}
    (work.out / "my.old").unlink()
    assert contents(work.out) == before
    two.write_bytes(one.read_bytes())
    with (
        pytest.raises(InputError, match=r"00000001\.jsonl is damaged; delete it"),
        begin(work, photos / "0") as damaged,
    ):
        finish(damaged, ("jsonl",))


def test_label_files_that_two_pictures_would_share(work: Work, tmp_path: Path) -> None:
    for name in ("p/1.png", "p/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with begin(work, tmp_path / "p") as run:
        check_formats(run.pictures, ("coco", "parquet"))
        with pytest.raises(
            InputError, match=r"1\.jpg and 1\.png would have one file of labels in voc"
        ):
            check_formats(run.pictures, ("coco", "voc"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("images/1.png", "lies in a folder called images"),
        ("a\nb.png", "cannot stand in yolo's list"),
    ],
)
def test_pictures_that_readers_of_yolo_would_not_find(
    name: str, words: str, work: Work, tmp_path: Path
) -> None:
    path = tmp_path / "p" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    (tmp_path / "p/other.png").write_bytes(b"")
    with begin(work, tmp_path / "p") as run:
        check_formats(run.pictures, ("coco", "labelme", "voc"))
        with pytest.raises(InputError, match=words):
            check_formats(run.pictures, ("coco", "yolo"))


def test_a_folder_of_somebody_else_is_left_alone(photos: Path, work: Work) -> None:
    (work.out / "yolo").mkdir(parents=True)
    (work.out / ".hidden").touch()
    (work.out / "pictures.jsonl.host.3.new").touch()
    with pytest.raises(
        InputError, match="out holds yolo and no run of fo1 label; give --out a new"
    ):
        go(work, photos)
    (work.out / "yolo").rmdir()
    with begin(work, photos) as run:
        assert len(run.missing) == COUNT + 2


def test_one_batch_is_read_ahead_and_no_more(
    photos: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr("fo1.labelling.labeller.load_image", lambda path: read.append(path) or path)
    pictures = [Picture(f"{number}.png", number) for number in range(20)]
    seen = 0
    for places, images in _ahead(replace(work, batch_size=3), pictures, range(20)):
        assert list(places) == list(range(seen, min(20, seen + 3)))
        assert images == [work.root / pictures[place].name for place in places]
        seen += len(places)
        time.sleep(0.01)
        assert seen <= len(read) <= seen + 3
    assert len(read) == 20


class Dead:
    exitcode = -signal.SIGTERM

    def join(self) -> None: ...


def test_what_processes_say(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Pipe()
    for told in (Tally(3, 1), None):
        theirs.send(told)
        assert _receive(ours, Dead()) == told  # type: ignore[arg-type]
    theirs.send(CheckpointError("no weights"))
    with pytest.raises(CheckpointError, match="no weights"):
        _receive(ours, Dead())  # type: ignore[arg-type]
    theirs.close()
    for say in (_receive, lambda *who: _send(*who, Shard(0, 0, 1))):
        with pytest.raises(LabellingError, match="ended with SIGTERM; the same command goes on"):
            say(ours, Dead())  # type: ignore[arg-type]


def test_without_shards_no_process_starts(work: Work) -> None:
    assert list(label_in_processes(work, iter(()), 3)) == []


def test_a_process_computes_with_one_thread_or_as_told(
    photos: Path, work: Work, in_memory: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, threads = torch.get_num_threads(), list[int]()
    monkeypatch.setattr(Labeller, "label", lambda *_: threads.append(torch.get_num_threads()) or ())
    for told, expected in (("", 1), ("3", 3), ("many", 1), ("0", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        threads.clear()
        with begin(work, photos) as run:
            list(label(run))
        assert set(threads) == {expected}
        assert torch.get_num_threads() == before


def test_processes_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 5)
    assert usual_count(None) == 5
    assert usual_count("cuda:1") == 1
    assert 1 <= usual_count("cpu") <= 8
