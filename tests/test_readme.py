"""The README's code runs, its commands exist, its links lead somewhere, its comments are true."""

import json
import re
import shlex
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


def test_the_labelling_command_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On the photographs of the checkout, into a folder of the test's own."""
    (line,) = re.findall(r"^    fo1 (label examples.*)$", README, re.M)
    words = shlex.split(line)
    words[words.index("--out") + 1] = str(tmp_path)
    monkeypatch.chdir(ROOT)
    assert main([*words, "--processes", "1"]) == 0
    table = json.loads((tmp_path / "coco.json").read_text())
    assert "coffee.jpg" in {one["file_name"] for one in table["images"]}
    assert {one["category_id"] for one in table["annotations"]} >= {1}
    assert (tmp_path / "yolo/labels/coffee.txt").read_text()


def test_what_installs_comes_from_the_checkout() -> None:
    """From a fresh clone: its own extras, the versions tested together, and where they go is said before."""
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text("utf-8"), re.M))
    lines = re.findall(r"^    (.*pip install.*)$", README, re.M)
    assert len(lines) >= 4
    for line in lines:
        what = re.search(r"pip install -c constraints\.txt -e (?:\.|'\.\[(\w+)\]')$", line)
        assert what is not None, line
        if what[1] is not None:
            assert what[1] in extras
            assert README.split(line)[0].rstrip(": ,\n").endswith("In the checkout's environment")


def test_links_and_paths_exist() -> None:
    linked = re.findall(r"\]\((?!http)([^)]+)\)", README)
    named = re.findall(r"`((?:docs|recipes|src|examples)/[\w./-]+)`", README)
    assert len(linked) >= 2
    assert len(named) >= 3
    for path in (*linked, *named):
        assert (ROOT / path).exists(), path


def test_figures_of_the_table_stand_in_the_measurements() -> None:
    """Every figure was printed by a command of docs/nano.md, here rounded at most."""
    nano = (ROOT / "docs/nano.md").read_text(encoding="utf-8")
    table = re.search(r"^\| on 30 real photographs.*?\n\n", README, re.S | re.M)
    assert table is not None
    quoted = re.findall(r"\d+\.\d+", table[0])
    assert len(quoted) > 10
    measured = [float(figure) for figure in re.findall(r"\d+\.\d+", nano)]
    for figure in quoted:
        half = 0.5 * 10 ** -len(figure.split(".")[1]) + 1e-9
        assert any(abs(one - float(figure)) <= half for one in measured), figure
    own = nano.split("--out OUT/photos`")[1]
    for kind in ("referring", "counting"):
        row = re.search(rf"^\| {kind}.*?\| (\S+) \| (\S+) \|", table[0], re.M)
        assert row is not None
        mine = own.split(f"every name: {kind}\n")[1]
        assert f"| model | {row[1]} [" in mine
        assert f"| region embeddings shuffled | {row[2]} [" in mine


def test_figures_of_training_stand_in_the_log() -> None:
    log = (ROOT / "docs/log.md").read_text(encoding="utf-8")
    told = re.search(
        r"AP (\S+) on 16 others, against (\S+) with names permuted; (\S+)\s+before\.",
        README,
        re.S,
    )
    assert told is not None
    after, floor, before = told.groups()
    assert f"AP {after}, " in log
    assert f"names permuted {floor} " in log
    assert f"AP {before} [" in log


def test_what_is_said_of_swapped_regions_was_measured() -> None:
    """Share and number of pairs by the score head on photos; the language model answered no two regions differently."""
    nano = (ROOT / "docs/nano.md").read_text(encoding="utf-8")
    told = re.search(
        r"follow in (\d+) % of (\d+) pairs.*?is the same for all regions\.", README, re.S
    )
    assert told is not None
    photos, relations = (nano.split(f"--out OUT/{name}`")[1] for name in ("photos", "relations"))
    row = re.search(r"^\| two regions swapped \| (\S+) \[.*?\] \| (\d+) \|$", photos, re.M)
    assert row is not None
    assert (f"{float(row[1]):.0f}", row[2]) == told.groups()
    assert "| two regions swapped | - | 0 |" in relations
