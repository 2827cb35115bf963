"""RefCOCOg and Visual Genome as they ship, captions scored by hand."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.summary import Summary, summarise
from fo1.evaluation.task import EvalTask
from fo1.evaluation.tasks.captions import RefCocoGCaption, VisualGenomeCaption
from fo1.prompts import Task
from tests.tiny import picture


@pytest.fixture(autouse=True)
def no_java(monkeypatch) -> None:
    """Figures are the same on every machine, and fast."""
    monkeypatch.setattr(shutil, "which", lambda name: None)


def refs(number: int, image: int, annotation: int, *sentences: str, split: str = "val") -> dict:
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": image,
        "category_id": 1,
        "split": split,
        "file_name": f"COCO_train2014_{image:012}_{annotation}.jpg",
        "sentences": [{"sent_id": at, "sent": s, "raw": s} for at, s in enumerate(sentences)],
        "sent_ids": list(range(len(sentences))),
    }


REFS = [
    refs(1, 7, 70, "the red cup on the left", "a red cup beside a plate"),
    refs(2, 7, 71, "the plate"),
    refs(3, 9, 90, "a dog that runs in the park", "brown dog, running"),
    refs(4, 9, 91, "a cat", split="train"),
]
INSTANCES = {
    "images": [
        {"id": n, "file_name": f"COCO_train2014_{n:012}.jpg", "height": 60, "width": 80}
        for n in (7, 9)
    ],
    "annotations": [
        {"id": 70, "image_id": 7, "bbox": [5, 5, 20, 20], "category_id": 1, "iscrowd": 0},
        {"id": 71, "image_id": 7, "bbox": [30.5, 5, 20, 20], "category_id": 1, "iscrowd": 0},
        {"id": 90, "image_id": 9, "bbox": [0, 0, 40, 40], "category_id": 1, "iscrowd": 0},
        {"id": 91, "image_id": 9, "bbox": [40, 0, 20, 40], "category_id": 1, "iscrowd": 0},
        {"id": 92, "image_id": 9, "bbox": [400, 0, 20, 40], "category_id": 1, "iscrowd": 0},
    ],
    "categories": [{"id": 1, "name": "thing"}],
}
# 100 * Cider().compute_score of pycocoevalcap 1.2 after its PTBTokenizer, of the answers below
REFCOCOG_CIDER, REFCOCOG_APART = 211.49728322313322, 215.18508921622362
REFCOCOG_PERFECT, REFCOCOG_PEOPLE = 538.5500105816969, 78.0919033371942
VG_CIDER = 193.1357266229708


def write_refcocog(folder: Path, rows: list[dict] = REFS) -> Path:
    own = folder / "refcocog"
    own.mkdir(exist_ok=True)
    (own / "refs(umd).p").write_bytes(pickle.dumps(rows, protocol=2))
    (own / "instances.json").write_text(json.dumps(INSTANCES))
    pictures = folder / "images/mscoco/images/train2014"
    pictures.mkdir(parents=True, exist_ok=True)
    for number in (7, 9):
        picture(80, 60, number).save(pictures / f"COCO_train2014_{number:012}.jpg")
    return folder


def said(task: EvalTask, answers: dict[str, dict[int, str]]) -> list[Prediction]:
    return [
        Prediction.made(one, one.boxes, Said(texts=answers.get(one.key, {})))
        for one in task.examples
    ]


def summary(task: EvalTask, answers: dict[str, dict[int, str]], floors: bool = False) -> Summary:
    return summarise(task, {"model": said(task, answers)}, floors=floors, resamples=5)


def test_every_object_has_all_its_expressions_as_references(tmp_path: Path) -> None:
    task = RefCocoGCaption.load(write_refcocog(tmp_path))
    first, second = task.examples
    assert first.boxes.tolist() == [[5, 5, 25, 25], [30.5, 5, 50.5, 25]]
    assert first.truth == (("the red cup on the left", "a red cup beside a plate"), ("the plate",))
    assert second.truth == (("a dog that runs in the park", "brown dog, running"),)
    (request,) = first.requests
    assert (request.task, request.regions, request.detail) == (Task.DESCRIBE, (0, 1), "brief")
    assert first.open().size == (80, 60)
    assert [path.name for path in task.files] == ["refs(umd).p", "instances.json"]


def test_the_coco_caption_scorer_is_met_on_refcocog(tmp_path: Path) -> None:
    task = RefCocoGCaption.load(write_refcocog(tmp_path))
    first, second = (one.key for one in task.examples)
    told = summary(task, {first: {0: "Red cup, on the left."}, second: {0: "dog"}}, floors=True)
    assert told.figures["CIDEr"].value == pytest.approx(REFCOCOG_CIDER)
    assert told.figures["CIDEr, one reference"].value == pytest.approx(REFCOCOG_APART)
    people = told.bounds["people: first expression by the others"]["CIDEr"].value
    assert people == pytest.approx(REFCOCOG_PEOPLE)


def test_what_cannot_be_measured_here_is_told(tmp_path: Path) -> None:
    told = summary(RefCocoGCaption.load(write_refcocog(tmp_path)), {})
    assert np.isnan(told.figures["METEOR"].value)
    assert "own tokenizer instead of the Penn Treebank's, no METEOR" in told.tables[-1].markdown()


def test_perfect_captions_have_the_highest_score_and_empty_ones_none(tmp_path: Path) -> None:
    task = RefCocoGCaption.load(write_refcocog(tmp_path))
    told = summary(task, {}, floors=True)
    assert told.figures["CIDEr"].value == 0
    perfect = told.bounds["perfect answers"]
    assert perfect["CIDEr"].value == pytest.approx(REFCOCOG_PERFECT)
    assert all(
        each["CIDEr"].value <= perfect["CIDEr"].value
        for who, each in told.bounds.items()
        if "people" not in who
    )
    assert [task.error(one, task.perfect(one)) for one in task.examples] == [0, 0]
    assert [task.error(one, Prediction.empty(one)) for one in task.examples] == [1, 1]


def test_the_truth_is_told_in_words(tmp_path: Path) -> None:
    task = RefCocoGCaption.load(write_refcocog(tmp_path))
    assert task.truth_in_words(task.examples[0]) == "the red cup on the left; the plate"


def test_odd_answers_are_counted(tmp_path: Path) -> None:
    task = RefCocoGCaption.load(write_refcocog(tmp_path))
    first, second = (one.key for one in task.examples)
    told = summary(task, {first: {0: "zz " * 16_667, 9: "the plate", -1: "cup"}, second: {0: "??"}})
    assert told.figures["CIDEr"].value == 0


def test_figures_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    def of(rows: list[dict]) -> list[float]:
        task = RefCocoGCaption.load(write_refcocog(tmp_path, rows))
        texts = {"the plate": "a plate", "brown dog, running": "a dog"}
        answers = {
            one.key: {at: texts.get(item[-1], "red cup") for at, item in enumerate(one.truth)}
            for one in task.examples
        }
        return [one.value for one in summary(task, answers).figures.values()]

    assert of(REFS) == pytest.approx(of(REFS[::-1]), nan_ok=True)


def test_broken_refs_are_told(tmp_path: Path) -> None:
    bad = [
        refs(5, 9, 92, "outside the picture"),
        refs(6, 9, 999, "no such annotation"),
        refs(7, 9, 91, " "),
        refs(1, 9, 91, "a second ref 1"),
    ]
    task = RefCocoGCaption.load(write_refcocog(tmp_path, [*REFS, *bad]))
    assert len(task.broken) == 4
    assert sum("outside the picture of 80 x 60" in one.problem for one in task.broken) == 1
    assert len(task.truths) == 3


# Visual Genome


REGIONS = [
    {
        "id": 1,
        "regions": [
            {"region_id": 11, "image_id": 1, "x": 5, "y": 5, "width": 20, "height": 20,
             "phrase": "the clock is green"},
            {"region_id": 12, "image_id": 1, "x": -2, "y": 5, "width": 30, "height": 20,
             "phrase": "a tall building "},
        ],
    },
    {
        "image_id": 2,
        "regions": [
            {"id": 21, "image": 2, "x": 0, "y": 0, "width": 9, "height": 9,
             "phrase": "a cat sitting on a table."},
        ],
    },
    {"id": 3, "regions": [{"region_id": 31, "x": 0, "y": 0, "width": 9, "height": 9,
                           "phrase": "of the train split"}]},
]  # fmt: skip
COCO_FORM = {
    "images": [
        {"id": 11, "file_name": "1.jpg", "width": 80, "height": 60},
        {"id": 12, "file_name": "1.jpg", "width": 80, "height": 60},
        {"id": 21, "file_name": "2.jpg", "width": 80, "height": 60},
    ],
    "annotations": [
        {"id": 11, "image_id": 11, "bbox": [5, 5, 20, 20], "caption": "the clock is green"},
        {"id": 12, "image_id": 12, "bbox": [-2, 5, 30, 20], "caption": "a tall building"},
        {"id": 21, "image_id": 21, "bbox": [0, 0, 9, 9], "caption": "a cat sitting on a table."},
    ],
}


def write_vg(folder: Path, *, regions: object = None, coco: object = None) -> Path:
    if regions is not None:
        (folder / "region_descriptions.json").write_text(json.dumps(regions))
        splits = {"train": [3], "val": [], "test": [1, 2, 4]}
        (folder / "densecap_splits.json").write_text(json.dumps(splits))
    if coco is not None:
        (folder / "test_caption.json").write_text(json.dumps(coco))
    for place, number in (("VG_100K", 1), ("VG_100K_2", 2)):
        (folder / place).mkdir(exist_ok=True)
        picture(80, 60, number).save(folder / place / f"{number}.jpg")
    return folder


@pytest.mark.parametrize("form", [{"regions": REGIONS}, {"coco": COCO_FORM}])
def test_both_forms_of_visual_genome_are_one_benchmark(tmp_path: Path, form: dict) -> None:
    task = VisualGenomeCaption.load(write_vg(tmp_path, **form))
    first, second = task.examples
    assert (first.key, second.key) == ("1.jpg", "2.jpg")
    assert first.boxes.tolist() == [[5, 5, 25, 25], [-2, 5, 28, 25]]
    assert first.truth == (("the clock is green",), ("a tall building",))
    assert second.truth == (("a cat sitting on a table.",),)
    assert first.open().size == second.open().size == (80, 60)
    assert task.broken == ()
    assert VisualGenomeCaption.load(task.files[0]).truths == task.truths
    told = summary(task, {"1.jpg": {0: "a green clock"}, "2.jpg": {0: "cat on a table"}})
    assert told.figures["CIDEr"].value == pytest.approx(VG_CIDER)
    assert list(told.figures) == ["CIDEr", "METEOR"]


def test_visual_genome_perfect_empty_and_in_any_order(tmp_path: Path) -> None:
    def of(content: dict, answers: dict[str, dict[int, str]]) -> float:
        task = VisualGenomeCaption.load(write_vg(tmp_path, coco=content))
        return summary(task, answers).figures["CIDEr"].value

    told = {"1.jpg": {0: "a green clock"}, "2.jpg": {0: "cat on a table"}}
    turned = {name: rows[::-1] for name, rows in COCO_FORM.items()}
    moved = {"1.jpg": {1: "a green clock"}, "2.jpg": told["2.jpg"]}
    assert of(turned, moved) == pytest.approx(of(COCO_FORM, told))
    task = VisualGenomeCaption.load(write_vg(tmp_path, coco=COCO_FORM))
    bounds = summary(task, {}, floors=True)
    assert bounds.figures["CIDEr"].value == 0
    # Two of the three have runs of all four lengths and score 10; "a tall building" lacks the last.
    assert bounds.bounds["perfect answers"]["CIDEr"].value == pytest.approx(
        100 * (10 + 10 + 7.5) / 3
    )


def test_glamms_part_is_preferred_to_the_whole_split(tmp_path: Path) -> None:
    task = VisualGenomeCaption.load(write_vg(tmp_path, regions=REGIONS, coco=COCO_FORM))
    assert [path.name for path in task.files] == ["test_caption.json"]
    (tmp_path / "test_caption.json").rename(tmp_path / "test.json")
    task = VisualGenomeCaption.load(tmp_path)
    assert [path.name for path in task.files] == ["test.json"]
    (tmp_path / "test.json").unlink()
    task = VisualGenomeCaption.load(tmp_path)
    names = [path.name for path in task.files]
    assert names == ["region_descriptions.json", "densecap_splits.json"]


@pytest.mark.parametrize(
    ("region", "told"),
    [
        ({"region_id": 40, "x": 0, "y": 0, "width": 9, "height": 9}, "no 'phrase'"),
        ({"region_id": 40, "x": 0, "y": 0, "width": 9, "phrase": "a"}, "no 'height'"),
        ({"region_id": 40, "x": 0, "y": 0, "width": 9, "height": 0, "phrase": "a"}, "with an area"),
        ({"region_id": 40, "x": "0", "y": 0, "width": 9, "height": 9, "phrase": "a"}, "'x' is 0"),
        ({"region_id": 40, "x": 0, "y": 0, "width": 9, "height": 9, "phrase": " "}, "is empty"),
        ({"region_id": 11, "x": 0, "y": 0, "width": 9, "height": 9, "phrase": "a"}, "there before"),
        ({"x": 0, "y": 0, "width": 9, "height": 9, "phrase": "a"}, "no 'region_id'"),
        (
            {"region_id": 40, "x": 0, "y": 0, "width": 9, "height": 9, "phrase": "a " * 25_000},
            "50,000 characters",
        ),
        ("a", "found str"),
    ],
)
def test_broken_regions_are_told(tmp_path: Path, region: object, told: str) -> None:
    content = [*REGIONS, {"id": 4, "regions": [region]}]
    task = VisualGenomeCaption.load(write_vg(tmp_path, regions=content))
    (bad,) = task.broken
    assert told in bad.problem
    assert len(task.truths) == 3


def test_broken_entries_are_told(tmp_path: Path) -> None:
    content = [*REGIONS, 5, {"id": 4}, {"regions": []}, {"id": "4", "regions": []}]
    task = VisualGenomeCaption.load(write_vg(tmp_path, regions=content))
    assert len(task.broken) == 4


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": 1, "image_id": 99, "bbox": [0, 0, 9, 9], "caption": "a"}, "image 99 is not among"),
        ({"id": 1, "image_id": 11, "bbox": [90, 0, 9, 9], "caption": "a"}, "outside the picture"),
        ({"id": 1, "image_id": 11, "bbox": [0, 0, 9, 9]}, "no 'caption'"),
        ({"id": 11, "image_id": 11, "bbox": [0, 0, 9, 9], "caption": "a"}, "there before"),
        (None, "found NoneType"),
    ],
)
def test_broken_annotations_are_told(tmp_path: Path, row: object, told: str) -> None:
    content = {**COCO_FORM, "annotations": [*COCO_FORM["annotations"], row]}
    (bad,) = VisualGenomeCaption.load(write_vg(tmp_path, coco=content)).broken
    assert told in bad.problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (None, ""),
        ("test.json", "{"),
        ("test.json", "{}"),
        ("test.json", "7"),
        ("region_descriptions.json", "[]"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, name: str | None, text: str) -> None:
    if name is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"\.json"):
        VisualGenomeCaption.load(tmp_path)


@pytest.mark.parametrize("split", ["{}", '{"test": 1}', '{"test": [[1]]}'])
def test_splits_that_are_something_else(tmp_path: Path, split: str) -> None:
    write_vg(tmp_path, regions=REGIONS)
    (tmp_path / "densecap_splits.json").write_text(split)
    with pytest.raises(InputError, match=r"densecap_splits\.json.*test|'test'"):
        VisualGenomeCaption.load(tmp_path)


def test_a_model_is_asked_and_a_missing_picture_counts_as_wrong(tmp_path: Path, model) -> None:
    (write_vg(tmp_path, regions=REGIONS) / "VG_100K_2/2.jpg").unlink()
    told = evaluate(model, VisualGenomeCaption.load(tmp_path), resamples=5)
    assert told.counts["failed"] == 1
    assert 0 <= told.figures["CIDEr"].value < 1000
