"""An oracle gets everything, a liar nothing."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fo1.data.pictures import Concept, PicturePack
from fo1.data.scenes import Scene, SceneGenerator, SceneObject
from fo1.evaluation.drawn.cases import NO_OBJECT, Case, make_case, naming_rank, rival_names
from fo1.evaluation.drawn.figures import figures_of
from fo1.evaluation.drawn.floors import shuffled
from fo1.evaluation.drawn.judging import Judgement, _best, is_name, pair_chances, table_of
from fo1.evaluation.example import Example
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.prediction import Prediction, Said
from fo1.prompts import Task

DUCK = SceneObject((0, 0, 20, 20), "duck", "duck", "flat", "", 1.0, ("duck", "bird"), ("goose",))
GOOSE = SceneObject((40, 0, 60, 20), "goose", "goose", "flat", "", 1.0, ("goose", "bird"), ())
CUP = SceneObject((0, 40, 20, 60), "cup", "cup", "flat", "red", 1.0, ("cup",), ())
NAMES = ("duck", "bird", "goose", "cup", "car")
CASE = Case(
    objects=(DUCK, GOOSE, CUP),
    boxes=np.float32([CUP.box, DUCK.box, [50, 40, 80, 60], GOOSE.box]),
    owner=np.array([2, 0, NO_OBJECT, 1]),
    present=("duck", "goose", "cup"),
    absent=("car",),
    expressions=(("the cup", 2), ("the leftmost bird", 0)),
    counts=(("bird", 2), ("cup", 1)),
)
GIVEN = Example("0", "0", Image.new("RGB", (80, 60)), CASE.requests(NAMES), CASE, CASE.boxes)
PROPOSED = Example("0/own", "0", GIVEN.image, CASE.requests(), CASE)


def answers(example: Example[Case], *, right: float = 0.9, wrong: float = 0.1) -> Prediction:
    """Return every pair of region and query with the score `right` where it is true."""
    said = []
    for request in example.requests:
        if request.task is Task.DESCRIBE:
            texts = {row: CASE.objects[CASE.owner[row]].name for row in CASE.rows}
            said.append(Said(texts=texts if right > wrong else dict.fromkeys(texts, "a car")))
            continue
        meant = {text: CASE.owner == target for text, target in CASE.expressions}
        meant |= {n: np.append(CASE.meant(n), False)[CASE.owner] for n in (*CASE.names, *NAMES)}
        pairs = [(query, row) for query in request.queries for row in range(4)]
        scores = [right if meant[query][row] else wrong for query, row in pairs]
        count = int(sum(score >= 0.4 for score in scores))
        said.append(
            Said.found(
                pairs,
                scores,
                scored_by="head",
                count=count if request.task is Task.COUNT else None,
                evidence={"head": np.array(scores)},
            )
        )
    return Prediction.made(example, CASE.boxes, *said, image_size=(60, 80))


def figures(example: Example[Case], prediction: Prediction) -> dict[str, float]:
    judged = Judgement()
    for picture in range(3):
        judged.add(picture, example, prediction)
    return {one.name: one.values[0] for one in figures_of(judged, resampling(3, 20))}


def test_truth_tells_true_from_doubtful() -> None:
    assert CASE.meant("bird").tolist() == [True, True, False]
    assert CASE.unsure("goose").tolist() == [True, False, False]
    truth, ignore = CASE.truth("goose")
    assert truth.tolist() == [list(GOOSE.box)]
    assert ignore.tolist() == [list(DUCK.box)]
    assert CASE.by_name_alone("the cup")
    assert not CASE.by_name_alone("the leftmost bird")
    assert CASE.shown_by(np.float32([[1, 1, 20, 20], [0, 0, 60, 60]])).tolist() == [0, NO_OBJECT]


def test_naming_and_descriptions_are_asked_of_given_boxes_alone() -> None:
    tasks = [Task.DETECT, Task.REFER, Task.COUNT, Task.COUNT]
    assert [request.task for request in PROPOSED.requests] == tasks
    assert [request.task for request in GIVEN.requests] == [*tasks, Task.DETECT, Task.DESCRIBE]
    assert GIVEN.requests[-2].queries == NAMES
    assert GIVEN.requests[-1].regions == (0, 1, 3)


def test_only_wrong_names_compete() -> None:
    rng = np.random.default_rng(0)
    # Both "bird" and the doubtful "goose" score higher than "duck" without harm.
    assert naming_rank(np.array([0.5, 0.9, 0.8, 0.1, 0.2]), NAMES, DUCK, rng) == 0
    assert naming_rank(np.array([0.5, 0.9, 0.8, 0.6, 0.2]), NAMES, DUCK, rng) == 1
    assert rival_names(NAMES, DUCK).tolist() == [3, 4]
    tied = [naming_rank(np.zeros(5), NAMES, DUCK, rng) for _ in range(300)]
    assert set(tied) == {0, 1, 2}
    assert naming_rank(np.full(5, -1.0), NAMES, DUCK, rng) == 5, "what is not said is not right"


@pytest.mark.parametrize("example", [GIVEN, PROPOSED], ids=["given", "proposed"])
def test_an_oracle_gets_everything(example) -> None:
    found = figures(example, answers(example))
    assert found.pop("absent names: false positives") == 0
    if example is GIVEN:
        # 0.01 everywhere, where 3 of 15 pairs are true.
        assert found.pop("probabilities: Brier skill") == pytest.approx(1 - 0.01 / 0.16)
    assert found == dict.fromkeys(found, 1.0)


def test_a_liar_gets_nothing() -> None:
    found = figures(GIVEN, answers(GIVEN, right=0.1, wrong=0.9))
    assert found["naming: top-1"] == found["naming: description is a name"] == 0
    assert found["detection: AP"] < 0.4
    assert found["detection: AP50, one ranking"] < 0.4
    assert found["detection: F1 of the answers"] == 0
    assert found["referring: all"] == found["referring: not by the name alone"] == 0
    assert found["counting: exact where 2 or more"] == 1  # 4 - 2 is 2 as well
    assert found["counting: exact"] == 0.5
    assert found["absent names: none said"] == 0
    assert found["absent names: false positives"] == 4
    assert found["absent names: AUROC"] == 0.5
    assert found["probabilities: Brier skill"] < 0


def test_a_name_nobody_answers_to_is_no_answer() -> None:
    found = figures(PROPOSED, Prediction.empty(PROPOSED))
    assert found.pop("absent names: none said") == 1
    assert found.pop("absent names: AUROC") == 0.5
    assert found == dict.fromkeys(found, 0.0)


@pytest.mark.parametrize("example", [GIVEN, PROPOSED], ids=["given", "proposed"])
def test_a_scene_that_failed_is_wrong_in_everything(example) -> None:
    found = figures(example, Prediction.failed(example, "no picture"))
    if example is GIVEN:  # nothing was said to be likely: as good as the base rate of 3 in 15
        assert found.pop("probabilities: Brier skill") == pytest.approx(-0.25)
    assert found.pop("absent names: false positives") == 1  # the car, in each
    assert found == dict.fromkeys(found, 0.0)


def test_equal_best_regions_are_drawn_and_not_the_first_in_the_list() -> None:
    rng = np.random.default_rng(0)
    assert {_best(np.array([0.5, 0.2, 0.5, 0.5]), rng) for _ in range(60)} == {0, 2, 3}
    assert _best(np.full(3, -1.0), rng) is None
    assert _best(np.zeros(0), rng) is None


def test_answers_are_those_that_reach_the_threshold_or_were_written() -> None:
    sure = figures(GIVEN, answers(GIVEN, right=0.4, wrong=0.3))
    assert sure["detection: F1 of the answers"] == 1
    shy = answers(GIVEN, right=0.39, wrong=0.3)
    assert figures(GIVEN, shy)["detection: F1 of the answers"] == 0
    assert figures(GIVEN, shy)["detection: AP"] == 1
    written = tuple(replace(said, scored_by="proposal") for said in shy.said)
    # 16 pairs less the doubtful one, 3 of them right: 2 * 3 / (15 + 3).
    loose = figures(GIVEN, replace(shy, said=written))
    assert loose["detection: F1 of the answers"] == pytest.approx(1 / 3)


def test_odd_answers_count_for_nothing() -> None:
    odd = Said.found([("cup", 0), ("cup", 99), ("x" * 50_000, 1), ("", 0)], count=10**9)
    assert table_of(odd, ("cup",), 2).tolist() == [[1.0], [-1.0]]
    said = (*[odd] * (len(GIVEN.requests) - 1), Said(texts={99: "cup", 0: "y" * 50_000}))
    found = figures(GIVEN, Prediction.made(GIVEN, CASE.boxes, *said))
    assert found["detection: AP"] == pytest.approx(1 / 3)
    assert found["naming: top-1"] == pytest.approx(1 / 3)
    assert found["referring: all"] == found["counting: exact"] == 0


def test_chances_leave_out_doubtful_names_and_tell_what_was_not_said() -> None:
    said = Said.found([("duck", 1), ("goose", 1), ("car", 2)], [0.8, 0.7, 0.3])
    prediction = Prediction.made(GIVEN, CASE.boxes, said)
    chance, outcome = pair_chances(GIVEN, prediction, said)
    assert len(chance) == 4 * 4 - 1
    assert sorted(chance[chance >= 0]) == [0.3, 0.8]
    assert outcome[chance == 0.8] == [True]
    assert outcome.sum() == 3


def test_shuffled_answers_keep_their_number_but_not_their_place() -> None:
    prediction = answers(GIVEN)
    dealt = [shuffled(prediction, seed) for seed in range(20)]
    assert [sorted(one.said[0].labels) for one in dealt] == [sorted(prediction.said[0].labels)] * 20
    assert np.array_equal(dealt[3].said[0].regions, shuffled(prediction, 3).said[0].regions)
    mean = np.mean([figures(GIVEN, one)["naming: top-1"] for one in dealt])
    assert 0.05 < mean < 0.7


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("apple", True),
        ("An apple.", True),
        ("a red apple", True),
        ("a fruit", True),
        ("a green apple", False),
        ("an apple tree", False),
        ("", False),
    ],
)
def test_a_description_is_a_name_or_it_is_not(text, right) -> None:
    assert is_name(text, ("apple", "fruit"), "red") == right


def test_cases_repeat_themselves_and_hold_distractors() -> None:
    pack = PicturePack.open()
    generator = SceneGenerator(pack, lineages=["twemoji"], size=(200, 240), solids=0)
    first, second = (
        [make_case(generator(5, i), generator.concepts.values(), 1) for i in range(8)]
        for _ in range(2)
    )
    for one, two in zip(first, second, strict=True):
        assert (one.requests(), one.boxes.tolist()) == (two.requests(), two.boxes.tolist())
        owned = one.owner[one.owner != NO_OBJECT]
        assert sorted(owned) == list(range(len(one.objects)))
        for row in one.rows:
            assert one.boxes[row].tolist() == pytest.approx(one.objects[one.owner[row]].box)
        assert not any(one.meant(name).any() or one.unsure(name).any() for name in one.absent)
        for noun, number in one.counts:
            assert one.meant(noun).sum() == number
    assert any((case.owner == NO_OBJECT).any() for case in first)
    assert any((np.diff(case.owner) < 0).any() for case in first), "order must not tell"


def test_no_absent_names_in_a_world_of_one_concept() -> None:
    scene = Scene(Image.new("RGB", (80, 80)), (CUP,), (), "wood", 0, 0)
    case = make_case(scene, [Concept("cup", "cup")], 0)
    assert case.absent == ()
    assert case.present == ("cup",)
