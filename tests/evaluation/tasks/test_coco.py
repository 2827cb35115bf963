"""COCO detection in the true file format."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fo1.errors import InputError
from fo1.evaluation.predicting import Predictor
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.coco import CocoDetection
from fo1.prompts import Task
from tests.evaluation.detections import (
    coco_rows,
    guesses,
    pycocotools_figures,
    results,
    write,
)
from tests.evaluation.figures import shares

FILE = "annotations/instances_val2017.json"
ROWS = {
    "info": {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017},
    "licenses": [{"url": "http://example.org", "id": 1, "name": "License"}],
    "images": [
        {
            **{"license": 1, "file_name": "000000397133.jpg", "height": 427, "width": 640},
            **{"coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg"},
            **{"date_captured": "2013-11-14 17:02:52", "id": 397133},
        },
        {"file_name": "000000037777.jpg", "height": 230, "width": 352, "id": 37777},
    ],
    "annotations": [
        {
            **{"segmentation": [[1, 2, 3, 4, 5, 6]], "area": 300.5, "iscrowd": 0},
            **{"image_id": 397133, "bbox": [10.5, 20.0, 30.0, 15.0], "category_id": 44, "id": 82},
        },
        {
            **{"segmentation": [[1, 2, 3, 4, 5, 6]], "area": 9999.0, "iscrowd": 0},
            **{"image_id": 37777, "bbox": [100.0, 100.0, 120.0, 100.0], "category_id": 1, "id": 83},
        },
        {
            **{"segmentation": {"counts": [1], "size": [427, 640]}, "area": 5000.0, "iscrowd": 1},
            **{"image_id": 397133, "bbox": [200, 0, 100, 100], "category_id": 1, "id": 84},
        },
    ],
    "categories": [
        {"supercategory": "person", "id": 1, "name": "person"},
        {"supercategory": "kitchen", "id": 44, "name": "bottle"},
        {"supercategory": "outdoor", "id": 10, "name": "traffic  light"},
    ],
}


def load(folder: Path, **changes) -> CocoDetection:
    write({**ROWS, **changes}, folder / FILE)
    return CocoDetection.load(folder)


def test_every_picture_is_asked_all_names_at_once(tmp_path) -> None:
    task = load(tmp_path)
    assert get_task("coco") is CocoDetection
    assert [one.key for one in task.examples] == ["397133", "37777"]
    example = task.examples[0]
    (request,) = example.requests
    assert request.task is Task.DETECT
    assert request.queries == ("person", "traffic light", "bottle")
    assert request.threshold == 0
    assert example.image == tmp_path / "val2017/000000397133.jpg"
    assert (example.picture, example.image_id) == ("000000397133.jpg", 397133)
    assert example.boxes is None
    assert example.truth.boxes[0].tolist() == [10.5, 20, 40.5, 35]
    assert example.truth.areas.tolist() == [300.5, 5000]
    assert example.truth.crowd.tolist() == [False, True]
    assert task.files == (tmp_path / FILE,)
    assert (task.most, task.broken) == (100, ())
    assert CocoDetection.load(tmp_path / FILE).examples[0].image == example.image


def test_a_score_known_by_hand(tmp_path) -> None:
    task = load(tmp_path)
    bottle, person = task.examples
    right = Prediction.made(bottle, [[10.5, 20, 40.5, 35]], Said.found([("bottle", 0)], [0.5]))
    # 120 x 100 against 120 x 82: IoU 0.82, right at 7 of 10 thresholds.
    near = Prediction.made(person, [[100, 100, 220, 182]], Said.found([("person", 0)], [0.5]))
    made = shares(task, [right, near])
    assert made == pytest.approx(
        {"AP": 0.85, "AP50": 1, "AP75": 1, "APs": 1, "APm": np.nan, "APl": 0.7}, nan_ok=True
    )


def test_perfect_and_empty(tmp_path) -> None:
    task = load(tmp_path)
    for make, due in ((task.perfect, 1), (Prediction.empty, 0)):
        made = shares(task, [make(one) for one in task.examples])
        assert [made[name] for name in ("AP", "AP50", "AP75", "APs", "APl")] == [due] * 5


@pytest.mark.parametrize("seed", range(3))
def test_a_random_file_scores_as_pycocotools_says(tmp_path, seed) -> None:
    rng = np.random.default_rng(seed)
    rows = coco_rows(rng)
    write(rows, tmp_path / FILE)
    task = CocoDetection.load(tmp_path)
    predictions = guesses(task, rng, ties=True)
    official = pycocotools_figures(rows, results(task, rows, predictions))
    assert shares(task, predictions) == pytest.approx(official, abs=1e-6, nan_ok=True)
    written = json.loads(task.exports(predictions)["coco_results.json"])
    assert len(written) == len(results(task, rows, predictions))
    again = pycocotools_figures(rows, written)  # sides have two decimals in the file
    assert again == pytest.approx(official, abs=0.02, nan_ok=True)


def test_rows_in_any_order_give_the_same(tmp_path) -> None:
    rng = np.random.default_rng(9)
    rows = coco_rows(rng)
    write(rows, tmp_path / FILE)
    task = CocoDetection.load(tmp_path)
    predictions = {one.key: one for one in guesses(task, rng, ties=True)}
    mixed = {name: [each[n] for n in rng.permutation(len(each))] for name, each in rows.items()}
    write(mixed, tmp_path / FILE)
    again = CocoDetection.load(tmp_path)
    assert [one.key for one in again.examples] != [one.key for one in task.examples]
    assert shares(again, [predictions[one.key] for one in again.examples]) == pytest.approx(
        shares(task, list(predictions.values())), nan_ok=True
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bbox": [1, 2, 3]}, "need [x, y, width, height]"),
        ({"bbox": None}, "need [x, y, width, height]"),
        ({"bbox": ["1", 2, 3, 4]}, "need [x, y, width, height]"),
        ({"bbox": [1, 2, float("nan"), 4]}, "need [x, y, width, height]"),
        ({"bbox": [1, 2, -3, 4]}, "need 0 or more"),
        ({"area": "big"}, "area is big"),
        ({"area": -4}, "area is -4, need a number from 0 to 1e+10"),
        ({"area": 1e16}, "area is 1e+16, need a number from 0 to 1e+10"),
        ({"area": 10**400}, "need a number from 0 to 1e+10"),
        ({"bbox": [1, 2, 10**400, 4]}, "need [x, y, width, height] in pixels"),
        ({"bbox": [1, 2, 1e300, 4]}, "need [x, y, width, height] in pixels"),
        ({"iscrowd": "no"}, "need 0 or 1"),
        ({"image_id": 5}, "image_id is 5"),
        ({"image_id": [5]}, "image_id is [5]"),
        ({"category_id": True}, "category_id is True"),
        ({"id": 84}, "its id 84 stands there twice"),
        ({"id": None}, "its id is None"),
    ],
)
def test_a_broken_annotation_is_told(tmp_path, change, problem) -> None:
    bad = {**ROWS["annotations"][0], "id": 90, **change}
    task = load(tmp_path, annotations=[*ROWS["annotations"], bad])
    assert len(task.broken) == 1
    assert problem in task.broken[0].problem
    assert "\n" not in task.broken[0].problem
    assert len(task.examples[0].truth.boxes) == 2


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("images", {"id": 397133, "file_name": "again.jpg"}),
        ("images", {"id": 5}),
        ("images", {"id": 5, "file_name": 7}),
        ("images", "nothing"),
        ("annotations", "nothing"),
        ("categories", {"id": 7}),
        ("categories", {"id": 7, "name": " "}),
        ("categories", {"id": 7, "name": "x" * 1001}),
    ],
)
def test_other_broken_rows_are_told(tmp_path, field, bad) -> None:
    task = load(tmp_path, **{field: [*ROWS[field], bad]})
    assert len(task.broken) == 1
    assert len(task.examples) == 2
    assert len(task.examples[0].requests[0].queries) == 3


def test_a_file_that_is_none(tmp_path) -> None:
    path = tmp_path / FILE
    with pytest.raises(InputError, match=r"instances_val2017\.json cannot be read"):
        CocoDetection.load(tmp_path)
    path.parent.mkdir()
    for text, problem in (
        ("{", "is not JSON"),
        ("[]", "holds a list"),
        (json.dumps({"images": [], "annotations": []}), "no list 'categories'"),
        (json.dumps({**ROWS, "categories": []}), "no category with a name"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=problem):
            CocoDetection.load(tmp_path)
    path.write_text(json.dumps({**ROWS, "images": []}))
    with pytest.raises(InputError, match="nothing to measure"):
        CocoDetection.load(tmp_path)


def test_the_best_detections_of_a_picture_are_kept(tmp_path, model, monkeypatch) -> None:
    task = load(tmp_path)
    (tmp_path / "val2017").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (427, 640, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "val2017/000000397133.jpg")
    example = task.examples[0]
    monkeypatch.setattr(CocoDetection, "most", None)
    every = Predictor(model, task).predict([example])["model"][0].said[0]
    monkeypatch.setattr(CocoDetection, "most", 5)
    kept = Predictor(model, task).predict([example])["model"][0].said[0]
    assert len(every.scores) > 5
    assert sorted(kept.scores) == sorted(every.scores)[-5:]
    pairs = set(zip(every.labels, every.regions.tolist(), every.scores.tolist(), strict=True))
    assert set(zip(kept.labels, kept.regions.tolist(), kept.scores.tolist(), strict=True)) <= pairs


def test_a_model_is_asked(tmp_path, model) -> None:
    task = load(tmp_path)
    (tmp_path / "val2017").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (427, 640, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "val2017/000000397133.jpg")
    summary = evaluate(model, task, resamples=3)  # the second picture is missing
    assert summary.counts["failed"] == 1
    assert summary.counts["pictures"] == 2
    assert 0 <= summary.figures["AP"].value <= 100
    assert summary.scored_by == ("fusion",)
    assert set(summary.chances) == {"proposal", "head", "fusion"}
    titles = {table.title for table in summary.tables}
    assert {"AP by score", "AP by class", "Proposal recall", "Detections"} <= titles


@pytest.mark.parametrize("number", [0, 60])
def test_categories_of_one_name_are_one_name(tmp_path, number) -> None:
    """As Roboflow writes them: the supercategory is a category of its own, without boxes."""
    twin = {"supercategory": "none", "id": number, "name": " bottle"}
    task = load(tmp_path, categories=[twin, *ROWS["categories"]])
    assert task.broken == ()
    assert sorted(task.names[""]) == ["bottle", "person", "traffic light"]
    assert task.examples[0].requests[0].queries == task.names[""]
    assert shares(task, [task.perfect(one) for one in task.examples])["AP"] == 1
