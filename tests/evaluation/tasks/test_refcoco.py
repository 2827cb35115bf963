"""Two pictures in the true layout of lichengunc/refer, scored by hand."""

import json
import pickle
import struct

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import TASKS, get_task
from fo1.evaluation.tasks.refcoco import RefCocoGVal, RefCocoTestA, RefCocoVal
from tests.evaluation.figures import percents
from tests.tiny import picture

FIRST, SECOND = "COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.jpg"
LEFT, RIGHT, WIDE = [0, 0, 40, 40], [50, 10, 80, 70], [5, 5, 85, 55]
BAD_REFS = {
    "no split": {"split": None},
    "split of another kind": {"split": 3},
    "no ref_id": {"ref_id": None},
    "a second ref_id": {"ref_id": 0},
    "ann_id of another kind": {"ann_id": "11"},
    "several boxes": {"ann_id": [11, 12]},
    "an annotation that is not there": {"ann_id": 99},
    "an annotation of another picture": {"ann_id": 21},
    "a picture that is not there": {"image_id": 7},
    "a box without area": {"ann_id": 14},
    "a box that is none": {"ann_id": 15},
    "a box that overflows": {"ann_id": 16},
    "a picture without end": {"image_id": 3, "ann_id": 31},
    "no sentences": {"sentences": []},
    "sentences of another kind": {"sentences": "the man"},
    "an empty sentence": {"sentences": [{"sent": "  "}]},
    "an endless sentence": {"sentences": [{"sent": "the man " * 10_000}]},
    "a sentence of another kind": {"sentences": [{"sent": 5}]},
    "a sentence that is no dict": {"sentences": ["the man"]},
}


def ref(ref_id, image_id, ann_id, split, *sentences):
    sents = [{"tokens": s.split(), "raw": s, "sent_id": 0, "sent": s} for s in sentences]
    name = f"COCO_train2014_{image_id:012d}_{ann_id}.jpg"
    row = {"ref_id": ref_id, "ann_id": ann_id, "image_id": image_id, "split": split}
    return row | {"category_id": 1, "file_name": name, "sent_ids": [0], "sentences": sents}


REFS = [
    ref(0, 1, 11, "val", "left man", "man"),
    ref(1, 1, 12, "val", "man"),
    ref(2, 2, 21, "val", "café"),
    ref(3, 2, 21, "testA", "the table"),
]


def python2(value) -> bytes:
    """Return what Python 2 pickles with protocol 2: text as bytes, not as unicode."""
    if isinstance(value, str):
        raw = value.encode("latin1")
        return (
            b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))
        ) + raw
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    return b"}(" + b"".join(python2(k) + python2(v) for k, v in value.items()) + b"u"


def write(root, refs=REFS, folder="refcoco", name="refs(unc)"):
    """Write the data set; return its root."""
    home, pictures = root / folder, root / "images/mscoco/images/train2014"
    home.mkdir(parents=True)
    pictures.mkdir(parents=True)
    (home / f"{name}.p").write_bytes(b"\x80\x02" + python2(refs) + b".")
    boxes = {(1, 11): LEFT, (1, 12): RIGHT, (2, 21): WIDE}
    annotations = [
        {"id": a, "image_id": i, "bbox": [x, y, x2 - x, y2 - y], "category_id": 1, "iscrowd": 0}
        for (i, a), (x, y, x2, y2) in boxes.items()
    ]
    annotations += [
        {"id": 13, "image_id": 1, "bbox": [0, 0, 90, 60], "category_id": 1, "iscrowd": 1},
        {"id": 14, "image_id": 1, "bbox": [5, 5, 0, 9], "category_id": 1, "iscrowd": 0},
        {"id": 15, "image_id": 1, "bbox": [5, 5, "9"], "category_id": 1, "iscrowd": 0},
    ]
    annotations += [
        {"id": 16, "image_id": 1, "bbox": [5, 5, 10**400, 9], "category_id": 1, "iscrowd": 0},
        {"id": 31, "image_id": 3, "bbox": [5, 5, 9, 9], "category_id": 1, "iscrowd": 0},
    ]
    images = [
        {"id": n, "file_name": file, "height": 80, "width": 100}
        for n, file in ((1, FIRST), (2, SECOND))
    ]
    images.append({"id": 3, "file_name": "3.jpg", "height": 10**29, "width": 100})
    content = {"images": images, "annotations": annotations, "categories": []}
    (home / "instances.json").write_text(json.dumps(content))
    for n, file in ((1, FIRST), (2, SECOND)):
        picture(100, 80, n).save(pictures / file)
    return root


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data")


def said(*regions):
    return Said.found([("x", region) for region in regions])


def by_hand(task, first=((0,), (0,), (0,)), second=((),)):
    """Return predictions with the regions LEFT, RIGHT and the whole picture everywhere."""
    regions = {"1": first, "2": second}
    boxes = [LEFT, RIGHT, [0, 0, 100, 80]]
    return [
        Prediction.made(one, boxes, *(said(*each) for each in regions[one.key]))
        for one in task.examples
    ]


def test_the_layout_is_read(data) -> None:
    task = RefCocoVal.load(data)
    first, second = task.examples
    assert first.truth.texts == ("left man", "man", "man")
    assert [request.queries for request in second.requests] == [("café",)]
    np.testing.assert_array_equal(np.concatenate(first.truth.targets), [LEFT, LEFT, RIGHT])
    np.testing.assert_array_equal(task.true_boxes(first), [LEFT, RIGHT])  # no crowd, nothing odd
    assert (first.key, first.picture, first.image_id) == ("1", FIRST, 1)
    assert first.open().size == (100, 80)
    assert not task.broken
    assert [path.name for path in task.files] == ["refs(unc).p", "instances.json"]
    assert [e.truth.texts for e in RefCocoTestA.load(data).examples] == [("the table",)]


def test_every_way_to_name_the_data_gives_the_same(data) -> None:
    home = data / "refcoco"
    told = [RefCocoVal.load(path) for path in (data, home, home / "refs(unc).p")]
    (home / "refs(unc).p").unlink()
    (home / "refs(unc).json").write_text(json.dumps(REFS))
    told.append(RefCocoVal.load(data))
    lines = [
        {"image": f"data/coco/train2014/{file}", "sent": sent, "bbox": box}
        | {"height": 80, "width": 100}
        for file, sent, box in (
            (FIRST, "left man", LEFT),
            (FIRST, "man", LEFT),
            (FIRST, "man", RIGHT),
            (SECOND, "café", WIDE),
        )
    ]
    (home / "refs(unc).json").unlink()
    (home / "refcoco_val.jsonl").write_text("\n".join(map(json.dumps, lines)))
    told.append(RefCocoVal.load(data))
    for task in told:
        assert [example.truth.texts for example in task.examples] == [
            ("left man", "man", "man"),
            ("café",),
        ]
        assert task.examples[0].open().size == (100, 80)
        assert percents(task, by_hand(task)) == {"accuracy": 50.0}


def test_the_figure_is_that_worked_out_by_hand(data) -> None:
    task = RefCocoVal.load(data)
    # "man" is asked twice and means another one each time; nothing is said about the second picture.
    assert percents(task, by_hand(task)) == {"accuracy": 50.0}
    assert percents(task, by_hand(task, ((0,), (0,), (1,)))) == {"accuracy": 75.0}
    assert percents(task, [task.perfect(one) for one in task.examples]) == {"accuracy": 100.0}
    assert percents(task, [Prediction.empty(one) for one in task.examples]) == {"accuracy": 0.0}
    # WIDE is half of the whole picture: 80 x 50 of 100 x 80.
    assert percents(task, by_hand(task, second=((2,),))) == {"accuracy": 75.0}


def test_the_best_score_counts_and_the_first_of_equal_ones(data) -> None:
    task = RefCocoTestA.load(data)
    (example,) = task.examples
    for scores, right in (([0.9, 0.4], 0), ([0.4, 0.9], 100), ([0.5, 0.5], 0)):
        answer = Said.found([("x", 0), ("x", 1)], scores)
        assert percents(task, [Prediction.made(example, [LEFT, WIDE], answer)])["accuracy"] == right


def test_the_order_of_rows_does_not_matter(tmp_path, data) -> None:
    turned = RefCocoVal.load(write(tmp_path / "turned", REFS[::-1]))
    assert [example.key for example in turned.examples] == ["2", "1"]
    regions = ((1,), (0,), (0,))  # the refs of a picture are turned as well
    same = percents(RefCocoVal.load(data), by_hand(RefCocoVal.load(data), ((0,), (0,), (1,))))
    assert percents(turned, by_hand(turned, regions)) == same == {"accuracy": 75.0}


def test_bounds_are_those_worked_out_by_hand(data) -> None:
    task = RefCocoVal.load(data)
    predictions = by_hand(task)
    figures = {who: percents(task, *each) for who, each in task.bounds(predictions).items()}
    assert figures == {
        "whole picture": {"accuracy": 25.0},
        "largest region": {"accuracy": 25.0},
        "best proposal (ceiling)": {"accuracy": 100.0},
    }
    weights = resampling(2, 20)
    (chance,) = task.expected(predictions, weights)["chance (any region)"]
    assert chance.estimate.value == pytest.approx(100 / 3)


@pytest.mark.parametrize("change", BAD_REFS.values(), ids=BAD_REFS)
def test_a_broken_ref_is_told_and_the_others_stay(tmp_path, change) -> None:
    row = ref(5, 1, 12, "val", "the one on the right") | change
    bad = {key: value for key, value in row.items() if value is not None}
    task = RefCocoVal.load(write(tmp_path / "data", [*REFS[:2], bad]))
    assert [example.key for example in task.examples] == ["1"]
    assert len(task.examples[0].requests) == 3
    (broken,) = task.broken
    assert "\n" not in broken.problem
    assert broken.key.startswith("refs(unc).p row 2")


def test_rows_that_are_no_dicts_are_told(tmp_path) -> None:
    task = RefCocoVal.load(write(tmp_path / "data", [*REFS, 7]))
    assert [broken.key for broken in task.broken] == ["refs(unc).p row 4"]


@pytest.mark.parametrize(
    "change",
    [
        {"image": "photo.jpg"},
        {"image": 5},
        {"bbox": [9, 9, 5, 5]},
        {"bbox": [0, 0, 5]},
        {"bbox": None},
        {"sent": ""},
        {"height": "80"},
        {"height": 10**30},
        {"bbox": [0, 0, 1e20, 5]},
        {"sent": "man " * 10_000},
    ],
)
def test_a_broken_line_is_told_and_the_others_stay(tmp_path, change) -> None:
    good = {"image": FIRST, "sent": "man", "bbox": LEFT, "height": 80, "width": 100}
    rows = [json.dumps(good | change), "{", json.dumps(good)]
    path = tmp_path / "refcoco_val.jsonl"
    path.write_text("\n".join(rows))
    task = RefCocoVal.load(path)
    assert [len(example.requests) for example in task.examples] == [1]
    assert sorted(b.key for b in task.broken) == [f"{path.name} line {n}" for n in (1, 2)]


class _Bomb:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_that_wants_a_function_is_refused(data, capsys) -> None:
    path = data / "refcoco/refs(unc).p"
    for protocol in (0, 2, 4):
        path.write_bytes(pickle.dumps([_Bomb()], protocol))
        with pytest.raises(InputError, match=r"it wants .*print") as told:
            RefCocoVal.load(data)
        assert "\n" not in str(told.value)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"no pickle", pickle.dumps({"a": 1}, 2)])
def test_a_damaged_pickle_is_refused(data, content) -> None:
    (data / "refcoco/refs(unc).p").write_bytes(content)
    with pytest.raises(InputError, match=r"refs\(unc\).p"):
        RefCocoVal.load(data)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"images": []}', '{"images": 3, "annotations": []}']
)
def test_other_instances_are_refused(data, content) -> None:
    (data / "refcoco/instances.json").write_text(content)
    with pytest.raises(InputError, match=r"instances.json is no COCO file"):
        RefCocoVal.load(data)


def test_a_file_of_other_splits_tells_which(tmp_path) -> None:
    data = write(tmp_path / "data", [*REFS[3:], ref(4, 1, 11, "testB", "man")])
    told = r"no ref of the split val, only of testA, testB; ask one of these"
    with pytest.raises(InputError, match=told):
        RefCocoVal.load(data)
    assert len(RefCocoTestA.load(data).examples) == 1


def test_missing_files_are_named(tmp_path, data) -> None:
    with pytest.raises(InputError, match=r"refcocog/refs\(umd\).p is missing"):
        RefCocoGVal.load(data)
    (data / "refcoco/instances.json").unlink()
    with pytest.raises(InputError, match=r"cannot read .*instances.json"):
        RefCocoVal.load(data)


def test_odd_answers_are_wrong_but_no_error(data) -> None:
    task = RefCocoTestA.load(data)
    (example,) = task.examples
    answers = [said(99), said(-1), Said(written=("x" * 50_000,)), said()]
    for answer in answers:
        assert percents(task, [Prediction.made(example, [WIDE], answer)]) == {"accuracy": 0.0}
    failed = Prediction.failed(example, "no such file")
    assert percents(task, [failed]) == {"accuracy": 0.0}
    assert task.error(example, failed) == 1
    assert all(
        percents(task, *each)["accuracy"] in (0, 100) for each in task.bounds([failed]).values()
    )


def test_a_model_is_measured_and_a_missing_picture_is_wrong(data, model) -> None:
    (data / "images/mscoco/images/train2014" / SECOND).unlink()
    summary = evaluate(model, RefCocoVal.load(data), resamples=5)
    assert summary.counts["examples"] == 2
    assert summary.counts["failed"] == 1
    assert 0 <= summary.figures["accuracy"].value <= 75


def test_the_registry_knows_every_split(tmp_path) -> None:
    names = [name for name in TASKS if name.startswith("refcoco") and "caption" not in name]
    assert len(names) == 8
    for name in names:
        task = get_task(name)
        assert task.name == name
        layout, split = task.layout, task.split
        assert name == f"{layout.folder}-{split}"
        root = write(tmp_path / name, [ref(0, 1, 11, split, "man")], layout.folder, layout.refs)
        assert len(task.load(root).examples) == 1
