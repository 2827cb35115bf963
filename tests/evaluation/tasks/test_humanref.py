"""Four expressions in the true format of HumanRef, scored by hand."""

import json

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.metrics.referring import count_in_order, density_f1
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.humanref import HumanRef
from fo1.prompts import Task
from tests.evaluation.figures import percents
from tests.tiny import picture

A, B, C = [0, 0, 20, 40], [30, 0, 50, 40], [60, 0, 80, 40]
SHORT = [0, 0, 20, 27]  # its IoU with A is 0.675: right at 0.5, 0.55, 0.6 and 0.65
REGIONS = [A, B, C, SHORT, [0, 0, 100, 80]]
PERSONS = [A, B, C]


def row(number, referring, domain, answers, image="a.jpg"):
    return {
        "id": number,
        "image_name": image,
        "image_size": [100, 80],
        "referring": referring,
        "domain": domain,
        "sub_domain": f"1000_{domain}",
        "candidate_boxes": PERSONS,
        "answer_boxes": answers,
        "answer_segmentations": [{"size": [80, 100], "counts": "x"} for _ in answers],
    }


ROWS = [
    row(0, "the two on the left", "position", [A, B]),
    row(1, "the man in red", "attribute", [A], "b.jpg"),
    row(2, "everybody", "attribute", [A, B, C]),
    row(3, "the woman with a hat", "rejection", []),
]


def write(root, rows=ROWS):
    (root / "images").mkdir(parents=True)
    (root / "annotations.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    for number, name in enumerate(("a.jpg", "b.jpg")):
        picture(100, 80, number).save(root / "images" / name)
    return root


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "humanref")


def by_hand(task, *regions):
    return [
        Prediction.made(one, REGIONS, Said.found([("x", region) for region in each]))
        for one, each in zip(task.examples, regions, strict=True)
    ]


def test_the_format_is_read(data) -> None:
    task = HumanRef.load(data)
    assert [example.key for example in task.examples] == ["0", "1", "2", "3"]
    assert task.picture_names == ("a.jpg", "b.jpg")
    first, *_, last = task.examples
    assert [(r.task, r.queries) for r in first.requests] == [
        (Task.DETECT, ("the two on the left",))
    ]
    np.testing.assert_array_equal(first.truth.answers, [A, B])
    np.testing.assert_array_equal(task.true_boxes(last), PERSONS)
    assert first.boxes is None
    assert first.open().size == (100, 80)
    assert get_task("humanref") is HumanRef
    assert HumanRef.load(data / "annotations.jsonl").files == task.files


def test_figures_are_those_worked_out_by_hand(data) -> None:
    task = HumanRef.load(data)
    # 0: A and C, one of two either way: P 1/2, R 1/2, DF1 1/2 at all ten thresholds.
    # 1: a box with IoU 0.675, right at 4 of 10 thresholds.
    # 2: all three and one too many: P 3/4, R 1, F1 6/7, times 3/4 for the density.
    # 3: a box for nobody.
    found = percents(task, by_hand(task, [0, 2], [3], [0, 1, 2, 4], [1]))
    assert found == pytest.approx(
        {
            "DF1": 100 * (1 / 2 + 4 / 10 + 6 / 7 * 3 / 4) / 3,
            "P": 100 * (1 / 2 + 4 / 10 + 3 / 4) / 3,
            "R": 100 * (1 / 2 + 4 / 10 + 1) / 3,
            "rejection": 0,
            "P@50": 100 * (1 / 2 + 1 + 3 / 4) / 3,
            "R@50": 100 * (1 / 2 + 1 + 1) / 3,
            "DF1@50": 100 * (1 / 2 + 1 + 6 / 7 * 3 / 4) / 3,
        }
    )
    perfect = percents(task, [task.perfect(one) for one in task.examples])
    assert set(perfect.values()) == {100.0}
    empty = percents(task, [Prediction.empty(one) for one in task.examples])
    assert empty.pop("rejection") == 100
    assert set(empty.values()) == {0.0}


def test_an_iou_on_a_threshold_reaches_it(data) -> None:
    task = HumanRef.load(data).first(1)
    (example,) = task.examples
    boxes = [[0, 0, 20, 26], [30, 0, 50, 26]]  # 26 / 40 is 0.65: right at 4 of 10 thresholds
    told = Prediction.made(example, boxes, Said.found([("x", 0), ("x", 1)]))
    assert percents(task, [told])["R"] == pytest.approx(40)


def test_density_f1_punishes_boxes_that_are_too_many() -> None:
    assert density_f1(2, 2, 2) == (1, 1, 1)
    assert density_f1(2, 2, 4) == pytest.approx((1 / 2, 1, 2 / 3 * 1 / 2))
    assert density_f1(1, 4, 1) == pytest.approx((1, 1 / 4, 2 / 5))  # too few is no density
    assert density_f1(0, 2, 3) == density_f1(0, 2, 0) == (0, 0, 0)


def test_every_box_takes_the_best_that_is_free_in_its_order() -> None:
    assert count_in_order(np.array([[0.6, 0.9], [0.0, 0.8]]), 0.5) == 1  # greedy, not the best plan
    assert count_in_order(np.array([[0.0, 0.8], [0.6, 0.9]]), 0.5) == 2
    assert count_in_order(np.array([[0.6], [0.9]]), 0.5) == 1
    assert count_in_order(np.zeros((2, 0)), 0.5) == 0


def test_the_order_of_rows_does_not_matter(tmp_path, data) -> None:
    task = HumanRef.load(data)
    turned = HumanRef.load(write(tmp_path / "turned", ROWS[::-1]))
    regions = [[0, 2], [3], [0, 1, 2, 4], [1]]
    assert percents(task, by_hand(task, *regions)) == pytest.approx(
        percents(turned, by_hand(turned, *regions[::-1]))
    )


def test_bounds_are_those_worked_out_by_hand(data) -> None:
    task = HumanRef.load(data)
    predictions = by_hand(task, [], [], [], [])
    made = {who: percents(task, *each) for who, each in task.bounds(predictions).items()}
    assert list(made) == [
        "largest region",
        "all regions",
        "all people of the annotation",
        "best proposals (ceiling)",
    ]
    assert made["largest region"]["DF1"] == 0
    assert made["largest region"]["rejection"] == 0
    # Everybody: 2 of 3 (F1 4/5 x 2/3), 1 of 3 (1/2 x 1/3), 3 of 3.
    assert made["all people of the annotation"]["DF1"] == pytest.approx(
        100 * (8 / 15 + 1 / 6 + 1) / 3
    )
    assert made["all regions"]["R"] == 100
    assert set(made["best proposals (ceiling)"].values()) == {100.0}
    (chance,) = task.expected(predictions, resampling(2, 20)).values()
    rates = {one.name: one.estimate.value for one in chance}
    # Of five regions: A, B hit; A and the short one at 4 of 10 thresholds ...
    hits = [(2 + 0.4) / 5, (1 + 0.4) / 5, (3 + 0.4) / 5]
    assert rates["P"] == pytest.approx(100 * sum(hits) / 3)
    assert rates["DF1"] == pytest.approx(
        100 * sum(2 * hit / (1 + n) for hit, n in zip(hits, (2, 1, 3), strict=True)) / 3
    )


def test_chance_is_the_mean_over_all_single_regions(data) -> None:
    task = HumanRef.load(data)
    single = [percents(task, by_hand(task, *[[r]] * 4)) for r in range(len(REGIONS))]
    (chance,) = task.expected(by_hand(task, *[[]] * 4), resampling(2, 20)).values()
    for one in chance:
        mean = np.mean([each[one.name] for each in single])
        assert one.estimate.value == pytest.approx(mean)


def test_details_tell_domains_and_how_many_are_meant(data) -> None:
    task = HumanRef.load(data)
    (table,) = task.details(by_hand(task, [0, 2], [3], [0, 1, 2], [1]), resampling(2, 20))
    cells = {who: (round(row[2].value, 6), row[3]) for who, row in table.rows[:4]}
    assert cells == {
        "attribute": (70, "2"),
        "position": (50, "1"),
        "1 person": (40, "1"),
        "2-5 persons": (75, "2"),
    }


BAD_ROWS = {
    "no id": {"id": None},
    "a second id": {"id": 0},
    "no picture": {"image_name": ""},
    "no expression": {"referring": " "},
    "an expression of another kind": {"referring": 4},
    "an endless expression": {"referring": "the man " * 10_000},
    "no domain": {"domain": None},
    "nobody is meant": {"answer_boxes": []},
    "a box without area": {"answer_boxes": [[5, 5, 5, 9]]},
    "a box that is none": {"answer_boxes": [[5, 5, 9]]},
    "boxes of another kind": {"answer_boxes": "A"},
    "a box that overflows": {"answer_boxes": [[5, 5, 10**400, 9]]},
    "a candidate out of reach": {"candidate_boxes": [[5, 5, 1e20, 9]]},
    "no candidates": {"candidate_boxes": None},
    "a bad candidate": {"candidate_boxes": [[9, 9, 5, 5]]},
}


@pytest.mark.parametrize("change", BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_broken_row_is_told_and_the_others_stay(tmp_path, change) -> None:
    bad = {k: v for k, v in (row(9, "men", "position", [A]) | change).items() if v is not None}
    task = HumanRef.load(write(tmp_path / "data", [*ROWS, bad]))
    (broken,) = task.broken
    assert broken.key == "annotations.jsonl line 5"
    assert "\n" not in broken.problem
    assert len(task.examples) == 4


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"annotations\.jsonl"):
        HumanRef.load(tmp_path)


def test_odd_answers_are_counted(data) -> None:
    task = HumanRef.load(data)
    nobody = task.examples[3]
    failed = Prediction.failed(nobody, "no such file")
    rest = [task.perfect(one) for one in task.examples[:3]]
    assert percents(task, [*rest, failed])["rejection"] == 0  # silence of what failed is no answer
    assert (task.error(nobody, failed), task.error(nobody, Prediction.empty(nobody))) == (1, 0)
    for odd in (Said.found([("x", 99)]), Said(written=("<objects><region2></objects>",))):
        assert percents(task, [*rest, Prediction.made(nobody, REGIONS, odd)])["rejection"] == 0
    long = Prediction.made(nobody, REGIONS, Said(written=("y" * 50_000,)))
    assert percents(task, [*rest, long])["rejection"] == 100
    # A region that does not exist is a box too many.
    first = Prediction.made(task.examples[0], REGIONS, Said.found([("x", 0), ("x", 1), ("x", 99)]))
    assert percents(task, [first, *rest[1:], long])["P"] == pytest.approx(100 * (2 / 3 + 1 + 1) / 3)


def test_a_model_is_measured_and_a_missing_picture_is_wrong(data, model) -> None:
    (data / "images/a.jpg").unlink()
    summary = evaluate(model, HumanRef.load(data), resamples=5)
    assert summary.counts["failed"] == 3
    assert summary.figures["rejection"].value == 0
    assert summary.figures["R"].value <= 100 / 3 + 1e-9
