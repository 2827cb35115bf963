"""What the documents say of commands and tasks is so."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from fo1.cli.arguments import build_parser, parse
from fo1.evaluation.published import published
from fo1.evaluation.tasks import TASKS, get_task
from fo1.proposals import names

ROOT = Path(__file__).parents[1]
EVALUATION = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
COMMAND = re.compile(r"(?:^|`|\$ )((?:fo1|torchrun .*? -m fo1) eval [^`\n]*)", re.M)


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_every_eval_command_is_understood(path: Path) -> None:
    commands = COMMAND.findall(path.read_text(encoding="utf-8"))
    for command in commands:
        plain = command.partition("#")[0].replace("...", "").replace("[", "").replace("]", "")
        words = shlex.split(plain)
        if "--help" in words or words[-1] == "eval":
            continue
        arguments = parse(build_parser(), words[words.index("eval") :])
        assert arguments.name in {*TASKS, "TASK", "NAME"} or arguments.name.endswith("-SPLIT"), (
            plain
        )
    if path.name in ("evaluation.md", "nano.md"):
        assert len(commands) >= 10


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_section(name: str) -> None:
    assert get_task(name).name == name
    family = re.sub(r"-(?:val|test[AB]?)$", "", name).replace("refcoco+", "refcoco")
    family = family.replace("refcocog", "refcoco") if family == "refcocog" else family
    headings = re.findall(r"^### (.+)$", EVALUATION, re.M)
    told = [part.strip() for heading in headings for part in heading.split(",")]
    assert family in told or name in told


def test_the_overview_quotes_the_published_figures() -> None:
    table = EVALUATION.split("## Tasks")[1].split("## Detection")[0]
    for name in TASKS:
        for who, figures in published(name).items():
            if who.startswith("VLM-FO1"):
                for value in figures.values():
                    assert f"{value:g}" in table or f"{value:.1f}" in table, (name, who, value)


def test_the_python_of_proposals_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs/proposals.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(ROOT)
    made: dict[str, Any] = {}
    exec(first, made)
    assert (made["scene"].proposer, made["scene"].proposal_labels) == ("mine", ("cup", "table"))
    assert made["found"].labels == ("cup",)
    exec(second, made)
    assert made["best"].name == "nanodet+grid"
    assert made["tiled"].name == "tiled nanodet"


def test_every_proposer_is_told_of() -> None:
    text = (ROOT / "docs/proposals.md").read_text(encoding="utf-8")
    assert [name for name in names() if f"`{name}`" not in text] == []
