"""Many pictures in one command: which are meant, how far it is told, and Ctrl-C at any moment."""

import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fo1.cli.interrupts import Interrupts
from fo1.cli.pictures import find_pictures
from fo1.cli.progress import Progress
from fo1.errors import InputError

SOURCE = Path(__file__).parents[1] / "src"
OWN_SIGNALS = pytest.mark.skipif(os.name == "nt", reason="signals are sent as on POSIX")


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


# Which pictures are meant.


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make(tmp_path, "p/a10.png", "p/a2.JPG", "p/B1.webp", "p/.hidden.png", "p/notes.txt")
    make(tmp_path, "p/deep/a1.png", "p/deep/.git/a.png", "p/x.png/inside.txt", "one[1].png")
    make(tmp_path, "one1.png", "none/readme.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["p"], ["p/a2.JPG", "p/a10.png", "p/B1.webp"]),
        (["p/"], ["p/a2.JPG", "p/a10.png", "p/B1.webp"]),
        (["p/*.png"], ["p/a10.png"]),
        (["p/*"], ["p/a2.JPG", "p/a10.png", "p/B1.webp"]),
        (["p/**"], ["p/a2.JPG", "p/a10.png", "p/B1.webp", "p/deep/a1.png"]),
        (["p/**/a*.png"], ["p/a10.png", "p/deep/a1.png"]),
        (["p/a[0-9].*"], ["p/a2.JPG"]),
        (["one[1].png"], ["one[1].png"]),  # a name that exists is no pattern
        (["one?.png"], ["one1.png"]),
        (["one*"], ["one1.png", "one[1].png"]),
        (["p/a10.png", "p", "./p/a10.png", "p/a10.png"], ["p/a10.png", "p/a2.JPG", "p/B1.webp"]),
        (["gone.png", "p/notes.txt"], ["gone.png", "p/notes.txt"]),
        (["https://a.b/c?d=*", "data:image/png,*"], ["https://a.b/c?d=*", "data:image/png,*"]),
        ([""], [""]),
        (["\0"], ["\0"]),
    ],
)
def test_words_become_pictures(files: Path, words: list[str], expected: list[str]) -> None:
    found = [name.replace(os.sep, "/") for name in find_pictures(words)]
    assert found == expected


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_links_are_followed_once(files: Path) -> None:
    for number in range(3):  # each way into the loop leads to all of them
        (files / f"p/deep/loop{number}").symlink_to(files / "p")
    (files / "p/a0.png").symlink_to(files / "p/a10.png")
    make(files.parent / f"{files.name}-far", "far1.png", "deep/far2.png")
    (files / "p/far").symlink_to(files.parent / f"{files.name}-far")
    near = ["p/a10.png", "p/deep/a1.png"]
    assert find_pictures(["p/**/*.png"]) == (*near, "p/far/deep/far2.png", "p/far/far1.png")
    assert find_pictures(["**/a*.png"]) == tuple(near)
    assert find_pictures(["p/**/deep/**/a*.png"]) == ("p/deep/a1.png", "p/deep/loop0/a10.png")
    assert find_pictures([f"{files}/**/one?.png"]) == (f"{files}/one1.png",)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("none", "folder none holds no picture files; give another, or 'none/**' to look into"),
        ("p/*.tif", "no picture file matches 'p/*.tif'; check the path"),
        ("none/*", "no picture file matches 'none/*'"),
        ("p/deep/.*", "no picture file matches"),
    ],
)
def test_words_that_mean_no_picture(files: Path, word: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        find_pictures(["p", word])
    assert told in str(caught.value).replace(os.sep, "/")


def test_a_folder_that_may_not_be_read(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(InputError, match=r"folder p cannot be read \(Permission denied\); change"):
        find_pictures(["p"])


def test_folders_and_patterns_give_rows_and_saved_pictures(quick: Any, place: Path) -> None:
    (place / "sub").mkdir()
    (place / "sub/A.png").write_bytes((place / "b.png").read_bytes())
    (place / "bad.png").write_bytes(b"no picture")
    (place / "out").mkdir()
    done = quick("detect . sub sub/*.png -q cat --boxes boxes.json --json --save out")
    assert [row["image"].replace(os.sep, "/") for row in done.rows] == [
        *("a.png", "b.png", "bad.png", "sub/A.png"),
    ]
    assert ["error" in row for row in done.rows] == [False, False, True, False]
    assert done.status == 1
    # Some disks take A and a for one name.
    assert {path.name for path in (place / "out").iterdir()} == {"a.png", "b.png", "A_2.png"}


def test_many_equal_names_are_numbered_in_no_time(files: Path) -> None:
    from fo1.cli.job import save_targets

    names = [f"{number}/image.png" for number in range(5000)] + ["x/image_2.png", "y/IMAGE.png"]
    begun = time.perf_counter()
    targets = save_targets("p/", names)
    assert time.perf_counter() - begun < 5
    assert len({str(target).casefold() for target in targets}) == len(names)
    assert targets[:2] == (Path("p/image.png"), Path("p/image_2.png"))


# How far it is told.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that only runs when told to."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fo1.cli.progress.time", clock)
    return clock


def test_elsewhere_than_on_terminals_a_line_now_and_then(clock: Clock) -> None:
    err = io.StringIO()
    with Progress(100, err) as progress:
        for number in range(100):
            clock.now += 0.5
            with progress.aside():
                progress.step(failed=number in (3, 50))
    assert err.getvalue().splitlines() == [
        "fo1: 100 pictures",
        "fo1: 20 of 100 pictures, 1 failed, 00:10 passed, 2 per second, 00:40 left",
        "fo1: 40 of 100 pictures, 1 failed, 00:20 passed, 2 per second, 00:30 left",
        "fo1: 60 of 100 pictures, 2 failed, 00:30 passed, 2 per second, 00:20 left",
        "fo1: 80 of 100 pictures, 2 failed, 00:40 passed, 2 per second, 00:10 left",
        "fo1: 100 of 100 pictures, 2 failed, 00:50 passed",
    ]


@pytest.mark.parametrize("err", [io.StringIO(), Terminal()])
def test_one_picture_needs_no_progress(err: io.StringIO) -> None:
    with Progress(1, err) as progress, progress.aside():
        progress.step(failed=True)
    assert err.getvalue() == ""
    assert progress.failed == 1


def test_a_terminal_shows_a_bar_that_steps_aside() -> None:
    err = Terminal()
    with Progress(3, err) as progress:
        for number in range(3):
            with progress.aside():
                err.write(f"note {number}\n")
                progress.step(failed=number == 1)
    shown = err.getvalue()
    for number in range(3):  # nothing stands before a note, not even the rest of a bar
        assert re.search(rf"(^|\r) *\rnote {number}\n", shown)
    last = shown.rstrip("\n").rpartition("\r")[2]
    assert last.startswith("3/3 pictures |")
    assert last.endswith("1 failed")
    assert re.search(r"\d\d:\d\d<\d\d:\d\d, .*/s", last)


def test_rows_stay_clean_and_the_end_is_told(quick: Any) -> None:
    done = quick("detect a.png gone.png b.png -q cat --boxes boxes.json --json")
    assert [row["image"] for row in done.rows] == ["a.png", "gone.png", "b.png"]
    lines = done.err.splitlines()
    assert lines[0] == "fo1: 3 pictures"
    assert lines[-1].startswith("fo1: 3 of 3 pictures, 1 failed")
    assert quick("detect a.png -q cat --boxes boxes.json --json").err == ""


# Ctrl-C.


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_waits_for_what_is_held_and_is_handed_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    written = []

    def write() -> None:
        with interrupts.held():
            press()
            press()  # of the same moment
            written.append("whole")

    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            write()
        assert not interrupts.hurried
    assert written == ["whole"]
    assert signal.getsignal(signal.SIGINT) is before
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        press()


def test_a_later_ctrl_c_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("fo1.cli.interrupts.time", clock)
    written = []

    def write() -> None:
        with interrupts.held():
            press()
            clock.now += 2
            press()
            written.append("never")

    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            write()
        assert interrupts.hurried
    assert written == []


def test_handlers_of_others_stay() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in background jobs
        with Interrupts() as interrupts, interrupts.held():
            press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    failures: list[BaseException] = []

    def elsewhere() -> None:
        try:
            with Interrupts() as interrupts, interrupts.held():
                pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert failures == []


def test_ctrl_c_while_a_picture_is_worked_on(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fo1.imaging import load_image

    def load(name: str) -> Image.Image:
        if name == "b.png":
            press()
        return load_image(name)

    monkeypatch.setattr("fo1.cli.work.load_image", load)
    done = quick("detect a.png b.png gone.png -q cat --boxes boxes.json --json")
    assert [row["image"] for row in done.rows] == ["a.png"]
    assert done.status == 130
    assert done.err.splitlines() == [
        "fo1: 3 pictures",
        "fo1: stopped after 1 of 3 pictures; their rows are complete",
    ]


def test_ctrl_c_while_a_row_is_written(
    quick: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fo1.visualize import save_picture

    def save(*arguments: Any) -> Path:
        press()
        return save_picture(*arguments)

    monkeypatch.setattr("fo1.cli.work.save_picture", save)
    (place / "out").mkdir()
    done = quick("detect a.png b.png -q cat --boxes boxes.json --json --save out")
    assert [row["image"] for row in done.rows] == ["a.png"]
    assert done.status == 130
    assert "stopped after 1 of 2 pictures; their rows are complete" in done.err
    assert [path.name for path in (place / "out").iterdir()] == ["a.png"]
    Image.open(place / "out/a.png").load()


def test_what_ctrl_c_breaks_is_no_failure_of_the_picture(
    quick: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallow(*_: object) -> None:
        try:
            press()
        except KeyboardInterrupt:
            raise RuntimeError("a library turned it into this") from None

    monkeypatch.setattr("fo1.cli.work.load_image", swallow)
    done = quick("detect a.png b.png -q cat --boxes boxes.json --json")
    assert (done.status, done.out) == (130, "")
    assert "stopped after 0 of 2 pictures" in done.err


def test_a_save_that_is_stopped_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fo1.visualize import save_picture

    def stop(self: Image.Image, stream: Any, *_: object, **__: object) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        save_picture(Image.new("RGB", (4, 4)), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


CHILD = """
import signal, sys, time
from pathlib import Path
from fo1.cli import main
from fo1.pipeline import FO1

class Slow:
    def __init__(self, file):
        self.file = file
    def write(self, text):
        for start in range(0, len(text), 100):
            self.file.write(text[start : start + 100])
            self.file.flush()
            time.sleep(0.002)
    def flush(self):
        self.file.flush()

loaded = FO1.from_pretrained(sys.argv[1], proposer="grid")
FO1.from_pretrained = lambda *_, **__: loaded
screen, stdin = sys.stdout, sys.stdin
for number in range(int(sys.argv[2])):
    with open(f"{number}.out", "w") as out, open(f"{number}.err", "w") as sys.stderr:
        sys.stdout = Slow(out)
        stdin.readline()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        screen.write("begun\\n")
        screen.flush()
        try:
            status = main("detect pictures -q cat --boxes boxes.json --json --save out".split())
        except KeyboardInterrupt:  # behind the command
            status = "late"
        sys.stderr = sys.__stderr__  # one that comes between two handlers is told by the interpreter
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    screen.write(f"{status}\\n")
    screen.flush()
sys.stdout, sys.stderr = screen, sys.__stderr__
"""


@OWN_SIGNALS
def test_ctrl_c_at_any_moment_leaves_whole_rows_and_pictures(folder: Path, place: Path) -> None:
    """A process that runs command after command gets Ctrl-C at random times, often several.

    Its rows go to a slow stream in pieces, so that half a row could be seen.
    """
    rounds, total, dice = 25, 40, random.Random(5)
    (place / "pictures").mkdir()
    (place / "out").mkdir()
    for number in range(total):
        (place / f"pictures/{number}.png").write_bytes((place / "a.png").read_bytes())
    stopped, lengths = 0, set()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(rounds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for number in range(rounds):
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "begun\n"
            written = place / f"{number}.out"
            # Not before so many rows, or else how far it gets would hang on the machine's speed.
            end = time.monotonic() + 60
            while time.monotonic() < end and written.read_text().count("\n") < number % 8:
                time.sleep(0.001)
            for _ in range(dice.randint(1, 6)):
                time.sleep(dice.random() ** 3 * 0.4)
                child.send_signal(signal.SIGINT)
            status = child.stdout.readline().strip()
            rows = [json.loads(line) for line in written.read_text().splitlines()]
            assert [row["image"] for row in rows] == [
                os.path.join("pictures", f"{place}.png") for place in range(len(rows))
            ]
            told = (place / f"{number}.err").read_text().splitlines()
            assert "Traceback" not in "".join(told)
            if status == "130":
                stopped += 1
                lengths.add(len(rows))
                said = "fo1: stopped"  # the pictures were not begun
                if len(told) > 1:
                    said += f" after {len(rows)} of {total} pictures; their rows are complete"
                assert told[-1] == said
            else:
                assert status in ("0", "late")
            for path in (place / "out").iterdir():
                assert path.suffix == ".png"
                Image.open(path).load()
    assert child.returncode == 0
    assert stopped > rounds / 2
    assert len(lengths) > 5


@OWN_SIGNALS
def test_a_process_that_is_stopped_says_so(folder: Path, place: Path) -> None:
    names = [f"{number}.png" for number in range(300)]
    for name in names:
        (place / name).write_bytes((place / "a.png").read_bytes())
    command = [sys.executable, "-m", "fo1", "detect", *names, "-q", "cat", "--json"]
    with subprocess.Popen(
        [*command, "--boxes", "boxes.json", "--model", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest, err = child.communicate(timeout=60)
    rows = [json.loads(line) for line in (first + rest).splitlines()]
    assert child.returncode == 130
    told = f"fo1: stopped after {len(rows)} of 300 pictures; their rows are complete"
    assert err.splitlines() == ["fo1: 300 pictures", told]
