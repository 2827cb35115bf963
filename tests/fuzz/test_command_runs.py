"""A run over pictures of any name, with a model that fails in any way: one line per picture."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example
from hypothesis import strategies as st
from PIL import Image

from fo1.cli import main
from fo1.cli.pictures import find_pictures
from fo1.errors import InputError, QueryError
from tests.fuzz.budget import assert_one_line, fuzz
from tests.fuzz.texts import HOSTILE

NAMES = st.one_of(
    HOSTILE, st.sampled_from(["a.png", "b.png", "none.png", "a\nb", "\x00", "\udcff"])
)
# A word of a command that begins with a dash is an option.
IMAGES = st.lists(NAMES.filter(lambda name: name[:1] != "-"), min_size=1, max_size=4)
ERRORS = st.sampled_from([RuntimeError, ValueError, KeyError, MemoryError, OSError, QueryError])


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two pictures, which is the current one."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6)).save(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@fuzz(IMAGES, ERRORS, HOSTILE, st.booleans())
@example(["a\nb"], RuntimeError, "", False)
@example(["a.png"], RuntimeError, "two\nlines", True)
def test_every_failure_is_one_line_and_one_row(
    images: list[str], kind: type[Exception], message: str, as_json: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind(message)

    model = SimpleNamespace(name="m", get_proposer=lambda: None, propose=fail, encode=fail)
    out, err = io.StringIO(), io.StringIO()
    words = ["detect", *images, "-q", "cat", *(["--json"] if as_json else [])]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("fo1.cli.work.FO1.from_pretrained", lambda *_, **__: model)
        status = main(words)
    lines = err.getvalue().splitlines()
    assert all(line.startswith("fo1: ") for line in lines)
    if status == 2:
        assert len(lines) == 1
        return
    assert status == 1
    count = len(find_pictures(images))
    progress = [line for line in lines if line.endswith("pictures") or " pictures, " in line]
    assert len(lines) == count + (2 if count > 1 else 0) or len(lines) == count + len(progress)
    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [row["image"] for row in rows] == (list(find_pictures(images)) if as_json else [])


@fuzz(
    st.lists(st.one_of(NAMES, st.sampled_from(["*", "?.png", "[ab].png", "**", "."])), max_size=4)
)
def test_any_words_mean_pictures_or_one_line(words: list[str]) -> None:
    try:
        found = find_pictures(words)
    except InputError as error:
        assert_one_line(error)
        return
    assert len(set(found)) == len(found)
    assert find_pictures(found) == found
    for word in words:
        if word in ("*", "**", "."):
            assert {Path(name).name for name in found} >= {"a.png", "b.png"}
