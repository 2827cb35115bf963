"""A picture and a half in the true layout of henghuiding/gRefCOCO, scored by hand."""

import json

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.metrics.referring import best_pairs, generalised_iou
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.grefcoco import GRefCocoTestA, GRefCocoVal
from fo1.prompts import Task
from tests.evaluation.figures import percents
from tests.tiny import picture

FIRST, SECOND = "COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.jpg"
BOXES = {(1, 11): [0, 0, 40, 40], (1, 12): [50, 10, 30, 60], (2, 21): [5, 5, 80, 50]}


def ref(ref_id, image_id, ann_ids, split, *sentences):
    sents = [
        {"tokens": s.split(), "raw": s, "sent_id": n, "sent": s} for n, s in enumerate(sentences)
    ]
    row = {"ref_id": ref_id, "ann_id": ann_ids, "image_id": image_id, "split": split}
    nothing = {"no_target": ann_ids == [-1], "category_id": [-1 if ann_ids == [-1] else 1]}
    return row | nothing | {"file_name": FIRST, "sent_ids": [0], "sentences": sents}


REFS = [
    ref(0, 1, [11, 12], "val", "both men"),
    ref(1, 1, [-1], "val", "the dog"),
    ref(2, 1, [12], "val", "right man"),
    ref(3, 2, [21], "val", "the table", "the dog"),
    ref(4, 2, [-1], "testA", "nobody"),
]


def write(root, refs=REFS):
    home, pictures = root / "grefcoco", root / "images/train2014"
    home.mkdir(parents=True)
    pictures.mkdir(parents=True)
    annotations = [
        {"id": number, "image_id": image, "bbox": box, "category_id": 1, "iscrowd": 0}
        for (image, number), box in BOXES.items()
    ]
    images = [
        {"id": n, "file_name": file, "height": 80, "width": 100}
        for n, file in ((1, FIRST), (2, SECOND))
    ]
    content = {"images": images, "annotations": annotations, "categories": []}
    (home / "instances.json").write_text(json.dumps(content))
    (home / "grefs(unc).json").write_text(json.dumps(refs))
    for n, file in ((1, FIRST), (2, SECOND)):
        picture(100, 80, n).save(pictures / file)
    return root


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data")


REGIONS = [[0, 0, 40, 40], [50, 10, 80, 70], [5, 5, 85, 55], [0, 0, 100, 80]]


def by_hand(task, **regions):
    """Return predictions; regions by key of the example, one list per expression."""
    return [
        Prediction.made(
            one,
            REGIONS,
            *(Said.found([("x", r) for r in each]) for each in regions[f"p{one.key}"]),
        )
        for one in task.examples
    ]


def figures(f1, none, some, giou):
    return {"F1": f1, "N-acc": none, "T-acc": some, "F1 (GIoU)": giou}


def test_the_layout_is_read(data) -> None:
    task = GRefCocoVal.load(data)
    first, second = task.examples
    assert first.truth.texts == ("both men", "the dog", "right man")
    assert [len(boxes) for boxes in first.truth.targets] == [2, 0, 1]
    assert second.truth.texts == ("the table", "the dog")
    assert {request.task for request in first.requests} == {Task.DETECT}
    assert {request.threshold for request in first.requests} == {None}
    assert first.open().size == (100, 80)
    np.testing.assert_array_equal(task.true_boxes(first), REGIONS[:2])
    assert [e.truth.texts for e in GRefCocoTestA.load(data).examples] == [("nobody",)]
    assert {get_task(f"grefcoco-{name}").split for name in ("val", "testA", "testB")} == {
        *("val", "testA", "testB")
    }


def test_figures_are_those_worked_out_by_hand(data) -> None:
    task = GRefCocoVal.load(data)
    right = by_hand(task, p1=[[0, 1], [], [1]], p2=[[2], [2]])
    assert percents(task, right) == figures(100, 100, 100, 100)
    # One of two, a box for the dog that is not there, nothing for the right man: 2 of 5 are exact.
    # The whole picture has an IoU of 0.5 with the table, and so a GIoU of 0.5.
    some = by_hand(task, p1=[[0], [0], []], p2=[[2], [3]])
    assert percents(task, some) == figures(40, 0, 75, 40)
    # One too many is not exact either, and a box that fits two is only counted once.
    assert percents(task, by_hand(task, p1=[[0, 1, 3], [], [1, 0]], p2=[[0], []])) == pytest.approx(
        figures(20, 100, 75, 20)
    )
    assert percents(task, [task.perfect(one) for one in task.examples]) == figures(
        100, 100, 100, 100
    )
    # Who says nothing is right where nothing is meant: 1 of 5.
    assert percents(task, [Prediction.empty(one) for one in task.examples]) == figures(
        20, 100, 0, 20
    )


def test_the_generalised_iou_is_stricter(data) -> None:
    task = GRefCocoVal.load(data)
    first, second = task.examples
    # Against the table, 80 x 50: 60 x 45 shared of 4300, in a hull of 4400; 80 x 35 shared of 5200,
    # in a hull of 5500. Both have an IoU above 0.5, the second a GIoU of 0.484.
    for box, shared, union, hull, strict in (
        ([25, 10, 85, 60], 2700, 4300, 4400, 100),
        ([0, 20, 100, 60], 2800, 5200, 5500, 60),
    ):
        overlap = generalised_iou(np.float32([[5, 5, 85, 55]]), np.float32([box]))
        assert overlap[0, 0] == pytest.approx(shared / union - (hull - union) / hull, abs=1e-6)
        told = Prediction.made(second, [box], Said.found([("x", 0)]), Said.found([("x", 0)]))
        assert percents(task, [task.perfect(first), told]) == figures(100, 100, 100, strict)


def test_generalised_iou_of_boxes_apart_and_the_same() -> None:
    boxes = np.float32([[0, 0, 1, 1], [3, 0, 4, 1], [0, 0, 0, 0]])
    np.testing.assert_allclose(
        generalised_iou(boxes, boxes[:2]), [[1, -0.5], [-0.5, 1], [0, -0.75]], atol=1e-6
    )


def test_pairs_are_one_to_one_and_the_best_come_first() -> None:
    assert best_pairs(np.array([[0.6, 0.9], [0.5, 0.8]])) == [(0, 1), (1, 0)]
    assert best_pairs(np.array([[0.6, 0.9], [0.4, 0.8]])) == [(0, 1)]
    assert best_pairs(np.array([[0.6], [0.9]])) == [(1, 0)]
    assert best_pairs(np.zeros((0, 3))) == best_pairs(np.zeros((3, 0))) == []


def test_what_is_written_counts_whatever_its_label(data) -> None:
    task = GRefCocoVal.load(data)
    first, second = task.examples
    texts = [
        "<ground>men</ground><objects><region0></objects><ground>he</ground><objects><region1></objects>",
        "<ground>the dog</ground><objects>None</objects>",
        "<objects><region1><region1><region77></objects>",
    ]
    told = Prediction.made(first, REGIONS, *(Said(written=(text,)) for text in texts))
    assert percents(task, [told, task.perfect(second)]) == figures(100, 100, 100, 100)


def test_the_order_of_rows_does_not_matter(tmp_path, data) -> None:
    task, turned = GRefCocoVal.load(data), GRefCocoVal.load(write(tmp_path / "t", REFS[::-1]))
    one = percents(task, by_hand(task, p1=[[0], [0], [1]], p2=[[2], [3]]))
    assert percents(turned, by_hand(turned, p1=[[1], [0], [0]], p2=[[2], [3]])) == one


def test_bounds_are_those_worked_out_by_hand(data) -> None:
    task = GRefCocoVal.load(data)
    predictions = by_hand(task, p1=[[], [], []], p2=[[], []])
    made = {who: percents(task, *each) for who, each in task.bounds(predictions).items()}
    assert made == {
        "says nothing": figures(20, 100, 0, 20),
        "largest region": figures(40, 0, 100, 40),  # WIDE is half of it, twice
        "all regions": figures(0, 0, 100, 0),
        "best proposals (ceiling)": figures(100, 100, 100, 100),
    }
    (chance,) = task.expected(predictions, resampling(2, 20)).values()
    # Of four regions one is the right man; two have an IoU of 0.5 with the table, asked twice.
    assert {one.name: one.estimate.value for one in chance} == pytest.approx(
        {"F1": 100 * (1 / 4 + 2 / 4 + 2 / 4) / 5, "N-acc": 0, "T-acc": 100}
    )
    (table,) = task.details(predictions, resampling(2, 20))
    assert [(who, cells[0].value, cells[1]) for who, cells in table.rows] == [
        *(("no target", 100, "1"), ("one target", 0, "3"), ("several targets", 0, "1"))
    ]


def test_silence_of_what_failed_is_no_answer(data) -> None:
    task = GRefCocoTestA.load(data)
    (example,) = task.examples
    failed = Prediction.failed(example, "no such file")
    assert percents(task, [failed])["N-acc"] == percents(task, [failed])["F1"] == 0
    assert percents(task, [Prediction.empty(example)])["N-acc"] == 100
    assert np.isnan(percents(task, [failed])["T-acc"])
    assert (task.error(example, failed), task.error(example, task.perfect(example))) == (1, 0)
    for answer, share in ((Said.found([("x", 50)]), 0), (Said(written=("x" * 50_000,)), 100)):
        assert percents(task, [Prediction.made(example, REGIONS, answer)])["N-acc"] == share


@pytest.mark.parametrize("ann_ids", [[], [-1, 11], ["11"], "11", [99], None, [21], 3.5])
def test_a_broken_ref_is_told_and_the_others_stay(tmp_path, ann_ids) -> None:
    bad = ref(9, 1, ann_ids, "val", "men")
    task = GRefCocoVal.load(write(tmp_path / "data", [bad, *REFS]))
    (broken,) = task.broken
    assert broken.key == "grefs(unc).json row 0"
    assert sum(len(example.requests) for example in task.examples) == 5


def test_missing_files_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"grefcoco/grefs\(unc\).p is missing"):
        GRefCocoVal.load(tmp_path)
    (tmp_path / "grefs(unc).json").write_text("[]")
    with pytest.raises(InputError, match=r"cannot read .*instances\.json"):
        GRefCocoVal.load(tmp_path)


def test_a_model_is_measured(data, model) -> None:
    (data / "images/train2014" / SECOND).unlink()
    summary = evaluate(model, GRefCocoVal.load(data), resamples=5)
    assert summary.counts["failed"] == 1
    assert summary.figures["F1"].value <= 60
