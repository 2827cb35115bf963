"""A short run of the command on a random model."""

import json

import pytest

from fo1.data.pictures import PicturePack
from fo1.evaluation import scenes
from fo1.evaluation.report import Table
from fo1.evaluation.scene_tables import MODEL
from fo1.evaluation.writing import is_name
from fo1.pipeline import FO1

SMALL = {"scenes": 2, "written": 1, "resamples": 20, "size": (160, 200)}


@pytest.fixture(scope="module")
def found(model):
    return scenes.run(model, PicturePack.open(), **SMALL)


def test_every_task_is_measured_beside_its_floors(found) -> None:
    measured, tables = found
    rows = {table.title: dict(table.rows) for table in tables}
    assert list(rows) == [
        "Naming of true boxes",
        "Detection",
        "Referring",
        "Counting",
        "Absent targets",
        "Probabilities",
        "Reliability of the model's probabilities",
        "Written answers",
    ]
    assert rows["Naming of true boxes"]["chance"][0] == pytest.approx(
        1 / len(measured.names), rel=0.05
    )
    for title, count in (("Naming of true boxes", 5), ("Detection", 8), ("Referring", 6)):
        assert len(rows[title]) == count
    boxes = sum(len(case.objects) for case in measured.cases)
    assert len(measured.judged[MODEL].naming) == boxes
    ceiling = rows["Detection"]["own proposals, true names (ceiling)"][1].value
    assert ceiling >= rows["Detection"]["model, own proposals (grid)"][1].value


def test_only_the_lineage_asked_for_is_drawn(found) -> None:
    measured, _ = found
    pack = PicturePack.open()
    for case in measured.cases:
        for thing in case.objects:
            assert pack.lineages[thing.style] == "twemoji"
            assert not pack.concepts[thing.concept].held_out
            assert thing.name in measured.names


def test_held_out_concepts_come_apart(model) -> None:
    pack = PicturePack.open()
    measured, _ = scenes.run(
        model, pack, held_out_concepts=True, **(SMALL | {"written": 0, "scenes": 1})
    )
    for case in measured.cases:
        assert all(pack.concepts[thing.concept].held_out for thing in case.objects)
        assert {thing.name for thing in case.objects} <= set(measured.names)
    assert not measured.written


def test_the_command_prints_what_it_writes(model, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(FO1, "from_pretrained", lambda name: model)
    arguments = ["--scenes", "1", "--seed", "3", "--written", "0", "--out", str(tmp_path)]
    scenes.main(arguments)
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "scenes-twemoji.md").read_text()
    assert "--scenes 1 --seed 3" in printed
    content = json.loads((tmp_path / "scenes-twemoji.json").read_text())
    assert content["tables"][0]["columns"] == ["top-1", "top-5"]
    assert len(content["tables"][0]["rows"]["model"][0]) == 3


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("apple", True),
        ("An apple.", True),
        ("a red apple", True),
        ("a fruit", True),
        ("a green apple", False),
        ("an apple tree", False),
        ("", False),
    ],
)
def test_a_description_is_a_name_or_it_is_not(text, right) -> None:
    assert is_name(text, ("apple", "fruit"), "red") == right


def test_a_table_wants_a_cell_per_column() -> None:
    table = Table("Naming", ("top-1", "top-5"))
    table.add("model", 0.5, None)
    assert "| model | 0.500 | - |" in table.markdown()
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        table.add("chance", 0.1)
