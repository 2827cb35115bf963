"""Hallucination: who is asked for what is not there, and what saying it costs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.predicting import Predictor
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.hallucination import Counts, Hallucination, count
from fo1.pipeline import DEFAULT_THRESHOLD, FO1
from tests.evaluation.figures import percents

CATEGORIES = [
    {"id": number, "name": name, "supercategory": "thing"}
    for number, name in ((1, "person"), (3, "car"), (17, "cat"), (18, "dog"))
]


def box(number: int, of: int, name: int, bbox: list[float], crowd: int = 0) -> dict[str, Any]:
    return {
        **{"id": number, "image_id": of, "category_id": name, "bbox": bbox},
        **{"area": bbox[2] * bbox[3], "iscrowd": crowd},
    }


def save(root: Path, place: str, content: dict[str, Any], pictures: list[str]) -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    for name in pictures:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), "grey").save(root / name)
    return path


def coco_content() -> dict[str, Any]:
    """Two persons and a cat; a dog and a crowd of cars."""
    return {
        "info": {},
        "licenses": [],
        "categories": CATEGORIES,
        "images": [
            {"id": 139, "file_name": "000000000139.jpg", "width": 64, "height": 48},
            {"id": 285, "file_name": "000000000285.jpg", "width": 64, "height": 48},
        ],
        "annotations": [
            box(1, 139, 1, [0, 0, 20, 20]),
            box(2, 139, 1, [30, 0, 20, 20]),
            box(3, 139, 17, [0, 25, 20, 20]),
            box(4, 285, 18, [5, 5, 30, 30]),
            box(5, 285, 3, [40, 5, 20, 10], crowd=1),
        ],
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    pictures = ["val2017/000000000139.jpg", "val2017/000000000285.jpg"]
    save(tmp_path, "annotations/instances_val2017.json", coco_content(), pictures)
    return tmp_path


def told(example: Any, *names: str, problems: tuple[str, ...] = ()) -> Prediction:
    answer = Said.found([(name, 0) for name in names], problems=problems)
    return Prediction.made(example, [[0, 0, 9, 9]], answer)


def asked(task: Hallucination) -> dict[str, tuple[tuple[str, ...], tuple[str, ...] | None]]:
    return {one.key: (one.requests[0].queries, one.truth.absent) for one in task.examples}


def test_coco_is_boxed_exhaustively(coco: Path) -> None:
    task = get_task("hallucination").load(coco)
    assert isinstance(task, Hallucination)
    assert asked(task) == {
        "139": (("car", "cat", "dog", "person"), ("car", "dog")),
        "285": (("car", "cat", "dog", "person"), ("cat", "person")),  # a crowd of cars is there
    }
    assert {one.requests[0].least_score() for one in task.examples} == {DEFAULT_THRESHOLD}
    assert {one.open().size for one in task.examples} == {(64, 48)}
    assert "no box" in task.rule
    assert not task.broken


def test_the_figures_by_hand(coco: Path) -> None:
    task = Hallucination.load(coco)
    first, second = task.examples
    predictions = [told(first, "person", "dog", "car", "dog"), told(second, "car", "zebra")]
    # False: dog, car, dog of 4 true boxes. Refused: cat and person of the second, 2 of 4.
    # Missed: cat, dog, of person, cat, dog. What is a crowd or was not asked for is neither.
    expected = {
        "FP/GT": 0.75,
        "refused": 50,
        "missed": 200 / 3,
        "balanced accuracy": (50 + 100 / 3) / 2,
    }
    assert percents(task, predictions) == pytest.approx(expected)
    assert count(first.truth, predictions[0]) == Counts(3, 3, 0, 2, 1, 2)
    assert [task.error(*pair) for pair in zip(task.examples, predictions, strict=True)] == [4, 1]
    (table,) = task.details(predictions, np.ones((1, 2)))
    assert table.rows == [("dog", ("2", "1", "1")), ("car", ("1", "1", "1"))]


def test_silence_does_not_win_and_saying_everything_neither(coco: Path) -> None:
    task = Hallucination.load(coco)
    perfect = [task.perfect(one) for one in task.examples]
    bounds = {name: list(seeds[0]) for name, seeds in task.bounds(perfect).items()}
    best = {"FP/GT": 0, "refused": 100, "missed": 0, "balanced accuracy": 100}
    assert percents(task, perfect) == percents(task, bounds["true boxes, true names"]) == best
    assert percents(task, bounds["nothing"]) == {
        **{"FP/GT": 0, "refused": 100, "missed": 100, "balanced accuracy": 50}
    }
    # 3 true boxes and 1, and on each the two names that are absent; crowds have a box as well.
    assert percents(task, bounds["every name on every true box"]) == {
        **{"FP/GT": (2 * 3 + 2 * 2) / 4, "refused": 0, "missed": 0, "balanced accuracy": 50}
    }
    said_of_proposals = [told(one) for one in task.examples]  # one region each
    every = list(task.bounds(said_of_proposals)["every name on every region"][0])
    assert percents(task, every)["FP/GT"] == 1
    permuted = task.bounds(perfect)["own detections, names permuted"]
    assert np.mean([percents(task, list(seed))["FP/GT"] for seed in permuted]) > 0


def test_what_could_not_be_asked_counts_as_wrong(coco: Path) -> None:
    task = Hallucination.load(coco)
    failed = [Prediction.failed(one, "no such picture") for one in task.examples]
    assert percents(task, failed) == {
        **{"FP/GT": 1, "refused": 0, "missed": 100, "balanced accuracy": 0}
    }


def test_odd_answers_are_counted_as_far_as_they_go(coco: Path) -> None:
    task = Hallucination.load(coco)
    first, second = task.examples
    odd = Said.found([("x" * 50_000, 0), ("", 0), ("dog", 99), ("dog", -1)])
    predictions = [Prediction.made(first, [[0, 0, 9, 9]], odd), task.perfect(second)]
    # An absent name is said, whatever the region; names that were not asked for are neither.
    assert percents(task, predictions)["FP/GT"] == 2 / 4
    assert count(first.truth, predictions[0]) == Counts(2, 3, 1, 2, 2, 2)


def test_lvis_lists_what_was_looked_for(tmp_path: Path) -> None:
    address = "http://images.cocodataset.org"
    content = {
        "categories": [
            {"id": 1, "name": "aerosol_can", "frequency": "c"},
            {"id": 2, "name": "air_conditioner", "frequency": "f"},
            {"id": 3, "name": "airplane", "frequency": "f"},
        ],
        "images": [
            {
                **{"id": 397133, "coco_url": f"{address}/val2017/000000397133.jpg"},
                **{"neg_category_ids": [3], "not_exhaustive_category_ids": []},
            },
            {
                **{"id": 9, "coco_url": f"{address}/train2017/000000000009.jpg"},
                **{"neg_category_ids": [], "not_exhaustive_category_ids": []},
            },
        ],
        "annotations": [box(1, 397133, 1, [0, 0, 20, 20])],
    }
    save(tmp_path, "lvis_v1_val.json", content, ["val2017/000000397133.jpg"])
    task = Hallucination.load(tmp_path)
    assert asked(task) == {"397133": (("aerosol can", "airplane"), ("airplane",))}
    assert task.examples[0].open().size == (64, 48)
    assert [bad.key for bad in task.broken] == ["image 9"]  # nothing was looked for
    assert "neg_category_ids" in task.rule


def photo_content() -> dict[str, Any]:
    content = coco_content()
    for row in content["images"]:
        row |= {"exhaustive_category_ids": [], "unsure_category_ids": [3]}
    content["images"][0]["verified_absent_category_ids"] = [18]
    content["images"][1]["verified_absent_category_ids"] = []
    content["absent"] = [{"image_id": 139, "names": ["snow  plough", "dog"]}]
    return content


def test_verified_names_and_further_ones(tmp_path: Path) -> None:
    path = save(tmp_path, "open.json", photo_content(), ["open/000000000139.jpg"])
    for data in (tmp_path, path):
        task = Hallucination.load(data)
        assert asked(task) == {
            "139": (("cat", "dog", "person", "snow plough"), ("dog", "snow plough")),
            "285": (("car", "dog"), ()),
        }
        assert task.examples[0].open().size == (64, 48)
        assert "verified_absent" in task.rule


def test_rows_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    content = photo_content()
    content["images"] += [
        {"id": 2, "file_name": "a.jpg", "verified_absent_category_ids": [1, 99]},
        {"id": 3, "file_name": "b.jpg", "verified_absent_category_ids": "dog"},
        {"id": 4, "verified_absent_category_ids": [1]},
        {"id": 5, "file_name": "c.jpg", "verified_absent_category_ids": [17]},
        {"id": 6, "file_name": "d.jpg"},
    ]
    content["annotations"] += [
        box(6, 5, 17, [0, 0, 5, 5]),  # boxed and listed as absent
        box(7, 77, 17, [0, 0, 5, 5]),
        {"id": 8, "image_id": 139},
    ]
    content["absent"] += [
        {"image_id": 77, "names": ["sea"]},
        {"image_id": 139, "names": "sea"},
        {"image_id": 139, "names": ["sea", " "]},
        {"image_id": 139, "names": ["sea", "x" * 50_000]},
        ["sea"],
    ]
    save(tmp_path, "annotations.json", content, [])
    task = Hallucination.load(tmp_path)
    assert [one.key for one in task.examples] == ["139", "285"]
    assert len(task.broken) == 12
    assert all(bad.problem and "\n" not in bad.problem for bad in task.broken)
    assert "boxed and listed as absent" in " ".join(bad.problem for bad in task.broken)
    assert "sea" not in task.examples[0].requests[0].queries


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds 0 \.json files"):
        Hallucination.load(tmp_path)
    save(tmp_path, "a.json", photo_content() | {"absent": 3}, [])
    with pytest.raises(InputError, match="absent is '3'"):
        Hallucination.load(tmp_path)
    save(tmp_path, "b.json", photo_content(), [])
    with pytest.raises(InputError, match=r"holds 2 \.json files"):
        Hallucination.load(tmp_path)


def test_the_order_of_rows_changes_nothing(coco: Path, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other")
    turned_content = {key: rows[::-1] for key, rows in coco_content().items() if key != "info"}
    save(other, "annotations/instances_val2017.json", turned_content, [])
    task, turned = Hallucination.load(coco), Hallucination.load(other)
    assert [one.key for one in turned.examples] == ["285", "139"]
    said = {"139": ("dog", "cat"), "285": ("person", "dog", "cat", "cat")}
    first, second = (
        percents(one, [told(each, *said[each.key]) for each in one.examples])
        for one in (task, turned)
    )
    assert first == second
    assert first["FP/GT"] == 1


def test_intervals_go_over_pictures(coco: Path) -> None:
    task = Hallucination.load(coco)
    predictions = [told(task.examples[0], "dog"), told(task.examples[1])]
    values = task.measure(predictions, resampling(2, 200))[0].values
    # The first picture twice, both, or the second twice: 2 of 6, 1 of 4, 0 of 2.
    assert values[0] == 0.25
    assert set(values.round(6)) == {round(1 / 3, 6), 0.25, 0.0}


def test_a_model_end_to_end(coco: Path, model: FO1) -> None:
    task = Hallucination.load(coco)
    for said in Predictor(model, task).predict(task.examples)["model"]:
        assert (said.said[0].scores >= np.float32(DEFAULT_THRESHOLD)).all()
    (coco / "val2017/000000000285.jpg").unlink()
    summary = evaluate(model, task, resamples=10, batch_size=2)
    assert summary.counts["failed"] == 1
    assert summary.figures["FP/GT"].value >= 0.5  # the picture that is missing: 2 of 4
    assert summary.units["FP/GT"] == ""
