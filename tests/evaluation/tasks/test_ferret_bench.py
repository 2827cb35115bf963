import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.metrics.judges import Case, Ratings
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks.ferret_bench import FerretBench
from fo1.pipeline import FO1
from tests.tiny import picture

QUESTIONS = (
    (0, "000000130566.jpg", "What is the object [0.250, 0.500, 0.750, 1.000] on the train for?"),
    (1, "000000010764.jpg", "What might the man [0.000, 0.000, 0.500, 0.500] do next?"),
    (
        7,
        "000000069138.jpg",
        "Is [0.0, 0.0, 0.5, 0.5] in [0.0, 0.0, 1.0, 1.0] or [0.0, 0.0, 0.5, 0.5]?",
    ),
)
ANSWERS = {0: "It is a windshield.", 1: "He might catch the ball.", 7: "It is a sign in a window."}


@pytest.fixture(autouse=True)
def _no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FO1_JUDGE", raising=False)


def _files(data: Path, rows: list[object] | None = None) -> Path:
    """The layout of apple/ml-ferret, ferret/eval/ferret_gpt4_data, with pictures in images/."""
    own = data / "refer_reason"
    own.mkdir(parents=True)
    given: list[object] = [
        {"question_id": number, "image": image, "category": "refer_reason", "text": text}
        for number, image, text in QUESTIONS
    ]
    texts = {
        "question": given if rows is None else rows,
        "context": [{"question_id": n, "text": f"Objects of {n}"} for n in ANSWERS],
        "answer": [{"question_id": n, "text": text} for n, text in ANSWERS.items()],
    }
    for name, lines in texts.items():
        (own / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    rule = {"refer_reason": {"role": "Assistant", "prompt": "Please rate."}}
    (data / "rule.json").write_text(json.dumps(rule))
    (data / "images").mkdir()
    for number, image, _ in QUESTIONS:
        picture(200, 100, number).save(data / "images" / image)
    return data


class _ByLength:
    """Rates 8 against one point a word; fails where it is told to."""

    name = "by length"

    def __init__(self, *fails: str) -> None:
        self.fails, self.seen = fails, list[Case]()

    def rate(self, cases: list[Case]) -> list[Ratings | str]:
        self.seen += cases
        return [
            "no quota" if one.question_id in self.fails else (8.0, float(len(one.answer.split())))
            for one in cases
        ]


def _said(task: FerretBench, *texts: str) -> list[Prediction]:
    pairs = zip(task.examples, texts, strict=True)
    return [Prediction.made(e, [], Said(written=(text,) if text else ())) for e, text in pairs]


def _measure(task: FerretBench, predictions: list[Prediction]) -> dict[str, float]:
    weights = resampling(len(task.picture_names), 2)
    return {one.name: float(one.values[0]) for one in task.measure(predictions, weights)}


def test_boxes_of_a_question_are_regions(tmp_path: Path) -> None:
    task = FerretBench.load(_files(tmp_path))
    first, _, last = task.examples
    assert first.requests[0].queries == ("What is the object <region0> on the train for?",)
    np.testing.assert_array_equal(first.boxes, [[50, 50, 150, 100]])
    assert last.requests[0].queries == ("Is <region0> in <region1> or <region0>?",)
    np.testing.assert_array_equal(last.boxes, [[0, 0, 100, 50], [0, 0, 200, 100]])
    assert [path.name for path in task.files] == ["question.jsonl", "context.jsonl", "answer.jsonl"]
    assert [e.key for e in FerretBench.load(tmp_path).examples] == [
        "refer_reason 0",
        "refer_reason 1",
        "refer_reason 7",
    ]


def test_without_a_judge_there_is_no_score(tmp_path: Path) -> None:
    task = FerretBench.load(_files(tmp_path))
    found = _measure(task, _said(task, "It is a hat.", "", ANSWERS[7]))
    assert np.isnan(found["score"])
    assert found["token F1"] == pytest.approx((6 / 8 + 0 + 1) / 3)
    (table,) = task.details(_said(task, "a", "b", "c"), resampling(3, 2))
    assert ("not rated, left out: there is no judge", ("3",)) in table.rows


def test_the_score_met_by_hand(tmp_path: Path) -> None:
    judge = _ByLength()
    task = replace(FerretBench.load(_files(tmp_path)), judge=judge)
    said = _said(
        task, "a <region0> b c d", "<think>long thought</think><answer>two words</answer>", ""
    )
    assert _measure(task, said)["score"] == pytest.approx((4 + 2 + 0) / (8 + 8 + 10))
    assert [case.answer for case in judge.seen] == ["a b c d", "two words"]
    case = judge.seen[0]
    assert (case.question_id, case.context, case.prompt) == ("0", "Objects of 0", "Please rate.")
    assert case.question == QUESTIONS[0][2]


def test_perfect_is_100_empty_0_and_order_is_nothing(tmp_path: Path) -> None:
    task = replace(FerretBench.load(_files(tmp_path)), judge=_ByLength())
    perfect = _measure(task, [task.perfect(e) for e in task.examples])
    assert perfect == {"score": 1, "token F1": 1}
    assert _measure(task, [Prediction.empty(e) for e in task.examples])["score"] == 0
    said = _said(task, "one", "one two", "word " * 50_000)
    moved = replace(task, examples=task.examples[::-1])
    assert _measure(moved, said[::-1]) == pytest.approx(_measure(task, said))


def test_a_judge_that_fails_is_counted_and_left_out(tmp_path: Path) -> None:
    task = replace(FerretBench.load(_files(tmp_path)), judge=_ByLength("1"))
    said = _said(task, "one two", "one two three", "")
    assert _measure(task, said)["score"] == pytest.approx(2 / (8 + 10))
    rows = dict(task.details(said, resampling(3, 2))[0].rows)
    assert rows == {
        "rated": ("2",),
        "empty, rated 0": ("1",),
        "not rated, left out: no quota": ("1",),
    }
    nobody = replace(task, judge=_ByLength("0", "1", "7"))
    assert np.isnan(_measure(nobody, _said(task, "a", "b", "c"))["score"])


def test_rows_for_a_judge_elsewhere_come_back_as_ratings(tmp_path: Path) -> None:
    task = FerretBench.load(_files(tmp_path))
    said = _said(task, "one two", "three", "")
    rows = task.to_judge(said)
    assert [row["question_id"] for row in rows] == ["0", "1"]
    rated = [row | {"tuple": [8, 4]} for row in rows]
    (tmp_path / "judge.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rated))
    again = FerretBench.load(tmp_path)
    assert _measure(again, said)["score"] == pytest.approx(8 / (16 + 10))


def test_a_program_may_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "judge.py"
    program.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps({'question_id': json.loads(line)['question_id'], 'tuple': [8, 6]}))\n"
    )
    monkeypatch.setenv("FO1_JUDGE", f'"{sys.executable}" "{program}"')
    task = FerretBench.load(_files(tmp_path / "data"))
    assert _measure(task, _said(task, "a", "b", "c"))["score"] == pytest.approx(0.75)


def test_the_floor_is_a_reference_of_another_question(tmp_path: Path) -> None:
    task = FerretBench.load(_files(tmp_path))
    ((floor,),) = task.bounds([]).values()
    assert floor[1].said[0].written == (ANSWERS[0],)
    assert 0 < _measure(task, list(floor))["token F1"] < 0.5


def test_bad_rows_are_told_and_the_rest_is_asked(tmp_path: Path) -> None:
    good = {"question_id": 0, "image": QUESTIONS[0][1], "text": QUESTIONS[0][2]}
    rows: list[object] = [
        good,
        good,
        {**good, "question_id": 1, "text": "What is [0.5, 0.5, 0.1, 0.9]?"},
        {**good, "question_id": 1, "text": "What is [a man]?"},
        {**good, "question_id": 1, "text": "What is this?"},
        {**good, "question_id": 1, "text": "What is [1, 2, 3, 4]?"},
        {**good, "question_id": 2},
        {"question_id": 7, "text": QUESTIONS[2][2]},
        {**good, "question_id": None},
        {**good, "question_id": 1, "text": "What is [0, 0, 1, 1]?" + " please" * 10_000},
        3,
    ]
    task = FerretBench.load(_files(tmp_path, rows))
    assert [e.key for e in task.examples] == ["refer_reason 0"]
    assert len(task.broken) == len(rows) - 1
    problems = " / ".join(bad.problem for bad in task.broken)
    for told in ("a second question 0", "[a man] is no box", "names no box", "lacks a context"):
        assert told in problems


@pytest.mark.parametrize(
    ("row", "told", "asked"),
    [
        ({"question_id": 0, "text": "It is a hat."}, "a second text for question 0", 3),
        ({"question_id": 9, "text": " "}, "the text for question 9 is empty", 3),
        ({"question_id": 1, "text": ""}, "the text for question 1 is empty", 2),
        ({"question_id": "1", "text": "a"}, "'question_id' is 1 (str)", 3),
        ({"question_id": 1, "text": None}, "'text' is None", 2),
        ([], "list; expected an object", 3),
    ],
)
@pytest.mark.parametrize("name", ["answer", "context"])
def test_bad_references_and_contexts_are_told(tmp_path: Path, name, row, told, asked) -> None:
    path = _files(tmp_path) / f"refer_reason/{name}.jsonl"
    lines = path.read_text().splitlines()
    if asked == 2:  # in the place of the good one
        del lines[1]
    path.write_text("\n".join([*lines, json.dumps(row)]))
    task = FerretBench.load(tmp_path)
    assert len(task.examples) == asked
    assert len(task.broken) == 1 + (asked == 2), "the row, and the question that it fails"
    assert told in task.broken[-1].problem
    assert task.broken[-1].key.startswith(f"{name}.jsonl line ")
    assert task.examples[0].truth.reference == ANSWERS[0]


def test_the_truth_is_told_in_words(tmp_path: Path) -> None:
    task = FerretBench.load(_files(tmp_path))
    assert task.truth_in_words(task.examples[1]) == ANSWERS[1]


def test_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"question\.jsonl"):
        FerretBench.load(tmp_path)
    (_files(tmp_path) / "refer_reason/answer.jsonl").unlink()
    with pytest.raises(InputError, match=r"answer\.jsonl"):
        FerretBench.load(tmp_path)


def test_end_to_end_with_a_missing_picture(
    tmp_path: Path, model: FO1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.engine.model.generation_config, "max_new_tokens", 4)
    data = _files(tmp_path)
    (data / "images" / QUESTIONS[1][1]).unlink()
    task = replace(FerretBench.load(data), judge=_ByLength())
    given = [example.boxes for example in task.examples]  # else the model would be asked for them
    assert [boxes is not None and len(boxes) for boxes in given] == [1, 1, 2]
    summary = evaluate(model, task, resamples=2)
    assert (summary.counts["examples"], summary.counts["failed"]) == (3, 1)
    assert summary.figures["score"].value >= 0
