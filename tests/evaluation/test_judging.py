"""An oracle gets everything, a liar nothing."""

import numpy as np
import pytest
from PIL import Image

from fo1.data.pictures import Concept, PicturePack
from fo1.data.scenes import Scene, SceneGenerator, SceneObject
from fo1.evaluation import judging
from fo1.evaluation.cases import NO_OBJECT, Case, make_case, naming_rank, rival_names
from fo1.evaluation.judging import Judgement
from fo1.evaluation.metrics import resampling

DUCK = SceneObject((0, 0, 20, 20), "duck", "duck", "flat", "", 1.0, ("duck", "bird"), ("goose",))
GOOSE = SceneObject((40, 0, 60, 20), "goose", "goose", "flat", "", 1.0, ("goose", "bird"), ())
CUP = SceneObject((0, 40, 20, 60), "cup", "cup", "flat", "", 1.0, ("cup",), ())
NAMES = ("duck", "bird", "goose", "cup", "car")


@pytest.fixture
def case() -> Case:
    return Case(
        objects=(DUCK, GOOSE, CUP),
        boxes=np.float32([CUP.box, DUCK.box, [50, 40, 80, 60], GOOSE.box]),
        owner=np.array([2, 0, NO_OBJECT, 1]),
        present=("duck", "goose", "cup"),
        absent=("car",),
        expressions=(("the cup", 2), ("the leftmost bird", 0)),
        counts=(("bird", 2), ("cup", 1)),
    )


def test_truth_tells_true_from_doubtful(case: Case) -> None:
    assert case.meant("bird").tolist() == [True, True, False]
    assert case.unsure("goose").tolist() == [True, False, False]
    truth, ignore = case.truth("goose")
    assert truth.tolist() == [list(GOOSE.box)]
    assert ignore.tolist() == [list(DUCK.box)]
    assert case.by_name_alone("the cup")
    assert not case.by_name_alone("the leftmost bird")
    assert case.queries == ("duck", "goose", "cup", "car", "the cup", "the leftmost bird", "bird")


def test_only_wrong_names_compete() -> None:
    rng = np.random.default_rng(0)
    # Both "bird" and the doubtful "goose" score higher than "duck" without harm.
    assert naming_rank(np.array([0.5, 0.9, 0.8, 0.1, 0.2]), NAMES, DUCK, rng) == 0
    assert naming_rank(np.array([0.5, 0.9, 0.8, 0.6, 0.2]), NAMES, DUCK, rng) == 1
    assert rival_names(NAMES, DUCK).tolist() == [3, 4]
    tied = [naming_rank(np.zeros(5), NAMES, DUCK, rng) for _ in range(300)]
    assert set(tied) == {0, 1, 2}


def oracle(case: Case) -> dict[str, np.ndarray]:
    """Return a score of 0.9 for what is true and 0.1 for the rest."""
    column = {}
    for name in case.names + tuple(noun for noun, _ in case.counts):
        column[name] = np.append(case.meant(name), False)[case.owner]
    for text, target in case.expressions:
        column[text] = case.owner == target
    return {query: 0.1 + 0.8 * right for query, right in column.items()}


def judge(case: Case, column: dict[str, np.ndarray]) -> Judgement:
    judged, rng = Judgement(), np.random.default_rng(0)
    for picture in range(3):
        judged.judge_boxes(picture, case, case.boxes, column, rng, 0.5)
        judged.judge_chances(picture, case, column)
    return judged


def test_an_oracle_gets_everything(case: Case) -> None:
    weights = resampling(3, 20)
    judged = judge(case, oracle(case))
    assert [e.value for e in judging.detection_figures(judged, weights)] == [1, 1, 1]
    assert [e.value for e in judging.referring_figures(judged.referring, weights)] == [1, 1]
    assert [e.value for e in judging.counting_figures(judged.counting, weights)] == [1, 1]
    figures = judging.presence_figures(judged, weights, 0.5)
    assert [e.value for e in figures] == [1, 1, 0, 0]
    brier, skill = judging.chance_figures(judged, weights)
    assert brier.value == pytest.approx(0.01)
    assert skill.value > 0.9
    assert [row[2:] for row in judging.reliability_rows(judged)] == [
        (36, pytest.approx(0.1), 0),
        (9, pytest.approx(0.9), 1),
    ]


def test_a_liar_gets_nothing(case: Case) -> None:
    weights = resampling(3, 20)
    judged = judge(case, {query: 1 - scores for query, scores in oracle(case).items()})
    overall, _, pooled = judging.detection_figures(judged, weights)
    assert overall.value < 0.4
    assert pooled.value < 0.4
    assert [e.value for e in judging.referring_figures(judged.referring, weights)] == [0, 0]
    assert judging.counting_figures(judged.counting, weights)[1].value == 1  # 4 - 2 is 2 as well
    auroc, none, _, false = judging.presence_figures(judged, weights, 0.5)
    assert (none.value, false.value) == (0, 4)
    assert auroc.value == 0.5
    assert judging.chance_figures(judged, weights)[1].value < 0


def test_a_name_nobody_answers_to_is_no_answer(case: Case) -> None:
    judged = judge(case, {query: np.full(4, -1.0) for query in case.queries} | {})
    weights = resampling(3, 20)
    assert judging.detection_figures(judged, weights)[0].value == 0
    assert judging.referring_figures(judged.referring, weights)[0].value == 0
    assert judging.presence_figures(judged, weights, 0.5)[1].value == 1


def test_cases_repeat_themselves_and_hold_distractors() -> None:
    pack = PicturePack.open()
    generator = SceneGenerator(pack, lineages=["twemoji"], size=(200, 240), solids=0)
    first, second = (
        [make_case(generator(5, i), generator.concepts.values(), 1) for i in range(8)]
        for _ in range(2)
    )
    for one, two in zip(first, second, strict=True):
        assert (one.queries, one.boxes.tolist()) == (two.queries, two.boxes.tolist())
        owned = one.owner[one.owner != NO_OBJECT]
        assert sorted(owned) == list(range(len(one.objects)))
        for row, owner in enumerate(one.owner):
            if owner != NO_OBJECT:
                assert one.boxes[row].tolist() == pytest.approx(one.objects[owner].box)
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
