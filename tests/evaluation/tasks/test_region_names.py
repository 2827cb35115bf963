"""Osprey's files of LVIS and PACO regions, by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.metrics.sentence_similarity import VARIABLE
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.summary import summarise
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.region_names import LvisRegions, PacoRegions
from fo1.prompts import Task
from tests.evaluation.figures import percents
from tests.evaluation.metrics.test_sentence_similarity import make_sentence_model
from tests.tiny import picture

ONE = np.ones((1, 2))
CONTENT = [
    {
        "id": 139,
        "file_name": "000000000139.jpg",
        "height": 60,
        "width": 80,
        "categories": ["coffee_cup", "bat_(animal)", "cup"],
        "annotations": [
            {"id": 1, "image_id": 139, "bbox": [10, 10, 20, 20], "segmentation": []},
            {"id": 2, "image_id": 139, "bbox": [40.5, 5, 30, 40], "segmentation": []},
            {"id": 3, "image_id": 139, "bbox": [0, 0, 500, 500], "segmentation": []},
        ],
    },
    {
        "id": 285,
        "file_name": "000000000285.jpg",
        "height": 60,
        "width": 80,
        "categories": ["dog:front_leg"],
        "annotations": [{"id": 4, "image_id": 285, "bbox": [1, 2, 30, 40], "segmentation": []}],
    },
]


@pytest.fixture(autouse=True)
def no_sentence_model(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))


def write(folder: Path, content: object, name: str = "lvis_val_1k_category.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    for place, number in (("val2017", 139), ("train2017", 285)):
        (folder / place).mkdir(exist_ok=True)
        picture(80, 60, number).save(folder / place / f"{number:012}.jpg")
    return folder


def said(task: LvisRegions, *answers: dict[int, str]) -> list[Prediction]:
    return [
        Prediction.made(example, example.boxes, Said(texts=texts))
        for example, texts in zip(task.examples, answers, strict=True)
    ]


def test_the_file_is_read_as_it_ships(tmp_path: Path) -> None:
    task = LvisRegions.load(write(tmp_path, CONTENT))
    first, second = task.examples
    assert first.boxes.tolist() == [[10, 10, 30, 30], [40.5, 5, 70.5, 45], [0, 0, 500, 500]]
    assert first.truth == ("coffee_cup", "bat_(animal)", "cup")
    assert (first.key, first.image_id) == ("000000000139.jpg", 139)
    (request,) = first.requests
    assert (request.task, request.regions, request.detail) == (Task.DESCRIBE, (0, 1, 2), "brief")
    assert [example.open().size for example in task.examples] == [(80, 60), (80, 60)]
    assert second.image == tmp_path / "train2017/000000000285.jpg"
    assert task.files == (tmp_path / "lvis_val_1k_category.json",)
    assert LvisRegions.load(task.files[0]).truths == task.truths
    paco = PacoRegions.load(write(tmp_path, CONTENT, "paco_val_1k_category.json"))
    assert paco.truths[-1] == "dog:front_leg"


def test_the_truth_is_told_in_words(tmp_path: Path) -> None:
    task = LvisRegions.load(write(tmp_path, CONTENT))
    assert task.truth_in_words(task.examples[1]) == "dog front leg"


def test_s_iou_by_hand(tmp_path: Path) -> None:
    task = LvisRegions.load(write(tmp_path, CONTENT))
    answers = {0: "A coffee cup.", 1: "bird"}, {0: "category: Front leg"}
    # {a, coffee, cup} and {coffee, cup}: 2/3; nothing; no answer; {front, leg} of three words: 2/3
    assert percents(task, said(task, *answers))["S-IoU"] == pytest.approx(100 * (4 / 3) / 4)


def test_paco_by_hand(tmp_path: Path) -> None:
    content = [dict(CONTENT[1], categories=["dog:leg"]), dict(CONTENT[0], categories=["cup"] * 3)]
    task = PacoRegions.load(write(tmp_path, content, "paco_val_1k_category.json"))
    assert get_task("paco-regions") is PacoRegions
    # "dog:leg" is cut at its colon: one word of two; "a cup": one of two; right; nothing.
    answers = {0: "dog:leg"}, {0: "a cup", 1: "cup."}
    assert percents(task, said(task, *answers))["S-IoU"] == pytest.approx(
        100 * (1 / 2 + 1 / 2 + 1) / 4
    )
    assert percents(task, [task.perfect(one) for one in task.examples])["S-IoU"] == 100
    assert percents(task, [Prediction.empty(one) for one in task.examples])["S-IoU"] == 0


def test_perfect_empty_and_odd_answers(tmp_path: Path) -> None:
    task = LvisRegions.load(write(tmp_path, CONTENT))
    perfect = [task.perfect(example) for example in task.examples]
    assert percents(task, perfect)["S-IoU"] == 100
    for nothing in (
        [Prediction.empty(example) for example in task.examples],
        [Prediction.failed(example, "no picture") for example in task.examples],
        said(task, {}, {0: "x " * 25_000}),
        said(task, {7: "cup", -1: "coffee cup"}, {3: "dog"}),
    ):
        assert percents(task, nothing)["S-IoU"] == 0
        assert [task.error(*pair) for pair in zip(task.examples, nothing, strict=True)] == [1, 1]
    assert task.error(task.examples[0], perfect[0]) == 0


def test_figures_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    def of(content: list) -> dict[str, float]:
        task = LvisRegions.load(write(tmp_path, content))
        texts = {"000000000139.jpg": "a cup", "000000000285.jpg": "leg"}
        answers = [{at: texts[one.key] for at in range(len(one.truth))} for one in task.examples]
        told = summarise(task, {"model": said(task, *answers)}, floors=True, resamples=3)
        shown = [told.figures, *(told.bounds[who] for who in told.bounds if "dealt" not in who)]
        return {
            f"{at} {name}": one.value for at, row in enumerate(shown) for name, one in row.items()
        }

    assert of(CONTENT) == pytest.approx(of(CONTENT[::-1]), nan_ok=True)


def test_ss_by_a_sentence_model(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, str(make_sentence_model(tmp_path / "model")))
    task = LvisRegions.load(write(tmp_path, CONTENT))
    assert percents(task, [task.perfect(one) for one in task.examples])["SS"] == pytest.approx(100)
    assert percents(task, [Prediction.empty(one) for one in task.examples])["SS"] == 0
    half = percents(task, said(task, {0: "coffee cup"}, {0: "dog front leg"}))
    assert half["SS"] == pytest.approx(50)
    assert task.details([], ONE) == []


def test_without_the_sentence_model_ss_is_no_number_and_the_cure_is_told(tmp_path: Path) -> None:
    task = LvisRegions.load(write(tmp_path, CONTENT))
    perfect = [task.perfect(example) for example in task.examples]
    told = summarise(task, {"model": perfect}, resamples=3)
    assert np.isnan(told.figures["SS"].value)
    text = "\n".join(table.markdown() for table in told.tables)
    assert "SS was not measured" in text
    assert f"{VARIABLE} is" in text
    assert "hf download sentence-transformers/all-MiniLM-L6-v2" in text


def test_floors(tmp_path: Path) -> None:
    content = [dict(CONTENT[0], categories=["cup", "dog", "cup"]), CONTENT[1]]
    task = LvisRegions.load(write(tmp_path, content))
    told = summarise(
        task, {"model": [Prediction.empty(one) for one in task.examples]}, floors=True, resamples=9
    )
    bounds = {who: each["S-IoU"].value for who, each in told.bounds.items()}
    assert bounds.pop("always 'cup'") == 50
    assert bounds.pop("perfect answers") == 100
    ((who, dealt),) = bounds.items()
    assert who == "true answers dealt anew among all regions"
    assert 0 <= dealt < 100


def broken(change) -> list:
    content = json.loads(json.dumps(CONTENT))
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c[0].pop("file_name"), "no 'file_name'"),
        (lambda c: c[0].pop("categories"), "no 'categories'"),
        (lambda c: c[0].update(annotations={}), "'annotations' is {}"),
        (lambda c: c[0].update(id=[]), "'id' is []"),
        (lambda c: c[0]["categories"].pop(), "the category is 'None'"),
        (lambda c: c[0]["annotations"].pop(), "found NoneType; expected an object with 'bbox'"),
        (lambda c: c[0]["categories"].__setitem__(0, " _ "), "the category is ' _ '"),
        (lambda c: c[0]["annotations"][1].pop("bbox"), "no 'bbox'"),
        (lambda c: c[0]["annotations"][1].update(bbox=[1, 2, 3]), "expected [x, y, width, height]"),
        (lambda c: c[0]["annotations"][1].update(bbox=[1, 2, 0, 3]), "with an area"),
        (lambda c: c[0]["annotations"][1].update(bbox=[1, 2, "a", 3]), "expected [x, y,"),
        (lambda c: c[0]["annotations"][1].update(bbox=[1, 2, 10**400, 3]), "expected [x, y,"),
        (lambda c: c[0].update(width=10**400), "width is 1000"),
        (lambda c: c[0].update(height=0), "height is 0; expected 1 to 100,000 pixels"),
        (lambda c: c[0]["categories"].__setitem__(0, "x" * 50_000), "50,000 characters"),
        (
            lambda c: c[0]["annotations"][1].update(bbox=[80, 2, 5, 3]),
            "outside the picture of 80 x",
        ),
        (lambda c: c[0]["annotations"][1].update(bbox=[-9, 2, 5, 3]), "outside the picture"),
        (lambda c: c.append(c[1]), "the id '285/0' was there before"),
        (lambda c: c.append(7), "found int; expected an object"),
    ],
)
def test_broken_rows_are_told_and_the_others_asked(tmp_path: Path, change, told: str) -> None:
    task = LvisRegions.load(write(tmp_path, broken(change)))
    assert any(told in bad.problem for bad in task.broken), task.broken
    assert all("\n" not in bad.problem for bad in task.broken)
    assert "dog:front_leg" in task.truths


def test_infinite_boxes_are_broken(tmp_path: Path) -> None:
    content = broken(lambda c: c[0]["annotations"][0].update(bbox=[float("nan"), 0, 5, 5]))
    assert len(LvisRegions.load(write(tmp_path, content)).broken) == 1


@pytest.mark.parametrize(
    ("text", "told"), [(None, "cannot read"), ("{", "no JSON"), ("{}", "dict")]
)
def test_a_file_that_is_something_else(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "lvis_val_1k_category.json").write_text(text)
    with pytest.raises(InputError, match=rf"lvis_val_1k_category\.json.*{told}|{told}.*lvis_val"):
        LvisRegions.load(tmp_path)
    (tmp_path / "lvis_val_1k_category.json").write_text("[]")
    with pytest.raises(InputError, match="nothing to measure"):
        LvisRegions.load(tmp_path)


def test_a_model_is_asked_and_a_missing_picture_counts_as_wrong(tmp_path: Path, model) -> None:
    task = LvisRegions.load(write(tmp_path, CONTENT))
    (tmp_path / "train2017/000000000285.jpg").unlink()
    task = LvisRegions.load(tmp_path)
    told = evaluate(model, task, resamples=5)
    assert told.counts["failed"] == 1
    assert told.counts["examples"] == 2
    assert told.figures["S-IoU"].value <= 75
    assert set(told.figures) == {"SS", "S-IoU"}
    boxes, names = task.truth_to_draw(task.examples[0])
    assert (len(boxes), names[1]) == (3, "bat (animal)")


def test_intervals_are_over_pictures(tmp_path: Path) -> None:
    task = LvisRegions.load(write(tmp_path, CONTENT))
    right = said(task, {0: "coffee cup", 1: "bat (animal)", 2: "cup"}, {})
    values = next(f.values for f in task.measure(right, resampling(2, 50)) if f.name == "S-IoU")
    assert values[0] == 0.75
    assert set(values[1:].round(6)) == {0.0, 0.75, 1.0}
