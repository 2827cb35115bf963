import json
from dataclasses import replace
from pathlib import Path

import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.summary import summarise
from fo1.evaluation.tasks.pope import ONE_WORD, Pope, read_answer
from fo1.pipeline import FO1
from tests.tiny import picture

FIRST, SECOND = "COCO_val2014_000000310196.jpg", "COCO_val2014_000000210789.jpg"


def _row(number: int, image: str, name: str, label: str) -> dict:
    text = f"Is there a {name} in the image?"
    return {"question_id": number, "image": image, "text": text, "label": label}


def _pope(data: Path) -> Pope:
    """The layout of RUCAIBox/POPE, output/coco, with the pictures of COCO."""
    random = [
        _row(1, FIRST, "snowboard", "yes"),
        _row(2, FIRST, "car", "no"),
        _row(3, SECOND, "truck", "yes"),
        _row(4, SECOND, "pizza", "no"),
    ]
    popular = [_row(1, FIRST, "snowboard", "yes"), _row(2, FIRST, "chair", "no")]
    for category, rows in (("random", random), ("popular", popular)):
        path = data / f"coco_pope_{category}.json"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "val2014").mkdir()
    picture(64, 48).save(data / "val2014" / FIRST)
    picture(64, 48, 1).save(data / "val2014" / SECOND)
    return Pope.load(data)


def _said(task: Pope, answers: dict[tuple[str, int], str]) -> list[Prediction]:
    """Answers by picture and place of the question."""
    return [
        Prediction.made(
            e, [], *(Said(written=(answers[e.key, n],)) for n in range(len(e.requests)))
        )
        for e in task.examples
    ]


def _measure(task: Pope, predictions: list[Prediction]) -> dict[str, float]:
    weights = resampling(len(task.picture_names), 2)
    return {one.name: float(one.values[0]) for one in task.measure(predictions, weights)}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("no, there is none", "no"),
        ("There is not a car. Yes.", "no"),
        ("A dog. No cat.", "yes"),  # the first sentence alone
        ("I see nothing", "yes"),  # the rule has only three words
        ("NO", "yes"),
        ("Yes, <ground>it</ground><objects><region1></objects>", "yes"),
        ("", None),
        ("<region1>", None),
        ("no " * 20_000, "no"),
    ],
)
def test_the_rule_of_pope(text: str, word: str | None) -> None:
    assert read_answer(text) == word


def test_one_example_per_picture_with_all_its_questions(tmp_path: Path) -> None:
    task = _pope(tmp_path)
    assert [e.key for e in task.examples] == [FIRST, SECOND]
    assert [[p.category for p in e.truth] for e in task.examples] == [
        ["popular", "popular", "random", "random"],
        ["random", "random"],
    ]
    first = task.examples[0].requests[0]
    assert first.queries == (f"Is there a snowboard in the image? {ONE_WORD}",)
    assert task.examples[0].open().size == (64, 48)


def test_figures_met_by_hand(tmp_path: Path) -> None:
    task = _pope(tmp_path)
    answers = {
        (FIRST, 0): "Yes",  # snowboard: found
        (FIRST, 1): "Yes",  # chair: not there
        (FIRST, 2): "No",  # snowboard: missed
        (FIRST, 3): "No, there is not",  # car
        (SECOND, 0): "A truck",  # the rule takes it for a yes
        (SECOND, 1): "",  # wrong, though there is no pizza
    }
    found = _measure(task, _said(task, answers))
    assert found == {
        "accuracy": 3 / 6,
        "precision": 2 / 3,
        "recall": 2 / 3,
        "F1": 2 / 3,
        "yes": 3 / 6,
        "neither": 2 / 6,
    }
    (table,) = task.details(_said(task, answers), resampling(2, 2))
    rows = {who: [cell.value for cell in cells] for who, cells in table.rows}
    assert rows["popular"][:3] == [50, 50, 100]
    assert rows["random"][:3] == [50, 100, 50]


def test_perfect_is_100_empty_0_and_order_is_nothing(tmp_path: Path) -> None:
    task = _pope(tmp_path)
    perfect = _measure(task, [task.perfect(e) for e in task.examples])
    assert {perfect[name] for name in ("accuracy", "precision", "recall", "F1")} == {1}
    empty = _measure(task, [Prediction.empty(e) for e in task.examples])
    assert (empty["accuracy"], empty["F1"], empty["yes"]) == (0, 0, 0)
    said = [task.perfect(task.examples[0]), Prediction.empty(task.examples[1])]
    moved = replace(task, examples=task.examples[::-1])
    assert _measure(moved, said[::-1]) == _measure(task, said)


def test_the_order_of_the_rows_is_nothing(tmp_path: Path) -> None:
    task = _pope(tmp_path)
    yes = _measure(task, task.bounds([])["always yes"][0])
    for path in tmp_path.glob("*.json"):
        path.write_text("\n".join(reversed(path.read_text().splitlines())))
    again = Pope.load(tmp_path)
    assert _measure(again, again.bounds([])["always yes"][0]) == yes


def test_the_truth_is_told_in_words(tmp_path: Path) -> None:
    task = _pope(tmp_path)
    told = task.truth_in_words(task.examples[1])
    assert told == "Is there a truck in the image? yes; Is there a pizza in the image? no"


def test_floors(tmp_path: Path) -> None:
    task = _pope(tmp_path)
    told = {"model": [task.perfect(e) for e in task.examples]}
    bounds = summarise(task, told, floors=True, resamples=2).bounds
    assert bounds["always yes"]["accuracy"].value == 50
    assert bounds["always yes"]["F1"].value == pytest.approx(200 / 3)
    assert bounds["always no"]["recall"].value == 0
    assert {bounds["chance (a coin)"][name].value for name in ("accuracy", "F1", "yes")} == {50}
    assert bounds["chance (a coin)"]["neither"].value == 0


def test_bad_rows_are_told_and_the_rest_is_asked(tmp_path: Path) -> None:
    good = _row(1, FIRST, "cat", "yes")
    rows: list[object] = [
        good,
        {**good, "question_id": 2, "label": "maybe"},
        {**good, "question_id": 3, "text": " "},
        {**good, "question_id": "4"},
        {**good, "question_id": 5, "image": ""},
        {"question_id": 6},
        {**good, "question_id": 7, "text": "Is there " * 10_000},
        good,
        [],
    ]
    path = tmp_path / "coco_pope_random.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Pope.load(tmp_path)
    assert [len(e.requests) for e in task.examples] == [1]
    assert len(task.broken) == len(rows) - 1
    assert "'label' is 'maybe'; expected 'yes' or 'no'" in task.broken[1].problem


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"coco_pope_\*\.json"):
        Pope.load(tmp_path)


def test_end_to_end_with_a_missing_picture(
    tmp_path: Path, model: FO1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.engine.model.generation_config, "max_new_tokens", 4)
    task = _pope(tmp_path)
    (tmp_path / "val2014" / SECOND).unlink()
    summary = evaluate(model, task, resamples=2)
    assert summary.counts["failed"] == 1
    assert summary.figures["accuracy"].value <= 100 * 4 / 6  # its two questions are wrong
