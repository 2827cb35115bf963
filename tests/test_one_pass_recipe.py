"""The experiment of docs/one_pass.md, from scenes to its table, at a size at which nothing is learned."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recipes import importing


@pytest.fixture
def recipe() -> Iterator[None]:
    with importing("one_pass"):
        yield


def test_from_scenes_to_the_table(
    recipe: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import run as experiment  # pyright: ignore[reportMissingImports]

    for name, scenes in (("TRAINING", (2, 3)), ("VALIDATION", (3, 2)), ("TEST", (4, 3))):
        monkeypatch.setattr(experiment, name, scenes)
    words = ["run.py", "--out", str(tmp_path), "--steps", "2", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--style", "rising"])
    experiment.main()
    log = (tmp_path / "rising/log.jsonl").read_text().splitlines()
    assert len(log) == 3
    assert "|" not in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", words)
    experiment.main()
    assert (tmp_path / "rising/log.jsonl").read_text().splitlines() == log  # not trained again
    table = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert {len(row) for row in table} == {9}
    ways = [(row[0].strip(), row[1].strip()) for row in table[2:]]
    assert len(ways) == len(set(ways)) == 2 * 6 + 3
    passes = {way: float(row[6]) for way, row in zip(ways, table[2:], strict=True) if way[0] != "-"}
    assert passes["rising", "score head"] == passes["rising", "first index"] == 1
    assert passes["rising", "greedy, drafted"] <= passes["rising", "greedy"]


def test_copies_and_scenes_say_the_truth(recipe: None, tmp_path: Path) -> None:
    from crowds import KINDS, LEAST, crowds, vocabulary  # pyright: ignore[reportMissingImports]
    from train import Lists, build_model, build_processor  # pyright: ignore[reportMissingImports]

    names, processor = vocabulary(), build_processor()
    scenes = crowds(2, 5, build_model(0).eval(), processor, tmp_path)
    assert crowds(2, 5, None, processor, tmp_path)[1].names == scenes[1].names  # kept
    for scene in scenes:
        counts = [scene.names.count(name) for name in set(scene.names)]
        assert len(counts) == KINDS
        assert min(counts) >= LEAST
    for style in ("rising", "any order"):
        draw = Lists(lambda: scenes, names, style, 0, copies=40)
        for index in (0, 39, 40, 41):
            sample = draw(index)
            assert sample.key == draw(index).key
            absent = 0
            for dialogue in sample.dialogues:
                ((question, answer),) = dialogue.turns
                listed = [int(part.split(">")[0]) for part in answer.split("<region")[1:]]
                if dialogue.task == "describe":
                    continue
                absent += not listed
                assert listed or "None" in answer
                if style != "any order":
                    assert listed == sorted(listed)
                if sample.names:
                    shown = [r for r, own in enumerate(sample.names) if own == (question,)]
                    assert sorted(listed) == shown
            assert absent > 0
