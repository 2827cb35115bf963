"""Drawn scenes as a task: two ways to ask, figures from rows alone."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fo1.data.pictures import PicturePack
from fo1.errors import InputError
from fo1.evaluation.contestants import MODEL, TEXT_ONLY, WRITTEN
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.predicting import Predictor
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.summary import summarise
from fo1.evaluation.tasks.scenes import Scenes, ScenesNewConcepts
from fo1.pipeline import FO1
from fo1.pipeline.engine import Engine
from fo1.prompts import Task
from tests.evaluation.figures import shares
from tests.tiny import make_model, make_processor

PACK = PicturePack.open()
OWN = "own proposals, "


class Few(Scenes):
    scenes, size = 3, (160, 200)


class FewNew(ScenesNewConcepts):
    scenes, size = 2, (160, 200)


@pytest.fixture(scope="module")
def task() -> Few:
    return Few.load()


@pytest.fixture(scope="module")
def terse() -> FO1:
    """A random model with a score head that writes eight tokens at most."""
    model = make_model(score=True)
    model.generation_config.max_new_tokens = 8
    return FO1(Engine("tiny", model, make_processor()), Path(), proposer="grid")


def perfect(task: Scenes) -> list[Prediction]:
    return [task.perfect(example) for example in task.examples]


def test_a_scene_is_asked_with_given_boxes_and_with_proposed_ones(task) -> None:
    assert [example.key for example in task.examples[:3]] == [
        "scene-00000",
        "scene-00000/own",
        "scene-00001",
    ]
    assert task.picture_names == ("scene-00000", "scene-00001", "scene-00002")
    given, own = task.examples[:2]
    assert given.boxes is given.truth.boxes
    assert own.boxes is None
    assert task.true_boxes(given) is None
    assert np.array_equal(task.true_boxes(own), given.boxes)
    assert set(given.requests) > set(own.requests)
    assert len(task.names) == len(given.requests[-2].queries) > 600


def test_pictures_are_drawn_when_they_are_looked_at_and_always_the_same(task) -> None:
    assert all(callable(example.image) for example in task.examples)
    again = Few.load()
    for one, two in zip(task.examples, again.examples, strict=True):
        assert one.requests == two.requests
        assert np.array_equal(np.asarray(one.open()), np.asarray(two.open()))
    height, width = np.asarray(task.examples[0].open()).shape[:2]
    assert 160 <= max(height, width) <= 200
    assert (task.examples[0].truth.boxes <= [width, height, width, height]).all()


def test_a_limit_takes_whole_scenes(task) -> None:
    assert [example.key for example in task.first(1).examples] == ["scene-00000", "scene-00000/own"]
    assert Scenes.scenes == 200


def test_perfect_is_100_and_empty_is_0(task) -> None:
    found = shares(task, perfect(task))
    for way in ("", OWN):
        assert found.pop(f"{way}absent names: false positives") == 0
    assert found == pytest.approx(dict.fromkeys(found, 1.0))
    assert [task.error(e, p) for e, p in zip(task.examples, perfect(task), strict=True)] == [0] * 6

    empty = [Prediction.empty(example) for example in task.examples]
    found = shares(task, empty)
    for way in ("", OWN):
        for group in ("detection", "referring", "counting", "naming"):
            assert not any(v for name, v in found.items() if name.startswith(f"{way}{group}"))
        assert found[f"{way}absent names: found if there"] == 0
        assert found[f"{way}absent names: AUROC"] == 0.5
    assert task.error(task.examples[0], empty[0]) == 1


def test_each_way_of_asking_has_its_own_figures(task) -> None:
    half = [
        one if example.boxes is not None else Prediction.empty(example)
        for one, example in zip(perfect(task), task.examples, strict=True)
    ]
    found = shares(task, half)
    assert found["detection: AP"] == found["referring: all"] == found["counting: exact"] == 1
    assert found[f"{OWN}detection: AP"] == found[f"{OWN}counting: exact"] == 0


def test_one_scene_of_three_right_is_its_share(task) -> None:
    some = [
        one if number < 2 else Prediction.empty(example)
        for number, (one, example) in enumerate(zip(perfect(task), task.examples, strict=True))
    ]
    found = shares(task, some)
    cases = [example.truth for example in task.examples[::2]]
    for name, part in (
        ("naming: top-1", [len(case.objects) for case in cases]),
        ("referring: all", [len(case.expressions) for case in cases]),
        ("counting: exact", [len(case.counts) for case in cases]),
        ("absent names: found if there", [len(case.present) for case in cases]),
    ):
        assert found[name] == pytest.approx(part[0] / sum(part))


def test_the_order_of_examples_does_not_matter(task) -> None:
    predictions = [shuffle(one) for one in perfect(task)]
    turned = replace(task, examples=task.examples[::-1])
    assert shares(turned, predictions[::-1]) == pytest.approx(shares(task, predictions))


def shuffle(prediction: Prediction) -> Prediction:
    """Return a prediction with some answers wrong and many tied."""
    said = tuple(replace(s, regions=s.regions // 2, scores=s.scores / 2) for s in prediction.said)
    return replace(prediction, said=said)


def test_floors_and_ceilings_stand_beside_the_figures(task) -> None:
    weights = resampling(3, 10)
    own = [replace(one, image_size=(160, 160)) for one in perfect(task)]
    bounds = {
        who: {one.name: one.values[0] for one in each}
        for who, each in task.expected(own, weights).items()
    }
    chance = bounds["chance"]
    assert 1 / 663 <= chance["naming: top-1"] < 1 / 640
    assert chance["naming: top-5"] == pytest.approx(5 * chance["naming: top-1"])
    assert 0 < chance["referring: all"] < 0.4
    majority = next(each for who, each in bounds.items() if who.startswith("majority in"))
    assert 0 < majority["naming: top-1"] <= majority["naming: top-5"] < 1
    assert 0 < majority["counting: exact"] <= 1
    assert set(bounds["largest box"]) == {"referring: all", "referring: not by the name alone"}
    ceiling = bounds["own proposals, true names (ceiling)"]
    assert ceiling[f"{OWN}detection: AP"] == pytest.approx(1)
    recall = bounds["recall of the proposals at IoU 0.5"]
    assert recall == {f"{OWN}detection: AP50": 1}
    fixed = bounds["four centred boxes under every name"]
    assert fixed[f"{OWN}absent names: false positives"] == pytest.approx(20)
    assert fixed[f"{OWN}detection: AP"] < 0.3
    none = [
        replace(one, boxes=np.zeros((0, 4)), said=tuple(Said() for _ in one.said)) for one in own
    ]
    assert task.expected(none, weights)["recall of the proposals at IoU 0.5"][0].values[0] == 0

    (dealt,) = task.bounds(own).values()
    assert np.mean([shares(task, list(one))["naming: top-1"] for one in dealt]) < 0.6


def test_new_concepts_come_apart() -> None:
    task = FewNew.load()
    assert len(task.names) > len(Few.load().names)
    for example in task.examples:
        assert all(PACK.concepts[thing.concept].held_out for thing in example.truth.objects)
        assert {thing.name for thing in example.truth.objects} <= set(task.names)
    for example in Few.load().examples:
        for thing in example.truth.objects:
            assert PACK.lineages[thing.style] == "twemoji"
            assert not PACK.concepts[thing.concept].held_out


def test_a_pack_that_is_not_there_is_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match=r"pictures\.zip.*checkout") as caught:
        Few.load(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "pictures.zip").write_text("no zip")
    with pytest.raises(InputError, match="not a picture pack"):
        Few.load(tmp_path)
    assert Few.load(PACK.path).files == (PACK.path,)


def test_a_missing_drawing_breaks_its_scenes_alone(tmp_path, task) -> None:
    style_of = {info.concept: info for info in PACK.select(lineages=["twemoji"])}
    gone = style_of[task.examples[0].truth.objects[0].concept].index
    with (
        zipfile.ZipFile(PACK.path) as whole,
        zipfile.ZipFile(tmp_path / "pictures.zip", "w") as part,
    ):
        for name in whole.namelist():
            if name != f"{gone}.webp":
                part.writestr(name, whole.read(name))
    left = Few.load(tmp_path)
    assert left.broken[0].key == "scene-00000"
    assert f"{gone}.webp" in left.broken[0].problem
    assert "\n" not in left.broken[0].problem
    assert len(left.examples) + 2 * len(left.broken) == 6


def test_a_pack_lost_during_the_run_is_counted(model, tmp_path) -> None:
    shutil.copy(PACK.path, tmp_path / "pictures.zip")
    task = Few.load(tmp_path).first(1)
    for example in task.examples:
        example.image.args[0].pack._archive = None
    (tmp_path / "pictures.zip").unlink()
    summary = evaluate(model, task, resamples=5)
    assert summary.counts["failed"] == 2
    assert summary.figures["absent names: none said"].value == 0


def test_a_model_through_the_frame_and_its_rows_give_the_same_figures(terse, task) -> None:
    task = task.first(1)
    contestants = (MODEL, TEXT_ONLY, WRITTEN)
    told = Predictor(terse, task, None, contestants).predict(task.examples)
    assert all(one.error is None for each in told.values() for one in each)
    read = {
        who: [Prediction.from_row(json.loads(json.dumps(one.to_row()))) for one in each]
        for who, each in told.items()
    }
    one, two = (summarise(task, each, floors=True, resamples=10) for each in (told, read))
    assert one.to_dict() == two.to_dict()
    assert {MODEL.name, "chance", "largest box", "text only"} <= {MODEL.name, *one.bounds}
    assert set(one.chances) == {"head", "fusion", "proposal"}
    case = task.examples[0].truth
    assert len(one.chances["head"].chance) == sum(
        len(case.boxes) - int(case.unsure(name).sum()) for name in case.names
    )
    for example, scored, wrote in zip(
        task.examples, told[MODEL.name], told[WRITTEN.name], strict=True
    ):
        for request, by_head, by_hand in zip(
            example.requests, scored.said, wrote.said, strict=True
        ):
            assert by_hand.written
            assert bool(by_head.written) == (request.task is Task.DESCRIBE)


def test_regions_that_do_not_exist_are_no_error(task) -> None:
    told = []
    for example in task.examples:
        said = [
            Said.found(
                [(name, region) for name in request.queries[:3] for region in (99, -1)],
                texts={99: "cat", -1: "cat"},
            )
            for request in example.requests
        ]
        told.append(Prediction.made(example, example.truth.boxes[:1], *said))
    found = shares(task, told)
    assert found["naming: top-1"] == found["referring: all"] == found["detection: AP"] == 0
    assert all(len(one) for one in task.bounds(told).values())
    assert task.expected(told, resampling(3, 2))
    assert task.error(task.examples[0], told[0]) == 1
