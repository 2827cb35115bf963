"""COCO-Text version 2, by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.summary import summarise
from fo1.evaluation.tasks.region_text import CocoText
from fo1.prompts import Task
from tests.tiny import picture

WORD = {
    "mask": [10.0, 10.0, 34.1, 10.0, 34.1, 19.1, 10.0, 19.1],
    "class": "machine printed",
    "bbox": [10.0, 10.0, 24.1, 9.1],
    "language": "english",
    "area": 206.06,
    "legibility": "legible",
}


def image(number: int, split: str = "val") -> dict:
    name = f"COCO_train2014_{number:012}.jpg"
    return {"id": number, "set": split, "width": 80, "height": 60, "file_name": name}


def word(number: int, image_id: int, text: str, **other) -> dict:
    return {"id": number, "image_id": image_id, "utf8_string": text, **WORD, **other}


ROWS = [
    word(45346, 7, "STOP"),
    word(45347, 7, "St. Mary's", **{"class": "handwritten"}),
    word(45348, 9, "&"),
    word(45349, 9, "exit"),
    word(45350, 9, "", language="english"),
    word(45351, 9, "x", legibility="illegible"),
    word(45352, 9, "tür", language="not english"),
    word(45353, 9, "odd", **{"class": "others"}),
    word(45354, 8, "training"),
]


def write(folder: Path, rows: list[dict] = ROWS) -> Path:
    content = {
        "anns": {str(row.get("id", at)): row for at, row in enumerate(rows)},
        "imgs": {"7": image(7), "8": image(8, "train"), "9": image(9)},
        "imgToAnns": {},
        "cats": {},
        "info": {},
    }
    (folder / "cocotext.v2.json").write_text(json.dumps(content))
    (folder / "train2014").mkdir(exist_ok=True)
    for number in (7, 9):
        picture(80, 60, number).save(folder / f"train2014/COCO_train2014_{number:012}.jpg")
    return folder


def measured(task: CocoText, *answers: dict[int, str]) -> dict[str, float]:
    predictions = [
        Prediction.made(example, example.boxes, Said(texts=texts))
        for example, texts in zip(task.examples, answers, strict=True)
    ]
    return {one.name: one.estimate.value for one in task.measure(predictions, np.ones((1, 2)))}


def test_legible_english_words_of_val_are_asked(tmp_path: Path) -> None:
    task = CocoText.load(write(tmp_path))
    assert task.truths == ["STOP", "St. Mary's", "&", "exit"]
    assert task.broken == ()
    first = task.examples[0]
    assert first.boxes[0] == pytest.approx([10, 10, 34.1, 19.1])
    assert (first.requests[0].task, first.requests[0].regions) == (Task.READ, (0, 1))
    assert first.open().size == (80, 60)
    assert CocoText.load(tmp_path / "cocotext.v2.json").truths == task.truths


def test_the_truth_is_told_in_words(tmp_path: Path) -> None:
    task = CocoText.load(write(tmp_path))
    assert task.truth_in_words(task.examples[0]) == "STOP; St. Mary's"


def test_figures_by_hand(tmp_path: Path) -> None:
    task = CocoText.load(write(tmp_path))
    found = measured(task, {0: "stop", 1: "St. Mary's"}, {0: "", 1: "exist"})
    # "stop" but for its case and "St. Mary's" are right; "exist" is one letter of five off.
    assert found == pytest.approx(
        {"accuracy": 50, "exact": 25, "1-NED": 100 * (1 + 1 + 0 + 0.8) / 4}
    )


def test_perfect_empty_and_odd_answers(tmp_path: Path) -> None:
    task = CocoText.load(write(tmp_path))
    perfect = [task.perfect(example) for example in task.examples]
    values = {one.name: one.estimate.value for one in task.measure(perfect, np.ones((1, 2)))}
    assert values == {"accuracy": 100, "exact": 100, "1-NED": 100}
    nothing = {"accuracy": 0, "exact": 0, "1-NED": 0}
    assert measured(task, {}, {}) == nothing
    assert measured(task, {0: " .,! "}, {5: "exit", -1: "exit"}) == nothing
    long = measured(task, {0: "z" * 50_000}, {0: "\u2028\n" * 25_000})
    assert long == pytest.approx(nothing, abs=1e-2)


def test_floors_and_order(tmp_path: Path) -> None:
    def bounds(rows: list[dict]) -> dict[str, float]:
        task = CocoText.load(write(tmp_path, rows))
        empty = [Prediction.empty(example) for example in task.examples]
        told = summarise(task, {"model": empty}, floors=True, resamples=3)
        return {who: each["accuracy"].value for who, each in told.bounds.items()}

    rows = [*ROWS, word(1, 7, "exit")]
    found = bounds(rows)
    assert found["always 'exit'"] == 40
    assert found["perfect answers"] == 100
    again = bounds(rows[::-1])
    assert {who: again[who] for who in ("always 'exit'", "perfect answers")} == {
        "always 'exit'": 40,
        "perfect answers": 100,
    }


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (word(1, 5, "a"), "image 5 is not among imgs"),
        (word(1, 7, "a", bbox=[1, 2, 3]), "expected [x, y, width, height]"),
        (word(1, 7, "a", bbox=[1, 2, -3, 4]), "with an area"),
        (word(1, 7, "a", bbox=[1, 70, 3, 4]), "outside the picture of 80 x 60"),
        (word(1, 7, "  "), "'utf8_string' is empty"),
        (word(1, 7, "x" * 50_000), "'utf8_string' has 50,000 characters"),
        (word(1, 7, "a", utf8_string=5), "'utf8_string' is 5 (int)"),
        (word(1, 7, "a", legibility=None), "'legibility' is None"),
        ({"id": 1, "image_id": 7, **WORD}, "no 'utf8_string'"),
        ({"id": 1, **WORD}, "no 'image_id'"),
        (word("a", 7, "a"), "'id' is a (str)"),
    ],
)
def test_broken_rows_are_told(tmp_path: Path, row: dict, told: str) -> None:
    task = CocoText.load(write(tmp_path, [*ROWS, row]))
    (bad,) = task.broken
    assert told in bad.problem
    assert task.truths == ["STOP", "St. Mary's", "&", "exit"]


def test_an_id_that_comes_twice_is_broken(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "cocotext.v2.json"
    content = json.loads(path.read_text())
    content["anns"]["again"] = ROWS[0]
    path.write_text(json.dumps(content))
    (bad,) = CocoText.load(tmp_path).broken
    assert "'45346' was there before" in bad.problem


@pytest.mark.parametrize("text", [None, "no", "[]", '{"imgs": {}}', '{"imgs": [], "anns": {}}'])
def test_a_file_that_is_something_else(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "cocotext.v2.json").write_text(text)
    with pytest.raises(InputError, match=r"cocotext\.v2\.json"):
        CocoText.load(tmp_path)


def test_a_model_is_asked_and_a_missing_picture_counts_as_wrong(tmp_path: Path, model) -> None:
    (write(tmp_path) / "train2014/COCO_train2014_000000000009.jpg").unlink()
    told = evaluate(model, CocoText.load(tmp_path), resamples=5)
    assert told.counts["failed"] == 1
    assert told.figures["accuracy"].value <= 50
