import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.counting import CountBench, PixMoCount, noun_of, stated_number
from fo1.pipeline import FO1
from fo1.prompts import Task
from tests.tiny import picture

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

QUESTIONS = (("headsets", 10), ("light bulbs", 4), ("parrots", 3), ("chairs", 4))


def _png(seed: int) -> bytes:
    stream = io.BytesIO()
    picture(64, 48, seed).save(stream, "PNG")
    return stream.getvalue()


def _countbench(data: Path) -> CountBench:
    """The layout of vikhyatk/CountBenchQA."""
    rows = [
        {
            "image": {"bytes": _png(number), "path": None},
            "text": f"{answer} {noun} for sale",
            "question": f"How many {noun} are there in the image?",
            "number": answer,
        }
        for number, (noun, answer) in enumerate(QUESTIONS)
    ]
    (data / "data").mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    number = table.schema.get_field_index("number")
    table = table.set_column(number, "number", table["number"].cast("int32"))
    parquet.write_table(table, data / "data/test-00000-of-00001.parquet")
    return CountBench.load(data)


def _answers(task, texts):
    pairs = zip(task.examples, texts, strict=True)
    return [Prediction.made(e, [], Said(written=(text,))) for e, text in pairs]


def _measure(task, predictions):
    weights = resampling(len(task.picture_names), 2)
    return {one.name: one.values[0] for one in task.measure(predictions, weights)}


@pytest.mark.parametrize(
    ("question", "noun"),
    [
        ("How many headsets are there in the image?", "headsets"),
        ("how many people wearing hats are there in this image?", "people wearing hats"),
        ("How many people are in the foreground of this image?", "people"),
        ("How many stories does this cottage have?", "stories"),
        ("How many dogs in the picture?", "dogs"),
        ("How many cats?", "cats"),
    ],
)
def test_the_noun_is_what_stands_before_the_verb(question: str, noun: str) -> None:
    assert noun_of(question) == noun


def test_a_question_of_another_kind_has_no_noun() -> None:
    with pytest.raises(InputError, match="does not ask how many"):
        noun_of("What colour are the cats?")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("<ground>cats</ground><objects><region1><region12></objects> There are 2 cats.", 2),
        ("<region7>", 0),
        ("region7 and 3", 3),
        ("three cats", 0),
        ("10, no, 11", 10),
        ("", 0),
        ("9" * 50_000, 999_999_999),
    ],
)
def test_the_first_integer_counts(written: str, number: int) -> None:
    assert stated_number(Said(written=(written,))) == number


def test_a_model_that_scores_is_asked_for_its_count() -> None:
    assert stated_number(Said(count=4)) == 4
    assert stated_number(Said()) == 0


def test_figures_met_by_hand(tmp_path: Path) -> None:
    task = _countbench(tmp_path)
    assert [e.key for e in task.examples] == ["image_0", "image_1", "image_2", "image_3"]
    request = task.examples[1].requests[0]
    assert (request.task, request.queries) == (Task.COUNT, ("light bulbs",))
    assert task.examples[0].open().size == (64, 48)
    # truth 10, 4, 3, 4: right, one off, right, four off
    found = _measure(task, _answers(task, ["10", "there are 5", "<region3> 3 parrots", "none"]))
    assert found == {"accuracy": 0.5, "within 1": 0.75, "MAE": 1.25}


def test_perfect_is_100_empty_0_and_order_is_nothing(tmp_path: Path) -> None:
    task = _countbench(tmp_path)
    assert _measure(task, [task.perfect(e) for e in task.examples])["accuracy"] == 1
    assert _measure(task, [Prediction.empty(e) for e in task.examples])["accuracy"] == 0
    said = _answers(task, ["10", "5", "3", "8"])
    order = [2, 0, 3, 1]
    moved = replace(task, examples=tuple(task.examples[i] for i in order))
    assert _measure(moved, [said[i] for i in order]) == _measure(task, said)


def test_a_failed_example_is_wrong_even_where_nothing_is_right(tmp_path: Path) -> None:
    rows = [
        {"question": "How many cats are there?", "answer": n, "image": f"{n}.jpg"} for n in (0, 1)
    ]
    path = tmp_path / "pixmo.json"
    path.write_text(json.dumps(rows))
    task = PixMoCount.load(path)
    failed = [Prediction.failed(example, "no picture") for example in task.examples]
    assert _measure(task, failed) == {"accuracy": 0, "within 1": 0, "MAE": 2}
    (table,) = task.details(failed, resampling(2, 2))
    assert dict(table.rows)["0"][0].value == 0


def test_the_truth_is_told_in_words(tmp_path: Path) -> None:
    task = _countbench(tmp_path)
    assert task.truth_in_words(task.examples[1]) == "light bulbs: 4"


def test_floors(tmp_path: Path) -> None:
    task = _countbench(tmp_path)
    said = [replace(one, boxes=np.zeros((4, 4))) for one in _answers(task, ["1"] * 4)]
    floors = {name: _measure(task, seeds[0]) for name, seeds in task.bounds(said).items()}
    assert floors["majority (always 4)"]["accuracy"] == 0.5
    assert floors["number of proposals"] == {
        "accuracy": 0.5,
        "within 1": 0.75,
        "MAE": pytest.approx(7 / 4),
    }
    ((name, figures),) = task.expected(said, resampling(4, 2)).items()
    assert name == "chance (even draw from 2 to 10)"
    # off by 8..0; 2..6; 1,0,1..7; 2..6 from the truths 10, 4, 3 and 4
    off = [sum(abs(n - truth) for n in range(2, 11)) / 9 for truth in (10, 4, 3, 4)]
    near = [sum(abs(n - truth) <= 1 for n in range(2, 11)) / 9 for truth in (10, 4, 3, 4)]
    values = [one.values[0] for one in figures]
    assert values == pytest.approx([1 / 9, np.mean(near), np.mean(off)])


def test_the_file_of_the_reference_is_read_too(tmp_path: Path) -> None:
    long = "Count each instance of the target object. Locate them with object indexes."
    rows = [
        {
            "question": f"How many {noun} are there in the image? {long}",
            "answer": answer,
            "image": f"image_{number}.jpg",
            "bboxes": [[0, 0, 9, 9]],
            "scores": [0.5],
        }
        for number, (noun, answer) in enumerate(QUESTIONS, start=115)
    ]
    (tmp_path / "images").mkdir()
    (tmp_path / "images/image_115.jpg").write_bytes(_png(0))
    (tmp_path / "countbench_with_upn_score_0.3_0.8.json").write_text(json.dumps(rows))
    task = CountBench.load(tmp_path)
    assert [e.key for e in task.examples][:2] == ["image_115", "image_116"]
    assert task.examples[0].open().size == (64, 48)
    with pytest.raises(InputError, match=r"image_116\.jpg does not exist"):
        task.examples[1].open()
    said = _answers(task, ["10", "1", "3", "4"])
    table = {who: cells for who, cells in task.details(said, resampling(4, 2))[0].rows}
    accuracy, _, questions = table["rows behind the published figure"]  # without image_116
    assert (accuracy.value, questions) == (100, "3")


def _pixmo(data: Path, rows: list[dict]) -> PixMoCount:
    (data / "data").mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    parquet.write_table(table, data / "data/test-00000-of-00001.parquet")
    return PixMoCount.load(data)


def test_pixmo_pictures_are_found_by_hash_number_or_url(tmp_path: Path) -> None:
    """The layout of allenai/pixmo-count; the pictures are downloaded apart."""
    shas = [hashlib.sha256(_png(number)).hexdigest() for number in range(4)]
    rows = [
        {
            "image_url": f"https://example.org/a/photo%20{number}.png?w=1",
            "image_sha256": sha,
            "count": number + 2,
            "points": None,
            "label": "people",
        }
        for number, sha in enumerate(shas)
    ]
    images = tmp_path / "images"
    images.mkdir()
    for number, name in enumerate((f"{shas[0]}", "00000-1.png", "photo 2.png")):
        (images / name).write_bytes(_png(number))
    task = _pixmo(tmp_path, rows)
    assert task.examples[0].requests[0].queries == ("people",)
    assert [e.truth for e in task.examples] == [2, 3, 4, 5]
    for number, example in enumerate(task.examples[:3]):
        assert example.open().tobytes() == picture(64, 48, number).tobytes()
    with pytest.raises(InputError, match=f"{shas[3]} does not exist"):
        task.examples[3].open()
    assert task.picture_names == tuple(shas)
    # truth 2, 3, 4, 5: right, one off, no number, and the picture that is missing
    failed = Prediction.failed(task.examples[3], "no picture")
    said = [*_answers(replace(task, examples=task.examples[:3]), ["2", "4", "many"]), failed]
    assert _measure(task, said) == {"accuracy": 1 / 4, "within 1": 2 / 4, "MAE": 10 / 4}
    assert _measure(task, [task.perfect(e) for e in task.examples])["accuracy"] == 1


def test_bad_rows_are_told_and_the_rest_is_asked(tmp_path: Path) -> None:
    good = {"question": "How many cats are there?", "answer": 3, "image": "a.jpg"}
    rows: list[object] = [
        good,
        {**good, "answer": "3", "image": "b.jpg"},
        {**good, "question": "", "image": "c.jpg"},
        {"answer": 3, "image": "d.jpg"},
        good,
        "row",
        {**good, "answer": -1, "image": "e.jpg"},
        {**good, "label": 7, "image": "f.jpg"},
        {**good, "answer": 10**30, "image": "g.jpg"},
        {**good, "label": "x" * 50_000, "image": "h.jpg"},
        {**good, "question": f"How many {'x' * 50_000} are there?", "image": "i.jpg"},
        {**good, "question": f"How many {'x' * 5_000} are there?", "image": "j.jpg"},
    ]
    path = tmp_path / "pixmo.json"
    path.write_text(json.dumps(rows))
    task = PixMoCount.load(path)
    assert [e.key for e in task.examples] == ["a"]
    assert len(task.broken) == len(rows) - 1
    problems = " / ".join(bad.problem for bad in task.broken)
    for told in (
        *("'answer' is 3 (str)", "no 'question'", "a second row is called a", "is -1"),
        *("from 0 to 1,000,000", "the noun has 50,000 characters", "the noun has 5,000"),
        "'question' has 50,020 characters; expected at most 10,000",
    ):
        assert told in problems
    assert "\n" not in problems


@pytest.mark.parametrize("name", ["countbench", "pixmo-count"])
def test_an_empty_folder_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"test-\*\.parquet"):
        get_task(name).load(tmp_path)


def test_end_to_end(tmp_path: Path, model: FO1) -> None:
    task = _countbench(tmp_path).first(2)
    gone = replace(task.examples[0], image=tmp_path / "gone.png")
    summary = evaluate(model, replace(task, examples=(gone, task.examples[1])), resamples=2)
    assert summary.counts["failed"] == 1
    assert summary.figures["accuracy"].value <= 50
    assert 0 <= summary.figures["accuracy"].value <= 100
