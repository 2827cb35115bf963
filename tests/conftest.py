"""Commands run in this process, with a tiny model, for all tests of the command line."""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


def pytest_configure() -> None:
    """Listens to Ctrl-C also where the shell that started the tests in the background does not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Done:
    """What one command left behind."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def complaints(self) -> list[str]:
        """Lines on stderr that do not tell how far the run is."""
        return [line for line in self.err.splitlines() if " pictures" not in line]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a tiny model."""
    from tests import tiny  # what needs no model should not wait for torch

    path = tmp_path_factory.mktemp("model")
    tiny.make_model(score=True).save_pretrained(path)
    tiny.make_processor().save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def loaded(folder: Path) -> Any:
    """The tiny model in memory."""
    from fo1.pipeline import FO1

    return FO1.from_pretrained(folder, proposer="grid")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two pictures and boxes, which is the current one."""
    from tests import tiny

    tiny.picture(140, 112).save(tmp_path / "a.png")
    tiny.picture(84, 196, seed=1).save(tmp_path / "b.png")
    (tmp_path / "boxes.json").write_text("[[0, 0, 40, 40], [30, 30, 80, 100]]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fo1.pipeline.engine.MAX_NEW_TOKENS", 6)
    return tmp_path


@pytest.fixture
def run(
    place: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[str | list[str]], Done]:
    """Run words as a command with the tiny model."""
    from fo1.cli import main

    def call(words: str | list[str]) -> Done:
        words = words.split() if isinstance(words, str) else words
        takes_model = words and words[0][0] != "-" and "--model" not in words
        capsys.readouterr()
        status = main([*words, *(["--model", str(folder)] if takes_model else [])])
        return Done(status, *capsys.readouterr())

    return call


@pytest.fixture
def quick(run: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Like `run`, with the model in memory already."""
    monkeypatch.setattr("fo1.cli.work.FO1.from_pretrained", lambda *_, **__: loaded)
    return run
