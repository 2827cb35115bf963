"""A photo set of two pictures with expressions, counts and absent names."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fo1.evaluation.contestants import MODEL, TEXT_ONLY, TRUE_BOXES
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.sources import make_source
from fo1.evaluation.summary import summarise
from fo1.evaluation.tasks.photos import Photos
from fo1.prompts import Task
from tests.evaluation.figures import shares
from tests.evaluation.tasks.test_folder import annotations, write
from tests.tiny import picture

ONE = np.ones((1, 2))
DETECTION = ["AP", "AP50", "R@50", "R@100", "FP/photo"]
REFUSING = [
    "absent names: AUROC",
    "absent names: none said, absent",
    "absent names: none said, present",
    "absent names: FP/photo",
]
ALL = [
    *(*DETECTION, "referring: accuracy", "counting: exact", "counting: exact where 2 or more"),
    *(*REFUSING, "naming: accuracy", "naming: macro accuracy"),
]


@pytest.fixture
def content() -> dict:
    parts = {
        "exhaustive_category_ids": [5, 8],
        "verified_absent_category_ids": [11],
        "unsure_category_ids": [],
    }
    rows = [
        (1, 5, [0, 0, 20, 20], 0),
        (1, 5, [40, 0, 50, 50], 0),
        (1, 8, [5, 40, 20, 20], 0),
        (2, 5, [10, 10, 30, 30], 0),
        (2, 5, [60, 30, 30, 30], 1),
    ]
    return annotations(
        [{"id": n, "file_name": f"{n}.png", **parts} for n in (1, 2)],
        rows,
        ("cat", "cup", "car"),
        vocabulary=["cat", "cup", "car"],
        referring=[
            {"image_id": 1, "expression": "the  small cat", "annotation_id": 100},
            {"image_id": 1, "expression": "the cup", "annotation_id": 102},
        ],
        counting=[
            {"image_id": 1, "noun": "cat", "answer": 2},
            {"image_id": 2, "noun": "cat", "answer": 1},
        ],
        absent=[{"image_id": 2, "names": ["car", "boat"]}],
    )


@pytest.fixture
def data(tmp_path, content):
    folder = write(tmp_path / "set", content, "small.json")
    (folder / "small").mkdir()
    for number in (1, 2):
        picture(96, 64, number).save(folder / "small" / f"{number}.png")
    return folder


def test_what_is_asked(data) -> None:
    first, second = Photos.load(data).examples
    assert [(r.task, r.queries) for r in first.requests] == [
        (Task.DETECT, ("cat", "cup", "car")),
        (Task.REFER, ("the small cat",)),
        (Task.REFER, ("the cup",)),
        (Task.COUNT, ("cat",)),
    ]
    assert [(r.task, r.queries) for r in second.requests] == [
        (Task.DETECT, ("cat", "cup", "car")),
        (Task.COUNT, ("cat",)),
        (Task.DETECT, ("cat", "car", "boat")),
    ]
    assert second.requests[0].threshold == second.requests[2].threshold == 0


def test_perfect_and_empty(data) -> None:
    task = Photos.load(data)
    best = shares(task, [task.perfect(example) for example in task.examples])
    assert list(best) == ALL
    wrong = {"FP/photo", "absent names: none said, present", "absent names: FP/photo"}
    assert best == {name: float(name not in wrong) for name in ALL}
    nothing = shares(task, [Prediction.empty(example) for example in task.examples])
    named = {name: value for name, value in nothing.items() if not np.isnan(value)}
    none = {
        "absent names: none said, absent": 1.0,
        "absent names: none said, present": 1.0,
        "absent names: AUROC": 0.5,
    }
    assert named == {name: none.get(name, 0.0) for name in ALL[:-2]}
    failed = shares(task, [Prediction.failed(example, "gone") for example in task.examples])
    assert failed["referring: accuracy"] == failed["counting: exact"] == failed["AP"] == 0
    # Silence of a failure is not right: car and boat count as found in one of the two photos.
    assert [failed[name] for name in REFUSING] == [0, 0, 1, 1]


def test_answers_are_judged_one_by_one(data) -> None:
    task = Photos.load(data)
    first, second = task.examples
    boxes = [[0, 0, 20, 16], [40, 0, 90, 50], [0, 0, 96, 64]]
    one = Prediction.made(
        first,
        boxes,
        Said.found([]),
        Said.found([("the small cat", 1), ("the small cat", 0)], [0.3, 0.6]),  # the best: right
        Said.found([("the cup", 77)]),  # no such region
        Said(count=3),
    )
    probes = [("cat", 0), ("car", 0), ("car", 1), ("boat", 0)]
    two = Prediction.made(
        second,
        boxes,
        Said.found([]),
        Said(count=1),
        Said.found(probes, [0.4, 0.7, 0.45, 0.39]),
    )
    found = shares(task, [one, two])
    assert found["referring: accuracy"] == 0.5
    assert (found["counting: exact"], found["counting: exact where 2 or more"]) == (0.5, 0)
    # The cat at 0.4 is found and beats the boat, not the car; the car is found twice.
    assert [found[name] for name in REFUSING] == [0.5, 0.5, 0, 1]
    floors = summarise(task, {MODEL.name: [one, two]}, floors=True, resamples=5).bounds
    assert floors["chance (1 / regions, 1 / names)"]["referring: accuracy"].value == pytest.approx(
        100 / 3
    )
    assert floors["largest region"]["referring: accuracy"].value == 0
    majority = floors["majority (always 2, always 'cat')"]
    assert (
        majority["counting: exact"].value,
        majority["counting: exact where 2 or more"].value,
    ) == (50, 100)
    assert (majority["naming: accuracy"].value, majority["naming: macro accuracy"].value) == (
        75,
        50,
    )


def test_true_boxes_are_named_by_their_best_score(data) -> None:
    task = Photos.load(data)
    perfect = [task.perfect(example) for example in task.examples]

    def named(*answers: Said) -> tuple[float, float]:
        told = [
            replace(one, said=(said, *one.said[1:]))
            for one, said in zip(perfect, answers, strict=True)
        ]
        found = shares(task, told)
        return found["naming: accuracy"], found["naming: macro accuracy"]

    pairs = [("cat", 0), ("cup", 0), ("cat", 1), ("car", 1), ("cat", 2), ("cup", 2)]
    cat, none = Said.found([("cat", 0)], [0.0]), Said()
    # Right, a tie of two, wrong; in the second picture right.
    assert named(Said.found(pairs, [0.9, 0.2, 0.4, 0.4, 0.3, 0.1]), cat) == (2.5 / 4, 2.5 / 6)
    assert named(none, cat) == (1 / 4, 1 / 6)
    twice = Said.found([("cat", 0), ("cup", 0), ("cat", 0)], [0.9, 0.5, 0.1])  # the best counts
    assert named(twice, cat) == (2 / 4, 2 / 6)
    moved = replace(perfect[0], boxes=perfect[0].boxes + 1)
    assert np.isnan(shares(task, [moved, perfect[1]])["naming: accuracy"]), "not the true boxes"
    gone = Prediction.failed(task.examples[1], "gone")
    assert shares(task, [perfect[0], gone])["naming: accuracy"] == 3 / 4


def test_what_a_file_has_no_rows_for_is_left_out(data, content) -> None:
    for key in ("referring", "counting", "absent"):
        del content[key]
    task = Photos.load(write(data, content, "small.json"))
    perfect = [task.perfect(example) for example in task.examples]
    assert list(shares(task, perfect)) == [
        *DETECTION,
        "naming: accuracy",
        "naming: macro accuracy",
    ]
    assert all(len(example.requests) == 1 for example in task.examples)


@pytest.mark.parametrize(
    ("key", "change", "told"),
    [
        ("referring", {"expression": ""}, "referring row 1"),
        ("referring", {"expression": 7}, "referring row 1"),
        ("referring", {"annotation_id": 104}, "annotation_id is 104"),  # an ignore region
        ("referring", {"image_id": 2}, "annotation_id is 100"),
        ("referring", {"image_id": 9}, "image_id is 9"),
        ("counting", {"answer": "2"}, "answer is '2'; expected a whole number"),
        ("counting", {"answer": -1}, "answer is -1"),
        ("counting", {"answer": 10**30}, "from 0 to 1,000,000"),
        ("counting", {"noun": "x" * 50_000}, "noun has 50,000 characters"),
        ("referring", {"expression": "x" * 50_000}, "expression has 50,000 characters"),
        ("absent", {"names": ["x" * 50_000]}, "50,000 characters"),
        ("absent", {"names": "car"}, "names is car, need a list"),
        ("absent", {"names": ["car", None]}, "absent row 1"),
    ],
)
def test_rows_that_cannot_be_used_are_told(data, content, key, change, told) -> None:
    content[key][0] |= change
    task = Photos.load(write(data, content, "small.json"))
    (bad,) = task.broken
    assert told in f"{bad.key}: {bad.problem}"
    perfect = shares(task, [task.perfect(example) for example in task.examples])
    assert perfect["AP"] == perfect["counting: exact"] == 1


def test_the_order_of_the_file_does_not_matter(data, content) -> None:
    def half_right(task: Photos) -> dict[str, float]:
        told = [task.perfect(example) for example in task.examples]
        return shares(
            task,
            [replace(p, said=(Said(), *p.said[1:])) if p.key == "1" else p for p in told],
        )

    before = half_right(Photos.load(data))
    for key in ("images", "annotations", "categories", "referring", "counting"):
        content[key].reverse()
    other = Photos.load(write(data, content, "small.json"))
    assert [example.key for example in other.examples] == ["2", "1"]
    assert half_right(other) == pytest.approx(before)


def test_a_tiny_model_from_end_to_end(model, data) -> None:
    task = Photos.load(data)
    found = evaluate(model, task, contestants=(MODEL, TEXT_ONLY, TRUE_BOXES), resamples=10)
    assert list(found.figures) == ALL
    assert found.counts["failed"] == 0
    assert np.isnan(found.figures["naming: accuracy"].value)
    assert np.isfinite(found.bounds["true boxes"]["naming: accuracy"].value)
    assert np.isfinite(found.bounds["text only"]["referring: accuracy"].value)
    given = evaluate(model, task, source=make_source("true", task, model), resamples=10)
    for name, one in found.bounds["true boxes"].items():
        assert given.figures[name].value == pytest.approx(one.value), name
    assert json.dumps(given.to_dict())


def test_no_absent_name_and_no_box_leave_nothing_to_refuse(data, content) -> None:
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] == 1]
    content["absent"] = [{"image_id": 2, "names": []}]
    task = Photos.load(write(data, content, "small.json"))
    found = shares(task, [task.perfect(example) for example in task.examples])
    assert found["AP"] == 1
    assert not set(REFUSING) & set(found)
    content["absent"] = [{"image_id": 1, "names": []}]  # names that are there are asked for alone
    task = Photos.load(write(data, content, "small.json"))
    found = shares(task, [task.perfect(example) for example in task.examples])
    assert np.isnan(found["absent names: AUROC"])
    assert found["absent names: none said, present"] == 0


def test_regions_that_do_not_exist_are_wrong_and_no_error(data) -> None:
    task = Photos.load(data)
    told = []
    for example in task.examples:
        names = [request.queries[0] for request in example.requests]
        said = [Said.found([(name, 99), (name, -1), (name, 3)], count=-5) for name in names]
        told.append(Prediction.made(example, example.truth.truth.boxes, *said))
    found = shares(task, told)
    assert found["referring: accuracy"] == found["counting: exact"] == found["AP"] == 0
    assert found["naming: accuracy"] == 0
    assert task.details(told, ONE)
    assert task.expected(told, ONE)
    assert task.error(task.examples[0], told[0]) == 3
    assert not task.chances(told)
