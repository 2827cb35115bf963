import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks.relation_questions import RelationQuestion, relation_questions
from fo1.evaluation.tasks.relations import Relations, read_reply
from fo1.pipeline import FO1
from fo1.tags import regions_in
from tests.tiny import picture

BOXES = [[0, 0, 20, 20], [40, 0, 60, 20], [0, 40, 60, 90]]


def _row(question: str, answer: str, **more: object) -> dict:
    return {"image": "a.png", "boxes": BOXES, "question": question, "answer": answer, **more}


def _table(data: Path, rows: list[dict] | None = None) -> Relations:
    rows = rows or [
        _row("Is <region0> left of <region1>?", "yes", relation="left of"),
        _row("Is <region1> left of <region0>?", "no", relation="left of"),
        _row("Which is larger, <region0> or <region2>?", "<region2>", relation="which is larger"),
        {"image": "b.png", "boxes": BOXES[:2], "question": "Are there cats?", "answer": "Yes"},
    ]
    (data / "images").mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.png"):
        picture(100, 100).save(data / "images" / name)
    (data / "relations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Relations.load(data)


def _coco(data: Path, pictures: int = 20) -> Path:
    """The layout of COCO."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(pictures):
        images.append(
            {"id": number, "file_name": f"{number:012d}.jpg", "width": 640, "height": 480}
        )
        for _ in range(6):
            x, y = rng.uniform(0, 500), rng.uniform(0, 380)
            box = [round(float(v), 2) for v in (x, y, rng.uniform(20, 130), rng.uniform(20, 90))]
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": int(rng.integers(1, 4)),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": 1, "name": "chair", "supercategory": "furniture"},
        {"id": 2, "name": "couch", "supercategory": "furniture"},
        {"id": 3, "name": "cat", "supercategory": "animal"},
    ]
    path = data / "annotations/instances_val2017.json"
    path.parent.mkdir(parents=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    (data / "val2017").mkdir()
    picture(640, 480).save(data / "val2017/000000000000.jpg")
    return path


def _said(task: Relations, *texts: tuple[str, ...]) -> list[Prediction]:
    return [
        Prediction.made(e, BOXES, *(Said(written=(text,)) for text in each))
        for e, each in zip(task.examples, texts, strict=True)
    ]


def _measure(task: Relations, predictions: list[Prediction]) -> dict[str, float]:
    weights = resampling(len(task.picture_names), 2)
    return {one.name: float(one.values[0]) for one in task.measure(predictions, weights)}


@pytest.mark.parametrize(
    ("text", "answer", "reply"),
    [
        ("Yes.", "no", "yes"),
        ("I'd say NO, not yes", "yes", "no"),
        ("<think>yes or no</think><answer>No</answer>", "yes", "no"),
        ("nothing, yesterday", "yes", None),
        ("", "yes", None),
        ("<ground>it</ground><objects><region2></objects>", "<region2>", "<region2>"),
        ("<think><region0></think>It is <region1>, not <region0>", "<region0>", "<region1>"),
        ("region 1", "<region1>", None),
        ("<region999>", "<region1>", "<region999>"),
        ("no " * 20_000, "no", "no"),
    ],
)
def test_replies_are_read_by_rule(text: str, answer: str, reply: str | None) -> None:
    assert read_reply(text, answer) == reply


def test_figures_met_by_hand(tmp_path: Path) -> None:
    task = _table(tmp_path)
    assert [len(e.requests) for e in task.examples] == [3, 1]
    said = _said(task, ("yes", "yes", "<region2>"), ("<region99>",))
    assert _measure(task, said) == {
        "accuracy": 0.5,
        "left of": 0.5,
        "which is larger": 1,
        "other": 0,
    }


def test_perfect_is_100_empty_0_and_order_is_nothing(tmp_path: Path) -> None:
    task = _table(tmp_path)
    assert set(_measure(task, [task.perfect(e) for e in task.examples]).values()) == {1}
    assert set(_measure(task, [Prediction.empty(e) for e in task.examples]).values()) == {0}
    said = _said(task, ("yes", "yes", "<region2>"), ("",))
    moved = replace(task, examples=task.examples[::-1])
    assert _measure(moved, said[::-1]) == _measure(task, said)


def test_floors(tmp_path: Path) -> None:
    task = _table(tmp_path)
    (majority,) = task.bounds([])["majority"]
    # yes is the most frequent word; the larger region is the second that is named
    assert _measure(task, list(majority))["accuracy"] == 0.75
    (true,) = task.bounds([])["true answers"]
    assert _measure(task, list(true))["accuracy"] == 1
    empty = [Prediction.empty(e) for e in task.examples]
    chance = task.expected(empty, resampling(2, 2))["chance"]
    assert [one.values[0] for one in chance] == [0.5] * 4


def test_bad_rows_are_told_and_the_rest_is_asked(tmp_path: Path) -> None:
    good = _row("Is <region0> left of <region1>?", "yes")
    rows = [
        good,
        good,
        _row("Is <region0> left of <region3>?", "yes"),
        _row("", "yes"),
        _row("Which?", "<region3>"),
        _row("Which?", "perhaps"),
        {**good, "boxes": [[0, 0, 1]]},
        {**good, "boxes": [[5, 0, 1, 9]]},
        {**good, "boxes": "all"},
        {**good, "boxes": [[0, 0, 1, 10**400], [0, 0, 1, 1]]},
        {**good, "boxes": [[0, 0, 1, 1e20], [0, 0, 1, 1]]},
        {**good, "question": "Is <region0> " + "left " * 10_000 + "of <region1>?"},
        {"image": "a.png"},
    ]
    task = _table(tmp_path, rows)
    assert [len(e.requests) for e in task.examples] == [1]
    assert len(task.broken) == len(rows) - 1
    assert "a second row asks this" in task.broken[0].problem
    assert all("\n" not in bad.problem for bad in task.broken)


def test_questions_of_boxes_by_hand() -> None:
    boxes = np.array([[0, 0, 20, 20], [40, 0, 60, 20]], np.float32)
    rng = np.random.default_rng(0)
    asked = relation_questions(boxes, ["a", "b"], ["a", "b"], (100, 100), rng)
    assert [(one.relation, one.text, one.answer) for one in asked] == [
        ("left of", "Is <region0> to the left of <region1>? Answer yes or no.", "yes"),
        ("left of", "Is <region1> to the left of <region0>? Answer yes or no.", "no"),
        ("right of", "Is <region1> to the right of <region0>? Answer yes or no.", "yes"),
        ("right of", "Is <region0> to the right of <region1>? Answer yes or no.", "no"),
    ]


def test_close_calls_are_not_asked() -> None:
    boxes = np.array([[0, 0, 20, 20], [21, 0, 46, 20]], np.float32)  # 1 px apart, 1.25 times larger
    rng = np.random.default_rng(0)
    assert relation_questions(boxes, ["a", "a"], ["a", "a"], (100, 100), rng) == []
    assert relation_questions(boxes[:1], ["a"], ["a"], (100, 100), rng) == []
    assert relation_questions(boxes[:0], [], [], (100, 100), rng) == []


def test_what_is_close_goes_by_its_own_side_of_the_picture() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([[0, 0, 20, 20], [25, 25, 45, 45]], np.float32)  # 5 px apart either way
    for size, relations in (
        ((400, 100), {"left of", "right of"}),
        ((100, 400), {"above", "below"}),
    ):
        asked = relation_questions(boxes, ["a", "b"], ["a", "b"], size, rng)
        assert {one.relation for one in asked} == relations


def test_answers_made_from_coco_boxes_are_true_and_balanced(tmp_path: Path) -> None:
    path = _coco(tmp_path)
    task = Relations.load(tmp_path)
    assert task.files == (path,)
    assert task.broken == ()
    answers: dict[str, Counter] = {}
    for example in task.examples:
        boxes = example.boxes
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        for question in example.truth:
            a, b = regions_in(question.text)
            first = question.answer == "yes" or question.answer == f"<region{a}>"
            answers.setdefault(question.relation, Counter())[first] += 1
            low, high = (a, b) if first else (b, a)
            match question.relation:
                case "left of":
                    assert boxes[low, 2] < boxes[high, 0]
                case "right of":
                    assert boxes[low, 0] > boxes[high, 2]
                case "above":
                    assert boxes[low, 3] < boxes[high, 1]
                case "below":
                    assert boxes[low, 1] > boxes[high, 3]
                case "larger" | "which is larger":
                    assert area[low] >= 2 * area[high]
                case "which is smaller":
                    assert 2 * area[low] <= area[high]
                case "contains":
                    assert (boxes[low, :2] <= boxes[high, :2]).all()
                    assert (boxes[low, 2:] >= boxes[high, 2:]).all()
    assert {"left of", "above", "larger", "same kind", "which is larger"} <= set(answers)
    sized = answers.pop("which is larger") + answers.pop("which is smaller")
    assert sized[True] == sized[False]
    assert all(count[True] == count[False] for count in answers.values())
    (majority,) = task.bounds([])["majority"]
    assert _measure(task, list(majority))["accuracy"] == 0.5


def test_a_habit_earns_one_half(tmp_path: Path) -> None:
    _coco(tmp_path)
    task = Relations.load(tmp_path)

    def lowest(question: RelationQuestion) -> str:
        return f"yes <region{min(regions_in(question.text))}>"

    for habit in (lowest, lambda question: "no" + question.text):
        said = [
            Prediction.made(e, e.boxes, *(Said(written=(habit(one),)) for one in e.truth))
            for e in task.examples
        ]
        assert _measure(task, said)["accuracy"] == 0.5


def test_kinds_that_are_near_are_not_told_apart(tmp_path: Path) -> None:
    path = _coco(tmp_path)
    content = json.loads(path.read_text())
    name = {one["id"]: one["name"] for one in content["categories"]}
    for example in Relations.load(tmp_path).examples:
        number = int(example.key.split(".")[0])
        own = [one for one in content["annotations"] if one["image_id"] == number]
        for question in example.truth:
            if question.relation == "same kind":
                kinds = set()
                for region in regions_in(question.text):
                    x, y = example.boxes[region, :2]
                    (one,) = (one for one in own if np.allclose(one["bbox"][:2], (x, y), atol=1e-3))
                    kinds.add(name[one["category_id"]])
                assert (len(kinds) == 1) == (question.answer == "yes")
                assert kinds != {"chair", "couch"}


def test_questions_depend_on_the_seed_and_not_on_the_order_of_rows(tmp_path: Path) -> None:
    path = _coco(tmp_path)

    def asked(seed: int) -> dict[str, tuple]:
        return {e.key: e.truth for e in Relations.from_coco(path, seed).examples}

    first = asked(0)
    assert asked(1) != first
    content = json.loads(path.read_text())
    content["images"].reverse()
    content["annotations"].reverse()
    path.write_text(json.dumps(content))
    assert asked(0) == first


def test_bad_coco_rows_are_told(tmp_path: Path) -> None:
    path = _coco(tmp_path, 3)
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [1, 2]
    content["images"][1]["width"] = 0
    content["images"][2]["height"] = 10**29
    content["images"].append({**content["images"][0], "id": 99})
    content["annotations"] += [
        {**one, "id": one["id"] + 1000, "image_id": 99}
        for one in content["annotations"]
        if one["image_id"] == 0
    ]
    path.write_text(json.dumps(content))
    task = Relations.load(tmp_path)
    problems = " / ".join(bad.problem for bad in task.broken)
    for told in (
        "bbox",
        "width is 0; expected a whole number from 1 to 100,000",
        "a second picture is called 000000000000",
    ):
        assert told in problems


def test_boxes_that_give_no_question_are_told_as_they_are(tmp_path: Path) -> None:
    path = _coco(tmp_path, 3)
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][::6]  # one in each picture
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="3 boxes in 3 pictures, but no pair to ask about; give"):
        Relations.load(tmp_path)


def test_the_truth_is_told_in_words(tmp_path: Path) -> None:
    task = _table(tmp_path)
    assert task.truth_in_words(task.examples[1]) == "Are there cats? yes"
    assert "Is <region1> left of <region0>? no; Which" in task.truth_in_words(task.examples[0])


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"relations\.jsonl"):
        Relations.load(tmp_path)


def test_end_to_end(tmp_path: Path, model: FO1, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.engine.model.generation_config, "max_new_tokens", 4)
    _coco(tmp_path, 2)  # the second picture is missing
    summary = evaluate(model, Relations.load(tmp_path), resamples=2)
    assert (summary.counts["examples"], summary.counts["failed"]) == (2, 1)
    assert summary.figures["accuracy"].value <= 50
