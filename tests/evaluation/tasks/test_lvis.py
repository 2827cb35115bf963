"""LVIS detection in the true file format, against its published definition written out slowly."""

import sys
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from fo1.errors import InputError
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.lvis import LvisDetection
from fo1.prompts import Task
from tests.evaluation.detections import guesses, lvis_rows, results, write
from tests.evaluation.figures import shares

FILE = "lvis_v1_val.json"
RANGES = {"AP": (0, 1e10), "APs": (0, 1024), "APm": (1024, 9216), "APl": (9216, 1e10)}


def lvis_figures(rows, found) -> dict[str, float]:
    """Return LVIS's figures from its definition, one box at a time.

    Source: the LVIS paper (arXiv 1908.03195, section on evaluation) and lvis-api's rules for ties.
    """
    images = sorted(rows["images"], key=lambda row: row["id"])
    table = {}  # (figure, category, threshold): AP
    for category in rows["categories"]:
        for figure, (low, high) in RANGES.items():
            for threshold in np.linspace(0.5, 0.95, 10):
                judged, positives = [], 0
                for image in images:
                    judgements, count = judge(
                        rows, found, image, category["id"], low, high, threshold
                    )
                    judged += judgements
                    positives += count
                if positives:
                    key = figure, category["id"], round(float(threshold), 2)
                    table[key] = area_under(judged, positives)
    frequency = {row["id"]: row["frequency"] for row in rows["categories"]}

    def mean(chosen) -> float:
        values = [value for key, value in table.items() if chosen(*key)]
        return float(np.mean(values)) if values else float("nan")

    made = {name: mean(lambda figure, *_, name=name: figure == name) for name in RANGES}
    for name, level in (("AP50", 0.5), ("AP75", 0.75)):
        made[name] = mean(lambda figure, _, t, level=level: figure == "AP" and t == level)
    for letter in "rcf":
        made[f"AP{letter}"] = mean(
            lambda figure, number, _, letter=letter: figure == "AP" and frequency[number] == letter
        )
    return made


def judge(rows, found, image, category, low, high, threshold):
    """Return (score, right) of the detections that count in a picture, and its boxes to be found."""
    truth = [
        {**row, "free": True, "spare": not low <= row["area"] <= high}
        for row in rows["annotations"]
        if row["image_id"] == image["id"] and row["category_id"] == category
    ]
    own = [row for row in found if row["image_id"] == image["id"]]
    own = sorted(own, key=lambda row: -row["score"])[:300]
    if not truth and category not in image["neg_category_ids"]:
        return [], 0
    judged = []
    for row in (one for one in own if one["category_id"] == category):
        near = [one for one in truth if one["free"] and overlap(row, one) >= threshold]
        near = [one for one in near if not one["spare"]] or near
        area = row["bbox"][2] * row["bbox"][3]
        if near:
            best = max(near, key=lambda one: overlap(row, one))
            best["free"] = False
            if not best["spare"]:
                judged.append((row["score"], True))
        elif low <= area <= high and category not in image["not_exhaustive_category_ids"]:
            judged.append((row["score"], False))
    return judged, sum(not one["spare"] for one in truth)


def overlap(one, other) -> float:
    (x1, y1, w1, h1), (x2, y2, w2, h2) = one["bbox"], other["bbox"]
    width = min(x1 + w1, x2 + w2) - max(x1, x2)
    height = min(y1 + h1, y2 + h2) - max(y1, y2)
    shared = max(width, 0) * max(height, 0)
    return shared / (w1 * h1 + w2 * h2 - shared)


def area_under(judged, positives: int) -> float:
    """Return the mean over 101 recalls of the best precision at that recall or beyond."""
    points, right = [], 0
    for place, (_, hit) in enumerate(sorted(judged, key=lambda pair: -pair[0]), 1):
        right += hit
        points.append((right / positives, right / place))
    recalls = np.linspace(0, 1, 101)
    best = [max((p for r, p in points if r >= recall), default=0.0) for recall in recalls]
    return float(np.mean(best))


def load(folder, rows) -> LvisDetection:
    write(rows, folder / FILE)
    return LvisDetection.load(folder)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_the_figures_are_those_of_the_definition(tmp_path, seed, ties) -> None:
    rng = np.random.default_rng(seed)
    rows = lvis_rows(rng)
    task = load(tmp_path, rows)
    assert task.broken == ()
    predictions = guesses(task, rng, ties=ties)
    made = shares(task, predictions)
    assert made == pytest.approx(
        lvis_figures(rows, results(task, rows, predictions)), abs=1e-6, nan_ok=True
    )
    assert {"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"} == set(made)
    assert 0 < made["AP"] < 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_the_lvis_package(tmp_path, monkeypatch, seed) -> None:
    """Where it is installed; it draws by OpenCV and matplotlib and wants `numpy.float`."""
    for name in ("cv2", "matplotlib", "matplotlib.pyplot", "matplotlib.patches"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    monkeypatch.setattr(np, "float", float, raising=False)
    package = pytest.importorskip("lvis", exc_type=ImportError)
    rng = np.random.default_rng(seed)
    rows = lvis_rows(rng)
    task = load(tmp_path, rows)
    predictions = guesses(task, rng, ties=False)
    found = results(task, rows, predictions)
    for row in rows["annotations"]:
        row["segmentation"] = []
    write(rows, tmp_path / FILE)
    truth = package.LVIS(str(tmp_path / FILE))
    judge = package.LVISEval(truth, package.LVISResults(truth, found), "bbox")
    judge.run()
    official = {name: judge.results[name] for name in shares(task, predictions)}
    known = {name: value if value > -1 else np.nan for name, value in official.items()}
    assert shares(task, predictions) == pytest.approx(known, abs=1e-6, nan_ok=True)


def test_only_300_detections_of_a_picture_count_whatever_they_are_called(tmp_path) -> None:
    rows = lvis_rows(np.random.default_rng(0))
    task = load(tmp_path, rows)
    example = next(one for one in task.examples if one.truth.labels)
    box, label = example.truth.boxes[:1], example.truth.labels[0]
    others = next(name for name in task.names[""] if name not in task.asked(example))
    for noise, due in ((299, True), (300, False)):
        said = Said.found([(others, 0)] * noise + [(label, 0)], [0.9] * noise + [0.5])
        prediction = Prediction.made(example, box, said)
        told = [prediction if one is example else Prediction.empty(one) for one in task.examples]
        assert bool(shares(task, told)["AP"] > 0) is due
        found = results(task, rows, told)
        assert shares(task, told)["AP"] == pytest.approx(lvis_figures(rows, found)["AP"])


def test_what_is_asked_of_a_picture(tmp_path) -> None:
    rows = lvis_rows(np.random.default_rng(1))
    task = load(tmp_path, rows)
    assert get_task("lvis") is LvisDetection
    for row, example in zip(rows["images"], task.examples, strict=True):
        numbers = {
            one["category_id"] for one in rows["annotations"] if one["image_id"] == row["id"]
        }
        numbers |= set(row["neg_category_ids"])
        names = {"name " + str((number - 1) // 2) for number in numbers}
        (request,) = example.requests
        assert request.task is Task.DETECT
        assert request.queries == tuple(sorted(names))  # the order does not say what is there
        assert request.threshold == 0
        assert example.image == tmp_path / "/".join(row["coco_url"].split("/")[-2:])
    assert {one.image.parent.name for one in task.examples} == {"val2017", "train2017"}
    assert task.most == 300
    assert task.groups["APr"] == {"name 0", "name 3"}


def test_perfect_and_empty(tmp_path) -> None:
    task = load(tmp_path, lvis_rows(np.random.default_rng(2)))
    for make, due in ((task.perfect, 1), (Prediction.empty, 0)):
        made = shares(task, [make(one) for one in task.examples])
        assert set(made.values()) == {due}


def test_rows_in_any_order_give_the_same(tmp_path) -> None:
    rng = np.random.default_rng(8)
    rows = lvis_rows(rng)
    task = load(tmp_path, rows)
    predictions = {one.key: one for one in guesses(task, rng, ties=True)}
    mixed = {name: [each[n] for n in rng.permutation(len(each))] for name, each in rows.items()}
    again = load(tmp_path, mixed)
    assert [one.key for one in again.examples] != [one.key for one in task.examples]
    assert shares(again, [predictions[one.key] for one in again.examples]) == pytest.approx(
        shares(task, list(predictions.values())), nan_ok=True
    )


def test_a_picture_of_which_nothing_is_known_is_asked_nothing(tmp_path) -> None:
    rows = lvis_rows(np.random.default_rng(3))
    image = next(row for row in rows["images"] if row["id"] % 5 == 0)
    image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    task = load(tmp_path, rows)
    (example,) = [one for one in task.examples if one.key == str(image["id"])]
    assert example.requests == ()
    assert shares(task, [task.perfect(one) for one in task.examples])["AP"] == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"neg_category_ids": None}, "neg_category_ids is None"),
        ({"neg_category_ids": ["1"]}, "need a list of category ids"),
        ({"neg_category_ids": [999]}, "names category 999"),
        ({"not_exhaustive_category_ids": 3}, "not_exhaustive_category_ids is 3"),
        ({"coco_url": None}, "coco_url is 'None', need a text"),
    ],
)
def test_a_broken_picture_is_told(tmp_path, change, problem) -> None:
    rows = lvis_rows(np.random.default_rng(4))
    rows["images"][0] |= change
    task = load(tmp_path, rows)
    assert len(task.examples) == len(rows["images"]) - 1
    (broken,) = task.broken
    assert broken.key == f"image {rows['images'][0]['id']}"
    assert problem in broken.problem


def test_where_the_file_lies(tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds neither lvis_v1_val\.json nor annotations"):
        LvisDetection.load(tmp_path)
    write(lvis_rows(np.random.default_rng(5)), tmp_path / "annotations" / FILE)
    for place in (tmp_path, tmp_path / "annotations" / FILE):
        assert LvisDetection.load(place).examples[0].image.parent.parent == tmp_path


def test_a_model_is_asked(tmp_path, model) -> None:
    task = load(tmp_path, lvis_rows(np.random.default_rng(6))).first(3)
    for example in task.examples[1:]:
        example.image.parent.mkdir(exist_ok=True)
        Image.new("RGB", (500, 400), "gray").save(example.image)
    summary = evaluate(model, task, resamples=3)
    assert summary.counts["failed"] == 1
    assert 0 <= summary.figures["AP"].value <= 100
    assert set(summary.figures) >= {"APr", "APc", "APf"}
