"""The README's code runs, its commands exist, its links lead somewhere, its comments are true."""

import re
from pathlib import Path

import pytest

from fo1 import Answer
from fo1.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_gives_what_its_comments_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code = re.search(r"```python\n(.*?)```", README, re.S)
    assert code is not None
    names: dict[str, object] = {}
    results = []
    for line in code[1].splitlines():
        statement = line.split("  #")[0].strip()
        if statement.startswith("scene."):
            results.append(eval(statement, names))
        else:
            exec(statement, names)
    found, meant, count, described, answer = results
    assert found.labels == ("cup",)
    assert meant.regions.tolist() == found.regions.tolist()
    assert count == 1
    assert [(text.region, text.text) for text in described] == [(1, "cup")]
    assert isinstance(answer, Answer)


def test_every_command_line_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = set(re.findall(r"^    fo1 (\w+)", README, re.M))
    assert {"detect", "refer", "count", "describe", "doctor"} <= verbs
    for verb in verbs:
        assert main([verb, "--help"]) == 0
    capsys.readouterr()


def test_links_and_paths_exist() -> None:
    linked = re.findall(r"\]\((?!http)([^)]+)\)", README)
    named = re.findall(r"`((?:docs|recipes|src|examples)/[\w./-]+)`", README)
    assert len(linked) >= 2
    assert len(named) >= 3
    for path in (*linked, *named):
        assert (ROOT / path).exists(), path
