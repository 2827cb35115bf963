"""OVDEval: files as it ships them, NMS-AP by hand and against the official steps."""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fo1.errors import InputError
from fo1.evaluation.detection.nms_ap import survivors
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.ovdeval import SUBSETS, OvdEval
from fo1.pipeline import FO1
from tests.evaluation.figures import percents

RED, BLUE = "red car", "blue car"
A, B, C = [10, 10, 40, 40], [60, 60, 100, 90], [10, 60, 40, 90]


def category(number: int, name: str) -> dict[str, Any]:
    return {"supercategory": "object", "id": number, "name": name}


def image(number: int, text: list[str], neg_text: list[str]) -> dict[str, Any]:
    name = f"64d22c6fe4b011b0db94b{number:03d}.jpg"
    return {
        **{"file_name": name, "id": number, "height": 100, "width": 120},
        **{"text": text, "neg_text": neg_text},
    }


def annotation(number: int, of: int, name: int, box: list[float]) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    bbox = [x1, y1, x2 - x1, y2 - y1]
    return {
        **{"id": number, "bbox": bbox, "category_id": name, "image_id": of},
        **{"iscrowd": 0, "area": bbox[2] * bbox[3]},
    }


def write(root: Path, subset: str, content: dict[str, Any], *, flat: bool = False) -> None:
    path = root / ("" if flat else "annotations") / f"{subset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    folder = root / ("" if flat else "images") / subset
    folder.mkdir(parents=True, exist_ok=True)
    for row in content["images"]:
        if isinstance(row, dict) and isinstance(row.get("file_name"), str):
            Image.new("RGB", (120, 100), "grey").save(folder / row["file_name"])


def color() -> dict[str, Any]:
    """One red car, one blue car; each picture is asked for the other colour as well."""
    return {
        "categories": [category(0, RED), category(1, BLUE)],
        "annotations": [annotation(0, 0, 0, A), annotation(1, 1, 1, B)],
        "images": [image(0, [RED], [BLUE]), image(1, [BLUE], [RED])],
    }


def celebrity() -> dict[str, Any]:
    people = [category(0, "Ann Lee"), category(1, "Bo Ray"), category(2, "Cy Fox")]
    rows = [image(0, ["Bo Ray"], ["Ann Lee"])]  # the script of the benchmark asks for all
    return {"categories": people, "annotations": [annotation(0, 0, 1, A)], "images": rows}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "color", color())
    write(tmp_path, "celebrity", celebrity())
    return tmp_path


def said(example: Any, *found: tuple[str, list[float], float]) -> Prediction:
    boxes = [box for _, box, _ in found]
    answer = Said.found(
        [(name, row) for row, (name, _, _) in enumerate(found)], [s for _, _, s in found]
    )
    return Prediction.made(example, boxes, answer)


def test_what_is_asked(root: Path) -> None:
    task = get_task("ovdeval").load(root)
    assert isinstance(task, OvdEval)
    assert not task.broken
    asked = {one.key: one.requests[0].queries for one in task.examples}
    assert asked == {
        "celebrity/0": ("Ann Lee", "Bo Ray", "Cy Fox"),
        "color/0": (BLUE, RED),  # in alphabetical order, so the place tells nothing
        "color/1": (BLUE, RED),
    }
    assert [path.name for path in task.files] == ["celebrity.json", "color.json"]
    assert {one.open().size for one in task.examples} == {(120, 100)}
    assert all(one.requests[0].threshold == 0 for one in task.examples)


def test_the_figure_by_hand(root: Path) -> None:
    task = OvdEval.load(root)
    celebrity, first, second = task.examples
    predictions = [
        said(celebrity, ("Bo Ray", A, 0.9)),  # AP 1
        said(first, (RED, A, 0.9), (BLUE, A, 0.8)),  # only red is left: right
        said(second, (RED, B, 0.7), (BLUE, B, 0.6)),  # only red is left: wrong
    ]
    # red car: found at 0.9, mistake at 0.7, AP 1. blue car: nothing left, AP 0. color: 0.5.
    # Without suppression blue car is found at 0.6 behind a mistake at 0.8: AP 0.5, color 0.75.
    assert percents(task, predictions) == pytest.approx({"NMS-AP": 75, "AP": 87.5})
    (table, *_) = task.details(predictions, np.ones((1, 3)))  # no score of these is known
    there, missing = table.rows[:2], dict(table.rows[2:])
    shown = {part: [cells[0].value, cells[1].value, *cells[2:4]] for part, cells in there}
    assert shown["color"] == [50, 75, "2", "2"]
    assert shown["celebrity"] == [100, 100, "1", "1"]
    assert set(missing) == set(SUBSETS) - {"color", "celebrity"}
    assert {cell for cells in missing.values() for cell in cells} == {None}
    assert "no mean has them" in table.note


def test_every_score_ranks_the_same_detections(root: Path) -> None:
    task = OvdEval.load(root / "annotations/color.json")
    first, second = task.examples
    evidence = {"fusion": np.array([0.9, 0.8]), "head": np.array([0.1, 0.2])}
    answer = Said.found([(RED, 0), (BLUE, 0)], evidence["fusion"], evidence=evidence)
    told = [Prediction.made(first, [A], answer), task.perfect(second)]
    told[1] = replace(
        told[1], said=(replace(told[1].said[0], evidence={k: np.ones(1) for k in evidence}),)
    )
    table = task.details(told, np.ones((1, 2)))[0]
    assert table.title == "AP by score"
    # By the head blue is the best on the red car, so red is lost; blue is found before that.
    assert {who: cells[0].value for who, cells in table.rows} == {"fusion": 100, "head": 50}


def test_perfect_empty_and_rivals(root: Path) -> None:
    task = OvdEval.load(root)
    perfect = [task.perfect(one) for one in task.examples]
    assert percents(task, perfect) == {"NMS-AP": 100, "AP": 100}
    nothing = [Prediction.empty(one) for one in task.examples]
    assert percents(task, nothing) == {"NMS-AP": 0, "AP": 0}
    bounds = task.bounds(perfect)
    everything = percents(task, list(bounds["true boxes, every name"][0]))
    assert everything["NMS-AP"] == 0
    assert everything["AP"] > 30
    assert percents(task, list(bounds["own proposals, every name"][0])) == everything
    assert percents(task, list(bounds["nothing"][0]))["NMS-AP"] == 0
    for each in bounds.values():
        assert all(0 <= percents(task, list(one))["NMS-AP"] <= 100 for one in each)


def test_pictures_without_true_boxes_have_no_figure(root: Path) -> None:
    write(root, "color", color() | {"annotations": []})
    task = OvdEval.load(root / "annotations/color.json")
    told = [said(one, (RED, A, 0.9)) for one in task.examples]
    assert all(np.isnan(value) for value in percents(task, told).values())
    for each in task.bounds(told).values():
        assert np.isnan(percents(task, list(each[0]))["NMS-AP"])
    assert task.details(told, resampling(2, 5))
    task = OvdEval.load(root)  # the others make the mean
    told = [task.perfect(one) for one in task.examples]
    assert percents(task, told) == {"NMS-AP": 100, "AP": 100}


def test_a_limit_takes_pictures_of_every_aspect(root: Path) -> None:
    assert [one.key for one in OvdEval.load(root).first(2).examples] == ["celebrity/0", "color/0"]


def test_the_order_of_rows_changes_nothing(root: Path, tmp_path_factory: Any) -> None:
    other, content = tmp_path_factory.mktemp("other"), color()
    write(other, "color", {key: rows[::-1] for key, rows in content.items()})
    task, turned = OvdEval.load(root / "annotations/color.json"), OvdEval.load(other)
    assert [one.key for one in turned.examples] == ["color/1", "color/0"]
    found = {"color/0": [(RED, A, 0.5), (BLUE, C, 0.5)], "color/1": [(BLUE, B, 0.5), (RED, C, 0.5)]}
    weights = resampling(2, 20)
    same = [
        one.measure([said(each, *found[each.key]) for each in one.examples], weights)[0].values[0]
        for one in (task, turned)
    ]
    assert same[0] == same[1] > 0


def test_survivors_step_by_step() -> None:
    box = np.array([[0.0, 0, 10, 10]])
    near = np.array([[0.0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 5]])
    red, blue = 0, 1
    # IoU with the true red box: 0.9, 1, 0 and 0.5; the last is not above 0.5.
    scores, names = np.array([0.9, 0.8, 0.1, 0.95]), np.array([red])
    labels = np.array([blue, red, blue, blue])
    assert survivors(near, labels, scores, box, names).tolist() == [True, False, True, True]
    # Equal scores: the wrong name wins, in whichever order they stand.
    same = np.full(4, 0.5)
    assert survivors(near, labels, same, box, names).tolist() == [True, False, True, True]
    assert survivors(near[::-1], labels[::-1], same, box, names).tolist() == [
        *[True, True, False, True]
    ]
    # Nothing there, nothing found.
    assert survivors(near, labels, scores, box[:0], names[:0]).all()
    assert not len(survivors(near[:0], labels[:0], scores[:0], box, names))


def test_true_boxes_that_lie_on_one_another_are_all_kept() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9]])
    names = np.array([0, 1, 2, 2])
    assert survivors(boxes, names, np.ones(4), boxes, names).all()
    # With different scores one true box is lost to another, as in the official script.
    kept = survivors(boxes, names, np.array([0.9, 0.8, 0.7, 0.6]), boxes, names)
    assert kept.tolist() == [True, False, False, False]


def official(content: dict[str, Any], results: list[dict[str, Any]]) -> float:
    """The official steps in other words: around each true box the best one stays; then COCO."""

    def iou(one: list[float], other: list[float]) -> float:
        sides = [
            min(one[k] + one[k + 2], other[k] + other[k + 2]) - max(one[k], other[k])
            for k in (0, 1)
        ]
        shared = max(sides[0], 0) * max(sides[1], 0)
        return shared / (one[2] * one[3] + other[2] * other[3] - shared)

    best, worse = set(), set()
    for true in content["annotations"]:
        around = [
            (row["score"], place)
            for place, row in enumerate(results)
            if row["image_id"] == true["image_id"] and iou(row["bbox"], true["bbox"]) > 0.5
        ]
        ranked = [place for _, place in sorted(around, reverse=True)]
        best.update(ranked[:1])
        worse.update(ranked[1:])
    left = [row for place, row in enumerate(results) if place in best or place not in worse]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(left), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0])


def test_it_equals_the_official_steps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"{shade} {thing}" for shade in ("red", "blue", "old") for thing in ("car", "cup")]
    content: dict[str, Any] = {
        "categories": [category(number, name) for number, name in enumerate(names)],
        "annotations": [],
        "images": [],
    }
    results: dict[int, list[dict[str, Any]]] = {}
    for number in range(30):
        chosen = rng.permutation(6)[:5].tolist()
        content["images"].append(
            image(number, [names[one] for one in chosen[:2]], [names[one] for one in chosen[2:]])
        )
        results[number] = []
        for place in rng.integers(0, 2, rng.integers(1, 4)).tolist():
            x, y, side = *rng.integers(0, 40, 2).tolist(), int(rng.integers(20, 50))
            rows = content["annotations"]  # numbered from 1: pycocotools takes 0 for "not found"
            rows.append(
                annotation(len(rows) + 1, number, chosen[place], [x, y, x + side, y + side])
            )
            for one in chosen:
                move = rng.integers(-6, 7, 2).tolist()
                box = [float(n) for n in (x + move[0], y + move[1], side, side)]
                results[number].append({"image_id": number, "category_id": one, "bbox": box})
    flat = [row for rows in results.values() for row in rows]
    for row, score in zip(flat, rng.permutation(len(flat)), strict=True):
        row["score"] = (int(score) + 1) / (len(flat) + 1)
    write(tmp_path, "material", content)
    task = OvdEval.load(tmp_path)
    predictions = [
        said(
            example,
            *[
                (names[r["category_id"]], [x, y, x + w, y + h], r["score"])
                for r in results[example.truth.number]
                for x, y, w, h in [r["bbox"]]
            ],
        )
        for example in task.examples
    ]
    expected = official(content, flat)
    found = percents(task, predictions)
    assert 0 < expected < 1
    assert found["NMS-AP"] == pytest.approx(100 * expected, abs=1e-9)
    assert found["AP"] != pytest.approx(found["NMS-AP"], abs=0.5)


def test_the_interval_is_that_of_resampled_pictures(root: Path) -> None:
    task = OvdEval.load(root)
    predictions = [task.perfect(one) for one in task.examples[:2]]
    predictions.append(Prediction.empty(task.examples[2]))
    nms_ap = task.measure(predictions, resampling(3, 50))[0]
    assert nms_ap.values[0] == pytest.approx(0.75)
    assert np.nanmin(nms_ap.values[1:]) < 0.75 < np.nanmax(nms_ap.values[1:])


def test_rows_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    content = color()
    content["images"] += [
        {"id": 2, "file_name": "a.jpg", "text": [RED]},  # no neg_text
        {"id": 3, "text": [RED], "neg_text": []},  # no picture
        {"id": 4, "file_name": "b.jpg", "text": [], "neg_text": []},
        {"id": 5, "file_name": "c.jpg", "text": ["  "], "neg_text": []},
        {"id": 6, "file_name": "d.jpg", "text": RED, "neg_text": []},
        {"id": 7, "file_name": "e.jpg", "text": [3], "neg_text": []},
        {"id": 8, "file_name": "f.jpg", "text": [RED], "neg_text": ["x" * 50_000]},
        {"id": 0, "file_name": "again.jpg", "text": [RED], "neg_text": []},
        "no row",
    ]
    content["annotations"] += [
        annotation(2, 99, 0, A),
        annotation(3, 0, 99, A),
        annotation(0, 0, 0, A),
        annotation(4, 0, 0, A) | {"bbox": [1, 2, "wide", 4]},
        annotation(5, 0, 0, A) | {"bbox": [1, 2, -3, 4]},
    ]
    write(tmp_path, "color", content)
    task = OvdEval.load(tmp_path)
    assert [one.key for one in task.examples] == ["color/0", "color/1"]
    assert len(task.broken) == 14
    assert all(one.key.startswith("color ") and "\n" not in one.problem for one in task.broken)
    assert {"color image 2", "color image 3", "color annotation 2"} <= {b.key for b in task.broken}
    assert percents(task, [task.perfect(one) for one in task.examples])["NMS-AP"] == 100


def test_names_that_the_file_does_not_list_and_odd_answers(tmp_path: Path) -> None:
    content = color()
    content["images"][0]["neg_text"] = [BLUE, "a name of no category"]
    write(tmp_path, "color", content)
    task = OvdEval.load(tmp_path)
    assert "a name of no category" in task.examples[0].requests[0].queries
    first, second = task.examples
    predictions = [
        said(first, (RED, A, 0.5), ("a name of no category", A, 0.9), ("x" * 50_000, A, 0.99)),
        said(second, (BLUE, B, 0.5)),
    ]
    # The rival takes the box from red car; what was not asked for takes nothing.
    assert percents(task, predictions)["NMS-AP"] == 50
    predictions[0] = said(first, (RED, A, 0.5), ("x" * 50_000, A, 0.99))
    assert percents(task, predictions)["NMS-AP"] == 100
    astray = Prediction.made(first, [A], Said.found([(RED, 7), (RED, -1)]))
    assert percents(task, [astray, predictions[1]])["NMS-AP"] == 50


def test_files_as_the_page_has_them_and_none(tmp_path: Path) -> None:
    write(tmp_path, "color", color(), flat=True)
    task = OvdEval.load(tmp_path)
    assert task.examples[0].open().size == (120, 100)
    with pytest.raises(InputError, match=r"color\.json"):
        OvdEval.load(tmp_path / "nowhere")
    (tmp_path / "color.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"color\.json"):
        OvdEval.load(tmp_path)
    assert len(SUBSETS) == 8


def test_a_model_end_to_end(root: Path, model: FO1) -> None:
    task = OvdEval.load(root)
    (root / "images/color" / Path(task.examples[2].picture).name).unlink()
    summary = evaluate(model, task, resamples=10, batch_size=2)
    assert list(summary.figures) == ["NMS-AP", "AP"]
    assert all(0 <= one.value <= 100 for one in summary.figures.values())
    assert summary.counts["failed"] == 1
    assert summary.counts["pictures"] == 3
