"""More regions than index tokens: tiles show all of them, and what comes back is numbered as given."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fo1.errors import QueryError
from fo1.pipeline import FO1, Request
from fo1.pipeline.engine import Engine
from fo1.prompts import Task
from fo1.results import Proposals
from fo1.tiles import Tile, split
from tests import tiny
from tests.pipeline.conftest import SIZE, record


@given(st.data(), st.integers(0, 1200), st.integers(1, 100))
def test_tiles_show_every_region(data: st.DataObject, count: int, most: int) -> None:
    wanted = data.draw(st.lists(st.integers(0, count - 1), max_size=120)) if count else []
    few = len(set(wanted)) < min(most, count) or len(set(wanted)) == count <= most
    if not few and wanted:
        with pytest.raises(QueryError, match="named at once"):
            split(count, most, wanted)
        return
    tiles = split(count, most, wanted)
    assert {region for tile in tiles for region in tile.regions} == set(range(count))
    for tile in tiles:
        assert len(tile) <= most
        assert set(wanted) <= set(tile.regions)
        assert list(tile.regions) == sorted(set(tile.regions))
    others = [len(tile) for tile in tiles]
    assert max(others) - min(others) <= 1
    assert len(tiles) == 1 or count > most
    unnamed = [r for tile in tiles for r in tile.regions if r not in set(wanted)]
    assert len(unnamed) == len(set(unnamed))


def test_tiles_number_regions_from_zero() -> None:
    tile = Tile((2, 150, 299))
    text = "<region150> or <region2>, not <region7>"
    assert tile.to_tile(text) == "<region1> or <region0>, not region 7"
    assert tile.to_chat("<region2><region0>") == "<region299><region2>"


@pytest.fixture
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let models show three regions at a time."""
    monkeypatch.setattr(Engine, "max_regions", 3)
    return 3


def test_written_lists_of_all_tiles_are_joined(writing: FO1, few_tokens: int, monkeypatch) -> None:
    scene = writing.encode(tiny.picture(*SIZE), tiny.boxes(8, *SIZE))
    pair = "<ground>{}</ground><objects>{}</objects>"
    rows = record(
        monkeypatch,
        pair.format("cat", "<region2><region0>"),
        pair.format("dog", "<region1>") + pair.format("cat", ""),
        pair.format("cat", "<region1>"),
    )
    found = scene.detect(["cat", "dog"])
    assert [(row.placed, row.num_regions) for row in rows] == [
        (((0, 0), (0, 1), (0, 2)), 3),
        (((0, 3), (0, 4), (0, 5)), 3),
        (((0, 6), (0, 7)), 2),
    ]
    assert found.labels == ("cat", "cat", "cat", "dog")
    assert found.regions.tolist() == [2, 0, 7, 4]
    np.testing.assert_array_equal(found.boxes, scene.regions[[2, 0, 7, 4]])


def test_counts_of_tiles_are_not_added_up(writing: FO1, few_tokens: int, monkeypatch) -> None:
    """Every tile shows the whole picture, so each may state the whole number."""
    scene = writing.encode(tiny.picture(*SIZE), tiny.boxes(8, *SIZE))
    one = "<ground>cat</ground><objects><region0></objects>"
    record(monkeypatch, f"{one} 3", one, "There are 3 cats.")
    request = Request(task=Task.COUNT, queries=("cat",))
    outcome = scene.answer(request)
    assert outcome.count == len(outcome.detections) == 2
    assert any("asked in 3 parts" in problem for problem in outcome.problems)
    record(monkeypatch, "2", "There are 4 cats.", "none")
    assert scene.count("cat").count == 4


def test_named_regions_stand_in_every_tile(writing: FO1, few_tokens: int, monkeypatch) -> None:
    scene = writing.encode(tiny.picture(*SIZE), tiny.boxes(5, *SIZE))
    lists = "<ground>{}</ground><objects>{}</objects>"
    rows = record(
        monkeypatch,
        lists.format("a", "<region0><region2>"),  # tile of regions 0, 1, 4
        lists.format("a", "<region0><region2>"),  # tile of regions 2, 3, 4
    )
    assert scene.similar(4).regions.tolist() == [0, 2]
    assert [row.placed for row in rows] == [((0, 0), (0, 1), (0, 4)), ((0, 2), (0, 3), (0, 4))]
    assert all("object <region2> as" in row.prompt for row in rows)

    rows = record(monkeypatch, "It is <region0>.", "It is <region2>.")
    outcome = scene.answer(Request(task=Task.ASK, queries=("is it <region4>?",)))
    assert outcome.answer is not None
    assert outcome.answer.text == "It is <region0>.\nIt is <region4>."
    told = [(c.region, outcome.answer.text[c.start : c.end]) for c in outcome.answer.citations]
    assert told == [(0, "<region0>"), (4, "<region4>")]
    assert any("asked in 2 parts" in problem for problem in outcome.problems)
    with pytest.raises(QueryError, match="4 regions are named at once, the model has 3"):
        scene.ask("<region0><region1><region2><region3>?")


def test_a_region_is_described_in_one_tile(writing: FO1, few_tokens: int, monkeypatch) -> None:
    scene = writing.encode(tiny.picture(*SIZE), tiny.boxes(7, *SIZE))
    rows = record(monkeypatch, "a cup", "EXIT")
    said = scene.describe([6, 1], detail="detailed")
    assert [(item.region, item.text) for item in said] == [(6, "a cup"), (1, "EXIT")]
    assert len(rows) == 2
    assert [row.placed[-1] for row in rows] == [(0, 6), (0, 2)]


def test_scores_of_tiles_are_those_of_their_own_scenes(scoring: FO1, few_tokens: int) -> None:
    picture, boxes = tiny.picture(*SIZE), tiny.boxes(7, *SIZE)
    table = scoring.encode(picture, boxes).scores(["cat", "dog"])
    apart = [
        scoring.encode(picture, boxes[s]).scores(["cat", "dog"])
        for s in (slice(0, 3), slice(3, 5), slice(5, 7))
    ]
    np.testing.assert_allclose(table, np.concatenate(apart), atol=1e-5)
    assert len(np.unique(table.round(4))) > 7


@pytest.mark.parametrize("proposed", [False, True])
@pytest.mark.parametrize("threshold", [0.0, None, 0.5, 0.55, 1.0])
def test_what_is_counted_is_what_is_detected(
    scoring: FO1, few_tokens: int, proposed: bool, threshold: float | None
) -> None:
    boxes = tiny.boxes(10, *SIZE)
    given = Proposals(boxes, np.linspace(1, 0.4, 10)) if proposed else boxes
    scene = scoring.encode(tiny.picture(*SIZE), given)
    for names in ("cat", ["cat", "dog"]):
        expected = scene.detect(names, threshold)
        counted = scene.count(names, threshold)
        assert counted.count == len(expected)
        assert counted.detections == expected
        assert scoring.count(scene.tensors.picture.image, names, threshold, boxes=given) == counted


def test_what_is_counted_in_writing_reaches_the_threshold(
    writing: FO1, few_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = Proposals(tiny.boxes(8, *SIZE), np.linspace(0.9, 0.2, 8))
    scene = writing.encode(tiny.picture(*SIZE), boxes)
    one = "<ground>cat</ground><objects><region0></objects>"
    for threshold, count in ((None, 3), (0.25, 3), (0.5, 2), (0.85, 1), (1.0, 0)):
        record(monkeypatch, *[one] * 6)
        assert len(scene.detect("cat", threshold)) == count
        assert scene.count("cat", threshold).count == count


@pytest.mark.parametrize("count", [0, 1, 100, 300, 1000])
@torch.inference_mode()
def test_any_number_of_regions(scoring: FO1, writing: FO1, count: int, monkeypatch) -> None:
    picture, boxes = tiny.picture(*SIZE), tiny.boxes(count, *SIZE)
    scene = scoring.encode(picture, boxes)
    assert len(scene) == count
    assert scene.scores(["cat"]).shape == (count, 1)
    assert len(scene.detect("cat", threshold=0.0)) == count
    written = writing.encode(picture, boxes)
    for answer in (written.ground(), written.ask("what is this?")):
        assert all(0 <= cited.region < count for cited in answer.citations)
    if count:
        rows = record(monkeypatch, "EXIT")
        assert [(text.region, text.text) for text in written.read([count - 1])] == [
            (count - 1, "EXIT")
        ]
        assert (0, count - 1) in rows[0].placed


def test_proposals_beyond_the_index_tokens_all_become_regions(scoring: FO1) -> None:
    scene = scoring.encode(tiny.picture(640, 480), limit=250)
    assert len(scene) == len(scoring.propose(tiny.picture(640, 480), limit=250)) > 100
