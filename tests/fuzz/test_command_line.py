"""Any words give a status that is documented and one line of complaint, never a traceback."""

import io
import sys
import types
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example
from hypothesis import strategies as st

from fo1.cli import main
from fo1.cli.arguments import build_parser, parse
from fo1.cli.job import Job, plan
from fo1.errors import FO1Error
from fo1.prompts import Task
from tests.fuzz.budget import assert_one_line, fuzz
from tests.fuzz.texts import HOSTILE

TASKS = [str(task) for task in Task]
OPTIONS = (
    *("-q", "--query", "--boxes", "--proposer", "--region", "--detail", "--model", "--device"),
    *("--threshold", "--save", "--json", "--", "-", "-h", "--help", "--version", "-qcat"),
    *("--query=", "--query=dog; cat", "--json=1", "--region=-1", "--no", "-x", "-qq", "--regio"),
)
VALUES = (
    *("a.png", "b.png", "boxes.json", "bad.json", "none.json", "folder", "found/{stem}.png", "."),
    *("folder/{index}.jpg", "{stem}", "{stem}.png", "..", "/", "folder/", "x.png", "x.xyz", ""),
    *("cat", "cat; dog", ";", "0", "1", "-1", "0.5", "nan", "1e400", "9" * 5000, "x" * 300),
    *("brief", "detailed", "grid", "nano", "cpu", "why <region1>?", "<region9>", "\u0663", "*.png"),
    *("a\nb", "\x00", "\udcff", "folder/\x00{stem}.png", f"{'y' * 300}.png", "%s", "{}", "~", "[a"),
)
WORDS = st.lists(st.one_of(st.sampled_from(OPTIONS), st.sampled_from(VALUES), HOSTILE), max_size=10)
# Commands that look at the installation or write files are tried elsewhere.
COMMANDS = st.one_of(st.sampled_from(TASKS), st.sampled_from(["", "--json", "detekt", "\n", "-"]))
SENSIBLE = st.tuples(
    st.sampled_from([[task, "a.png", "-q", "cat", "--region", "0"] for task in TASKS]),
    st.lists(st.sampled_from(OPTIONS + VALUES), max_size=4),
).map(lambda pair: [*pair[0], *pair[1]])


@dataclass
class Done:
    status: int
    out: str
    err: str


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with pictures and boxes, which is the current one, and no model behind the words."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "folder").mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"never opened")
    (folder / "boxes.json").write_text("[[0, 0, 9, 9], [1, 1, 5, 5]]")
    (folder / "bad.json").write_text("[[0, 0, 9]]")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stub = types.ModuleType("fo1.cli.work")
        stub.work = lambda job, out, err, *_, **__: 0  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "fo1.cli.work", stub)
        patch.setattr("fo1.cli.tell_missing", stub.work)
        yield folder


def run(words: list[str]) -> Done:
    out, err = io.StringIO(), io.StringIO()
    stdin = types.SimpleNamespace(buffer=io.BytesIO(b"[[0, 0, 9, 9]]"))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("sys.stdin", stdin)
        status = main(words)
    return Done(status, out.getvalue(), err.getvalue())


@fuzz(
    st.one_of(SENSIBLE, st.tuples(COMMANDS, WORDS).map(lambda pair: [pair[0], *pair[1]])),
    examples=80,
)
@example([])
@example(["detect", "a.png", "-q", "cat", "--threshold", "9" * 5000])
@example(["describe", "--", "-h"])
@example(["detect", "a.png", "-q", "cat", "--save", "x" * 300])
@example(["detect", "a.png", "-q", "cat", "--save", f"{'y' * 300}/a.png"])
@example(["detect", "a.png", "b.png", "-q", "cat", "--save", "9" * 5000])
@example(["detect", "a.png", "-q", "cat", "--save", "\x00.png"])
@example(["detect", "\x00", "-q", "cat", "--save", "a.png"])
@example(["detect", "a.png", "-q", "cat", "--boxes", "\x00"])
@example(["detect", "a.png", "-q", "cat", "--boxes", "a\nb"])
@example(["detect", "a.png", "-q", "cat", "--no\nsuch"])
@example(["detect", "a.png", "-q", "cat", "--proposer", "a\nb"])
@example(["detect", "a.png", "b.png", "-q", "cat", "--save", "a\nb.png"])
def test_any_words_give_a_known_status_and_at_most_one_line(words: list[str]) -> None:
    if "doctor" in words[:1] or "--debug" in words:
        return
    done = run(words)
    assert done.status in (0, 2)  # 1 is for pictures that failed, and none was tried
    lines = done.err.splitlines()
    if done.status:
        assert len(lines) == 1
        assert lines[0].startswith("fo1: ")
        assert len(lines[0]) < 800
        assert done.out == ""
    else:
        assert done.err == ""
        options = words[: words.index("--")] if "--" in words else words
        assert bool(done.out) == any(word in options for word in ("-h", "--help", "--version"))
    assert "Traceback" not in done.err
    assert "run it again" not in done.err


@fuzz(SENSIBLE, examples=60)
def test_a_plan_is_complete(words: list[str]) -> None:
    """What `plan` lets through holds one target per picture, all different, none a source."""
    stdin = types.SimpleNamespace(buffer=io.BytesIO(b"[[0, 0, 9, 9]]"))
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
            patch.setattr("sys.stdin", stdin)
            job = plan(parse(build_parser(), words))
    except SystemExit:  # after --help and --version
        return
    except FO1Error as error:
        assert_one_line(error)
        return
    assert isinstance(job, Job)
    assert job.images
    assert len(job.targets) == len(job.images)
    targets = [target.resolve() for target in job.targets if target is not None]
    assert len(set(targets)) == len(targets)
    assert not set(targets) & {Path(image).resolve() for image in job.images}
    assert job.threshold is None or 0 <= job.threshold <= 1
    assert all(region >= 0 for region in job.regions or ())
    assert len(set(job.queries)) == len(job.queries)
    assert job.task is Task(words[0])
    if job.boxes is not None and job.regions is not None:
        assert max(job.regions) < len(job.boxes)
