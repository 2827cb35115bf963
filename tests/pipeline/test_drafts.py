"""What models without a score head write is drafted; the answers are those of plain decoding."""

from typing import Any

import pytest

from fo1.models.decoding import decode
from fo1.pipeline import FO1
from fo1.pipeline.scene import Scene
from tests import tiny

SIZE = (140, 112)
NAMES = ["cat", "a  very old\ncoffee cup", "<image> <region3>", "</objects>", "zzz"]


def answers(scene: Scene) -> list[object]:
    return [
        scene.detect(NAMES),
        scene.count(NAMES[1]),
        scene.refer(NAMES[2]),
        scene.ground().text,
        scene.similar(1),
        [one.text for one in scene.describe([0, 2])],
    ]


def test_drafts_change_no_answer(writing: FO1, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fo1.pipeline.engine.MAX_NEW_TOKENS", 40)
    scene = writing.encode(tiny.picture(*SIZE), tiny.boxes(6, *SIZE))
    drafted: list[int] = []

    def watched(model: Any, **given: Any) -> Any:
        drafted.extend(len(drafter.names) for drafter in given["drafters"])
        return decode(model, **given)

    monkeypatch.setattr("fo1.pipeline.engine.decode", watched)
    found = answers(scene)
    assert drafted == [5, 1, 1, 0, 0, 0, 0]

    def plain(model: Any, **given: Any) -> Any:
        return decode(model, **{**given, "drafters": None})

    monkeypatch.setattr("fo1.pipeline.engine.decode", plain)
    assert repr(answers(scene)) == repr(found)
