"""Detection tasks: official figures, own resamples, floors and ceilings, tables."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fo1.errors import MissingExtraError
from fo1.evaluation.detection.bounds import SEEDS
from fo1.evaluation.detection.task import SPREAD, DetectionTask
from fo1.evaluation.detection.truth import DetectionTruth
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.prediction import Prediction, Said
from fo1.pipeline import Request
from fo1.prompts import Task
from tests.evaluation.detections import (
    FIGURES,
    KINDS,
    coco_rows,
    guesses,
    pycocotools_figures,
    results,
)

NAMES = ("cat", "dog", "cow")
ONES = np.ones((1, 1))


class Made(DetectionTask):
    """A task without a file."""

    name, title = "made", "Made by hand"

    @classmethod
    def load(cls, data: Path) -> "Made":
        raise NotImplementedError


class Federated(Made):
    """The same, judged as LVIS is."""

    federated = True


def example(*objects, number: int = 0, crowd=(), part: str = "", **fields) -> Example:
    """Return a picture with (name, box) objects; `crowd` says which are crowds."""
    boxes = np.array([box for _, box in objects], float).reshape(-1, 4)
    truth = DetectionTruth(
        boxes=boxes,
        labels=tuple(name for name, _ in objects),
        crowd=np.isin(np.arange(len(objects)), crowd),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        number=number,
        part=part,
        **fields,
    )
    ask = Request(task=Task.DETECT, queries=NAMES, threshold=0.0)
    key = f"{part}{number}"
    return Example(key, key, Path(f"{key}.jpg"), (ask,), truth)


def made(*examples: Example) -> Made:
    return Made(examples=examples, names={one.truth.part: NAMES for one in examples})


def found(one: Example, *rows, **fields) -> Prediction:
    """Return a prediction of (label, box, score) rows."""
    pairs = [(label, place) for place, (label, _, _) in enumerate(rows)]
    said = Said.found(pairs, [score for _, _, score in rows], **fields)
    return Prediction.made(one, [box for _, box, _ in rows], said, image_size=(100, 100))


def random_task(seed: int, **fields):
    """Return a random task, its rows as COCO writes them, and a generator."""
    rng = np.random.default_rng(seed)
    rows = coco_rows(rng, **fields)
    names = {row["id"]: row["name"] for row in rows["categories"]}
    examples = []
    for image in rows["images"]:
        own = [row for row in rows["annotations"] if row["image_id"] == image["id"]]
        boxes = np.array([row["bbox"] for row in own], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        truth = DetectionTruth(
            boxes=boxes,
            labels=tuple(names[row["category_id"]] for row in own),
            crowd=np.array([row["iscrowd"] for row in own], bool),
            areas=np.array([row["area"] for row in own]),
            number=image["id"],
        )
        ask = Request(task=Task.DETECT, queries=tuple(names.values()), threshold=0.0)
        key = str(image["id"])
        examples.append(Example(key, key, Path("none.jpg"), (ask,), truth))
    return Made(examples=tuple(examples), names={"": tuple(names.values())}), rows, rng


def figures(task, predictions, weights=None) -> dict[str, np.ndarray]:
    weights = np.ones((1, len(task.picture_names))) if weights is None else weights
    return {one.name: one.values for one in task.measure(predictions, weights)}


CAT, DOG = ("cat", [0, 0, 40, 40]), ("dog", [50, 50, 90, 90])


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_figure_is_that_of_pycocotools(seed, ties) -> None:
    task, rows, rng = random_task(seed)
    predictions = guesses(task, rng, ties=ties)
    ours = {name: values[0] for name, values in figures(task, predictions).items()}
    official = pycocotools_figures(rows, results(task, rows, predictions))
    assert tuple(ours) == FIGURES
    assert ours == pytest.approx(official, abs=1e-6, nan_ok=True)
    assert 0 < ours["AP"] < 1


@pytest.mark.parametrize("seed", range(3))
def test_own_resamples_would_give_the_same_without_ties(seed) -> None:
    task, _, rng = random_task(seed)
    predictions = guesses(task, rng, ties=False)
    for values in figures(task, predictions, np.ones((2, 12))).values():
        assert values[1] == pytest.approx(values[0], abs=1e-9, nan_ok=True)


def test_names_in_several_calls_of_the_engine_give_the_same(monkeypatch) -> None:
    task, _, rng = random_task(1)
    predictions = guesses(task, rng, ties=True)
    whole = figures(task, predictions)
    monkeypatch.setattr("fo1.evaluation.detection.coco_engine.PAIRS_AT_ONCE", 24)
    assert figures(task, predictions) == whole


def test_perfect_is_100_and_nothing_is_0() -> None:
    task, _, _ = random_task(2)
    for make, due in ((task.perfect, 1), (Prediction.empty, 0)):
        values = figures(task, [make(one) for one in task.examples], resampling(12, 5))
        for name in FIGURES:
            assert values[name][0] == due
            assert set(values[name][np.isfinite(values[name])]) == {due}


def test_the_order_of_the_rows_changes_nothing() -> None:
    task, _, rng = random_task(3)
    predictions = guesses(task, rng, ties=True)
    order = rng.permutation(len(task.examples))
    mixed = replace(task, examples=tuple(task.examples[place] for place in order))
    again = figures(mixed, [predictions[place] for place in order], np.ones((2, 12)))
    for name, values in figures(task, predictions, np.ones((2, 12))).items():
        assert again[name] == pytest.approx(values, abs=1e-12, nan_ok=True)


def test_what_there_is_nothing_of_has_no_figure() -> None:
    one = example(CAT)
    values = figures(made(one), [found(one, (*CAT, 0.5))])
    assert np.isnan(values["APs"][0])
    assert np.isnan(values["APl"][0])
    assert values["APm"][0] == 1


def test_half_recall_gives_51_of_101_points() -> None:
    one = example(CAT, ("cat", [50, 0, 90, 40]))
    values = figures(made(one), [found(one, (*CAT, 0.5))])
    assert values["AP"][0] == values["AP50"][0] == pytest.approx(51 / 101)


def test_the_interval_is_wide_where_pictures_differ() -> None:
    task = made(*(example(CAT, number=number) for number in range(20)))
    half = [
        found(one, (*CAT, 0.5)) if one.truth.number % 2 else Prediction.empty(one)
        for one in task.examples
    ]
    estimate = task.measure(half, resampling(20, 150))[0].estimate
    assert estimate.value == pytest.approx(5100 / 101)
    assert estimate.low + 15 < estimate.value < estimate.high - 15


def test_resamples_beyond_the_spread_are_left_out_not_made_up() -> None:
    task = made(*(example(CAT, number=number) for number in range(3)))
    predictions = [task.perfect(one) for one in task.examples]
    values = task.measure(predictions, resampling(3, SPREAD + 50))[0].values
    assert len(values) == SPREAD + 51
    assert np.isfinite(values).sum() == SPREAD + 1


def test_labels_outside_and_broken_regions_are_counted_not_scored() -> None:
    one = example(CAT)
    bad = Said.found(
        [("cat", 0), ("x" * 50_000, 0), ("Cat", 0), ("cat", 7), ("cat", -1), ("cat", 0)],
        [0.5, 0.9, 0.9, 0.9, 0.9, np.nan],
    )
    prediction = Prediction.made(one, [CAT[1]], bad)
    assert figures(made(one), [prediction])["AP"][0] == 1
    counts = dict(made(one).details([prediction], ONES)[-1].rows)
    assert counts["scored"] == ("1",)
    assert counts["label outside the list"] == ("2",)
    assert counts["no such region or no score"] == ("3",)


def test_names_that_are_not_all_marked_cost_nothing() -> None:
    wrong = ("cat", [60, 0, 90, 30], 0.9)
    for unsure, due in (((), 0.5), (("cat",), 1)):
        one = example(CAT, absent=("dog",), unsure=unsure)
        task = Federated(examples=(one,), names={"": NAMES})
        assert task.asked(one) == ("cat", "dog")
        assert figures(task, [found(one, wrong, (*CAT, 0.5))])["AP50"][0] == pytest.approx(due)


def test_a_crowd_is_neither_to_be_found_nor_a_mistake() -> None:
    crowd = ("cat", [50, 0, 90, 40])
    one = example(CAT, crowd, crowd=[1])
    inside = [("cat", [50, 0, 70, 20], 0.9), ("cat", [60, 10, 80, 30], 0.8)]
    prediction = found(one, *inside, (*CAT, 0.5), evidence={"head": np.array([0.9, 0.8, 0.5])})
    assert figures(made(one), [prediction])["AP"][0] == 1
    chances = made(one).chances([prediction])["head"]
    assert chances.chance.tolist() == [0.5]
    assert chances.outcome.tolist() == [True]


def test_chances_say_which_detections_are_right() -> None:
    one = example(CAT, DOG)
    rows = [(*CAT, 0.9), (*CAT, 0.7), ("dog", CAT[1], 0.6), ("cow", DOG[1], 0.5)]
    evidence = {kind: np.array([0.9, 0.7, 0.6, 0.5]) / place for place, kind in enumerate(KINDS, 1)}
    chances = made(one).chances([found(one, *rows, evidence=evidence)])
    assert set(chances) == set(KINDS)
    right = dict(zip(chances["head"].chance.tolist(), chances["head"].outcome, strict=True))
    assert right == {0.45: True, 0.35: False, 0.3: False, 0.25: False}
    assert made(one).chances([found(one, *rows)]) == {}


def test_every_score_ranks_the_same_detections() -> None:
    one = example(CAT)
    rows = (("cat", DOG[1], 0.9), (*CAT, 0.1))
    evidence = {"fusion": np.array([0.9, 0.1]), "head": np.array([0.2, 0.8])}
    table = made(one).details([found(one, *rows, evidence=evidence)], ONES)[0]
    assert table.title == "AP by score"
    assert {who: cells[1].value for who, cells in table.rows} == {"head": 100, "fusion": 50}


def test_floors_and_ceilings() -> None:
    whole = ("cat", [0, 0, 100, 100])
    one, other = example(whole, number=0), example(DOG, ("cat", [0, 0, 30, 30]), number=1)
    task = made(one, other)
    predictions = [found(one, ("dog", [0, 0, 100, 90], 0.9)), found(other, ("cat", DOG[1], 0.8))]
    bounds = task.bounds(predictions)
    scores = {who: figures(task, seeds[0])["AP50"][0] for who, seeds in bounds.items()}
    assert scores["true boxes, true names"] == 1
    assert scores["own detections, names permuted"] == 0  # one a picture: nothing to deal
    # Of three boxes the proposals reach the first cat and the dog.
    assert scores["own proposals, true names"] == pytest.approx((51 / 101 + 1) / 2)
    assert scores["four centred boxes, every name"] == pytest.approx(51 / 101 / 2)
    assert len(bounds["own detections, names permuted"]) == SEEDS
    assert len(bounds["true boxes, random names"]) == SEEDS
    assert [one.key for one in bounds["four centred boxes, every name"][0]] == ["0", "1"]
    assert len(bounds["four centred boxes, every name"][0][0].said[0].labels) == 12


def test_centred_boxes_keep_to_the_most_that_count() -> None:
    one = example(CAT)
    task = replace(made(one), names={"": (*(f"name {n}" for n in range(80)), "cat")})
    (prediction,) = task.bounds([found(one, (*CAT, 1))])["four centred boxes, every name"][0]
    assert len(prediction.said[0].labels) == 100
    assert prediction.said[0].labels[0] == "cat"  # the most frequent name first
    # Scores fall with the name's rank, then with the box.
    assert prediction.said[0].scores[:5].tolist() == [1, 0.875, 0.75, 0.625, 0.5]


def test_permuted_names_are_those_that_were_said() -> None:
    task, _, rng = random_task(5)
    predictions = guesses(task, rng, ties=False)
    for seed in task.bounds(predictions)["own detections, names permuted"]:
        for before, after in zip(predictions, seed, strict=True):
            said = [label for each in (before, after) for label in sorted(each.said[0].labels)]
            assert said[: len(said) // 2] == said[len(said) // 2 :]


def test_random_names_on_true_boxes_lie_between_nothing_and_perfect() -> None:
    task, _, rng = random_task(6, pictures=30)
    predictions = guesses(task, rng, ties=False)
    seeds = task.bounds(predictions)["true boxes, random names"]
    scores = [figures(task, seed)["AP"][0] for seed in seeds]
    assert len(set(scores)) == SEEDS
    assert all(0 < score < 0.5 for score in scores)


def test_proposal_recall_by_hand() -> None:
    one = example(CAT, DOG)
    boxes = np.array([[0, 0, 40, 40]] + [[60, 0, 70, 10]] * 49 + [[50, 50, 90, 80]], float)
    scores = np.linspace(1, 0, len(boxes))  # the box on the dog, IoU 0.75, is the 51st
    prediction = Prediction(one.key, boxes, scores, (Said(),), (100, 100))
    tables = {table.title: table for table in made(one).details([prediction], ONES)}
    recall = {who: [c.value for c in cells] for who, cells in tables["Proposal recall"].rows}
    assert recall["50 proposals"] == [50, 50]
    assert recall["100 proposals"] == recall["300 proposals"] == [100, pytest.approx(80)]


def test_of_many_classes_the_ends_are_shown() -> None:
    names = tuple(f"name {number:02d}" for number in range(30))
    boxes = [[x, y, x + 10, y + 10] for x in range(0, 60, 12) for y in range(0, 72, 12)]
    one = example(*zip(names, boxes, strict=True))
    task = replace(made(one), names={"": names})
    right = found(one, *((name, box, 1) for name, box in zip(names[:15], boxes[:15], strict=True)))
    (table,) = [t for t in task.details([right], ONES) if t.title == "AP by class"]
    assert [who for who, _ in table.rows] == [*names[15:25], *names[5:15]]
    assert table.rows[0][1] == (0, 0, "1")
    assert table.rows[-1][1] == (100, 100, "1")


def test_errors_order_pictures() -> None:
    one = example(CAT, DOG)
    task = made(one)
    assert task.error(one, task.perfect(one)) == 0
    assert task.error(one, found(one, (*CAT, 0.5))) == 0.5
    assert task.error(one, Prediction.failed(one, "no picture")) == 1
    nothing = example()
    assert task.error(nothing, Prediction.empty(nothing)) == 0
    assert task.error(nothing, found(nothing, (*CAT, 0.7))) == 0.7


def test_true_boxes_and_what_is_drawn() -> None:
    one = example(CAT, CAT, ("dog", CAT[1]), DOG, crowd=[3])
    task = made(one)
    assert task.true_boxes(one).tolist() == [CAT[1]]  # each once, crowds are none
    boxes, labels = task.truth_to_draw(one)
    assert boxes.shape == (4, 4)
    assert labels == ("cat", "cat", "dog", "dog (crowd)")


def test_several_data_sets_are_averaged() -> None:
    one, other = example(CAT, number=4, part="a"), example(DOG, number=4, part="b")
    task = made(one, other)
    predictions = [task.perfect(one), Prediction.empty(other)]
    assert figures(task, predictions)["AP"][0] == 0.5
    (table,) = [t for t in task.details(predictions, np.ones((1, 2))) if t.title == "By data set"]
    assert [(who, cells[0].value, cells[-3:]) for who, cells in table.rows] == [
        ("a", 100, ("1", "1", "3")),
        ("b", 0, ("1", "1", "3")),
    ]


def test_without_the_engine_the_cure_is_told(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    one = example(CAT)
    with pytest.raises(MissingExtraError, match=r"pip install 'fo1\[eval\]'"):
        figures(made(one), [Prediction.empty(one)])
