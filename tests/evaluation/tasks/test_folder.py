"""Folders of annotated pictures, against the photo set's own scorer."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fo1.errors import InputError
from fo1.evaluation.contestants import MODEL, TEXT_ONLY
from fo1.evaluation.metrics.estimates import resampling
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.summary import summarise
from fo1.evaluation.tasks import folder as folder_module
from fo1.evaluation.tasks.folder import Folder
from tests.evaluation import photo_scorer
from tests.tiny import picture

NAMES = ("cat", "cup", "car", "big tree", "dog", "hat")
KEYS = ("exhaustive_category_ids", "verified_absent_category_ids", "unsure_category_ids")
ONE = np.ones((1, 1))


def annotations(images: list[dict], rows: list[tuple], names=NAMES, **more) -> dict:
    """COCO's format; rows are (image, category, xywh, crowd)."""
    return {
        "images": [{"width": 96, "height": 64, **image} for image in images],
        "categories": [{"id": 3 * n + 5, "name": name} for n, name in enumerate(names)],
        "annotations": [
            {"id": 100 + n, "image_id": i, "category_id": c, "bbox": box, "iscrowd": crowd}
            for n, (i, c, box, crowd) in enumerate(rows)
        ],
        **more,
    }


def random_set(rng: np.random.Generator, pictures: int) -> dict:
    """Pictures with true boxes, ignore regions and all three kinds of names; one is empty."""
    images, rows = [], []
    for number in range(1, pictures + 1):
        parts = rng.integers(0, 3, len(NAMES)) if number > 1 else np.full(len(NAMES), 1)
        lists = {
            key: [3 * int(n) + 5 for n in np.flatnonzero(parts == place)]
            for place, key in enumerate(KEYS)
        }
        images.append({"id": number, "file_name": f"{number}.png", **lists})
        for category in lists[KEYS[0]]:
            for crowd in rng.integers(0, 5, rng.integers(1, 4)) == 0:
                box = [*rng.integers(0, 40, 2).tolist(), *rng.integers(8, 30, 2).tolist()]
                rows.append((number, category, box, int(crowd)))
    return annotations(images, rows)


def random_prediction(rng: np.random.Generator, example) -> Prediction:
    """Moved and invented boxes under any names, with many ties."""
    truth = example.truth.truth
    moved = np.concatenate([truth.boxes, truth.ignore])
    moved = np.repeat(moved, 3, 0) + rng.integers(-3, 4, (3 * len(moved), 4))
    corner = rng.integers(0, 60, (70, 2))
    invented = np.hstack([corner, corner + rng.integers(2, 30, (70, 2))])
    boxes = np.concatenate([moved, invented])
    own = np.repeat(np.concatenate([truth.names, truth.ignore_names]), 3)
    pairs = [(NAMES[name], row) for row, name in enumerate(own)]
    regions = rng.integers(0, len(boxes), 900)
    pairs += [(NAMES[rng.integers(len(NAMES))], int(region)) for region in regions]
    scores = rng.integers(0, 20, len(pairs)) / 20
    scores[: len(own)] += rng.integers(0, 20, len(own)) / 100
    order = rng.permutation(len(pairs))
    return Prediction.made(example, boxes, Said.found([pairs[n] for n in order], scores[order]))


def write(folder, content, name="annotations.json"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def figures(task, predictions, resamples=0) -> np.ndarray:
    weights = resampling(len(task.picture_names), resamples)
    return np.array([one.values[0] for one in task.measure(predictions, weights)])


@pytest.fixture
def small(tmp_path):
    """Two pictures, three names; plain COCO."""
    rows = [
        (1, 5, [0, 0, 20, 20], 0),
        (1, 5, [40, 0, 20, 20], 0),
        (2, 8, [10, 10, 30, 30], 0),
        (2, 5, [60, 30, 30, 30], 1),
    ]
    images = [{"id": n, "file_name": f"{n}.png"} for n in (1, 2)]
    folder = write(tmp_path / "data", annotations(images, rows, NAMES[:3]))
    for number in (1, 2):
        picture(96, 64, number).save(folder / f"{number}.png")
    return folder


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves files open
@pytest.mark.parametrize("seed", range(8))
def test_every_figure_is_that_of_the_scorer(tmp_path, seed) -> None:
    rng = np.random.default_rng(seed)
    task = Folder.load(write(tmp_path / "data", random_set(rng, 12)))
    assert not task.broken
    predictions = [random_prediction(rng, example) for example in task.examples]
    if seed:
        predictions[3] = Prediction.empty(task.examples[3])
    photos, names = photo_scorer.load_set(tmp_path / "data" / "annotations.json")
    lines = tmp_path / "predictions.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in task.submission(predictions)))
    read = photo_scorer.load_predictions(lines, photos, names)
    expected = photo_scorer.measure(photos, read, len(names))
    assert figures(task, predictions) == pytest.approx(expected, abs=1e-9)
    assert 0.02 < expected[0] < 0.98
    weights = resampling(len(photos), 20)
    resampled = photo_scorer.average_precision(photos, read, len(names), weights)
    ours = task.measure(predictions, weights)
    for one, theirs in zip(ours[:2], resampled, strict=True):
        assert one.values == pytest.approx(theirs, abs=1e-9)


def test_floors_are_those_that_the_scorer_prints(tmp_path) -> None:
    rng = np.random.default_rng(5)
    task = Folder.load(write(tmp_path / "data", random_set(rng, 3)))
    predictions = [random_prediction(rng, example) for example in task.examples]
    lines = tmp_path / "predictions.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in task.submission(predictions)))
    file = tmp_path / "data" / "annotations.json"
    command = [sys.executable, photo_scorer.__file__, str(file), str(lines), "--floors"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = {line[:42].strip(): line[42:].split() for line in printed.splitlines()}
    found = summarise(task, {MODEL.name: predictions}, floors=True, resamples=10).bounds
    for ours, name in (
        ("four centred boxes under every name", "four centred boxes under every name"),
        ("true boxes, random names (20 seeds)", "true boxes, random names (20 seeds)"),
        ("true boxes, true names (ceiling)", "true boxes, true names (ceiling)"),
        ("names permuted (20 seeds)", "predictions, names permuted (20 seeds)"),
    ):
        values = [one.value / (1 if n == "FP/photo" else 100) for n, one in found[ours].items()]
        assert [f"{value:.3f}" for value in values] == theirs[name], ours
    gap = {line.split()[0]: line.split()[5] for line in printed.splitlines() if " gap, " in line}
    values = [one.value / 100 for one in found["model minus names permuted"].values()]
    assert [f"{value:.3f}" for value in values] == [gap["mAP"], gap["AP50"]]


def test_of_many_pictures_floors_are_drawn_seldom(tmp_path, monkeypatch) -> None:
    rng = np.random.default_rng(3)
    task = Folder.load(write(tmp_path / "data", random_set(rng, 4)))
    predictions = [random_prediction(rng, example) for example in task.examples]
    weights = resampling(4, 300)
    before = task.measure(predictions, weights)
    monkeypatch.setattr(folder_module, "MANY", 3)
    after = task.measure(predictions, weights)
    for name, one, two in zip(("AP", "AP50", "R@50", "R@100", "FP"), before, after, strict=True):
        np.testing.assert_array_equal(one.values[:201], two.values[:201])
        assert np.isfinite(one.values[201:]).any()
        assert np.isnan(two.values[201:]).all() == name.startswith("AP")
    bounds = task.expected(predictions, weights)
    assert {"names permuted (3 seeds)", "true boxes, random names (3 seeds)"} <= set(bounds)
    assert all(np.isfinite(one.estimate.low) for one in bounds["names permuted (3 seeds)"])


def test_lists_that_differ_about_a_name_of_two_categories(small) -> None:
    content = json.loads((small / "annotations.json").read_text())
    content["categories"].append({"id": 99, "name": "cat"})
    assert not Folder.load(write(small, content)).broken
    content["images"][0] |= {KEYS[0]: [5], KEYS[1]: [99]}
    (bad,) = Folder.load(write(small, content)).broken
    assert "its lists hold 99, need every category at most once" in bad.problem


def test_perfect_empty_and_half(small) -> None:
    task = Folder.load(small)
    perfect = [task.perfect(example) for example in task.examples]
    assert figures(task, perfect).tolist() == [1, 1, 1, 1, 0]
    empty = [Prediction.empty(example) for example in task.examples]
    assert figures(task, empty).tolist() == [0, 0, 0, 0, 0]
    first, second = task.examples
    one_cat = Prediction.made(
        first, first.truth.truth.boxes, Said.found([("cat", 0), ("cup", 1)], [0.9, 0.6])
    )
    # Cat: one of two boxes, 51 of 101 recall points. Cup: a better-scored mistake, precision 1/2.
    cup = Prediction.made(second, second.truth.truth.boxes, Said.found([("cup", 0)], [0.5]))
    half = (51 / 101 + 1 / 2) / 2
    assert figures(task, [one_cat, cup]) == pytest.approx([half, half, 1, 1, 0.5])
    assert [task.error(e, p) for e, p in zip(task.examples, [one_cat, cup], strict=True)] == [2, 0]
    assert [task.error(e, p) for e, p in zip(task.examples, empty, strict=True)] == [2, 1]


def test_what_was_not_looked_for_is_neither_right_nor_wrong(tmp_path) -> None:
    parts = dict(zip(KEYS, ([5], [8], [11]), strict=True))
    image = {"id": 1, "file_name": "1.png", **parts}
    content = annotations([image], [(1, 5, [0, 0, 20, 20], 0)], NAMES[:3])
    (example,) = Folder.load(write(tmp_path / "data", content)).examples
    task = Folder.load(tmp_path / "data")

    def measured(name: str) -> list[float]:
        said = Said.found([("cat", 0), (name, 0)], [0.8, 0.9])
        return figures(task, [Prediction.made(example, [[0, 0, 20, 20]], said)]).tolist()

    assert measured("car") == [1, 1, 1, 1, 0]  # unsure
    assert measured("cup") == [1, 1, 1, 1, 1]  # absent
    assert task.examples[0].truth.truth.unsure == {2}


def test_the_order_of_the_file_does_not_matter(tmp_path) -> None:
    content = random_set(np.random.default_rng(3), 8)
    task = Folder.load(write(tmp_path / "one", content))
    rng = np.random.default_rng(4)
    told = {e.key: random_prediction(rng, e) for e in task.examples}
    before = figures(task, [told[e.key] for e in task.examples])
    for rows in (content["images"], content["annotations"], content["categories"]):
        rng.shuffle(rows)
    other = Folder.load(write(tmp_path / "two", content))
    assert [e.key for e in other.examples] != [e.key for e in task.examples]
    after = figures(other, [told[e.key] for e in other.examples])
    assert after == pytest.approx(before, abs=1e-12)


def test_odd_answers_are_scored_as_far_as_they_go(small) -> None:
    task = Folder.load(small)
    first, second = task.examples
    pairs = [("cat", 0), ("cat", 1), ("cat", 99), ("cat", -1), ("zebra", 0), ("cup" * 20_000, 0)]
    odd = Prediction.made(
        first, first.truth.truth.boxes, Said.found(pairs, [0.9, 0.9, 1, 1, 1, np.nan])
    )
    assert figures(task, [odd, task.perfect(second)]).tolist() == [1, 1, 1, 1, 0]
    assert len(task.submission([odd, task.perfect(second)])[0]["detections"]) == 2


def test_scores_are_judged_as_probabilities(small) -> None:
    task = Folder.load(small)
    first, second = task.examples
    evidence = {"head": np.array([0.2, 0.7, 0.4]), "proposal": np.array([0.1, 0.3, 0.5])}
    pairs = [("cup", 0), ("cat", 1), ("cat", 0)]
    said = Said.found(pairs, evidence["head"], evidence=evidence, scored_by="head")
    inside_ignored = Said.found([("cat", 0)], [0.9], evidence={"head": np.array([0.9])})
    told = [
        Prediction.made(first, first.truth.truth.boxes, said),
        Prediction.made(second, [[62, 32, 80, 50]], inside_ignored),
    ]
    chances = task.chances(told)
    assert set(chances) == {"head", "proposal"}
    for kind, one in chances.items():
        rows = dict(zip(one.chance.tolist(), one.outcome.tolist(), strict=True))
        right = dict(zip(evidence[kind].tolist(), (False, True, True), strict=True))
        assert rows == right, "what an ignored region swallows is left out"


def test_every_score_ranks_the_same_detections(small) -> None:
    task = Folder.load(small)
    first, second = task.examples
    evidence = {"head": np.array([0.2, 0.8, 0.8]), "proposal": np.array([0.9, 0.1, 0.1])}
    pairs = [("cat", 2), ("cat", 0), ("cat", 1)]
    boxes = [*first.truth.truth.boxes, [30, 40, 50, 60]]
    said = Said.found(pairs, evidence["head"], evidence=evidence)
    told = [Prediction.made(first, boxes, said), Prediction.empty(second)]
    table = task.details(told, np.ones((1, 2)))[0]
    assert table.title == "AP by score"
    # The mistake behind or before both cats; nothing is said of the cup.
    assert {who: cells[1].value for who, cells in table.rows} == {
        "head": 50,
        "proposal": pytest.approx(100 * 2 / 3 / 2),
    }
    by_hand = [task.perfect(one) for one in task.examples]
    assert [one.title for one in task.details(by_hand, np.ones((1, 2)))] == ["By name"]


def test_layouts(small, tmp_path) -> None:
    content = json.loads((small / "annotations.json").read_text())
    for folder, file in (("a", "mine.json"), ("b", "_annotations.coco.json")):
        root = write(tmp_path / folder, content, file)
        places = {"a": root / "mine", "b": root / "images"}
        places[folder].mkdir()
        (small / "1.png").rename(places[folder] / "1.png")
        for data in (root, root / file):
            task = Folder.load(data)
            assert task.files == (root / file,)
            assert task.examples[0].open().size == (96, 64)
        (places[folder] / "1.png").rename(small / "1.png")
    assert Folder.load(small).examples[1].open().size == (96, 64)
    write(root, content, "second.json")
    with pytest.raises(InputError, match=r"holds 2 \.json files; give annotations\.json"):
        Folder.load(root)
    with pytest.raises(InputError, match="none"):
        Folder.load(tmp_path / "none")


BAD_ROWS = [
    ("annotations", 0, {"bbox": None}, "bbox"),
    ("annotations", 0, {"bbox": [1, 2, "3", 4]}, "bbox"),
    ("annotations", 0, {"bbox": [1, 2, 0, 4]}, "side of 0"),
    ("annotations", 0, {"bbox": [500, 2, 10, 4]}, "outside"),
    ("annotations", 0, {"category_id": 77}, "category_id is 77"),
    ("annotations", 0, {"image_id": "x"}, "image_id is x"),
    ("annotations", 0, {"id": 101}, "101"),
    ("images", 0, {"file_name": ""}, "file_name"),
    ("images", 0, {"width": "96"}, "width is '96'"),
    ("images", 0, {"height": 0}, "height is 0"),
    ("images", 0, {"height": 10**400}, "height is 1000"),
    ("images", 0, {"width": 10**29}, "from 1 to 100,000"),
    ("images", 0, {"id": 2}, "2"),
    ("images", 0, {"unsure_category_ids": [5, 5]}, "at most once"),
    ("images", 0, {"unsure_category_ids": 5}, "need a list"),
    ("images", 0, {"verified_absent_category_ids": [5]}, "'cat' is boxed"),
    ("categories", 2, {"name": " "}, ""),
    ("categories", 2, {"name": "x" * 50_000}, "50,000 characters"),
]


@pytest.mark.parametrize(("key", "row", "change", "told"), BAD_ROWS)
def test_rows_that_cannot_be_used_are_told(small, key, row, change, told) -> None:
    content = json.loads((small / "annotations.json").read_text())
    content[key][row] |= change
    task = Folder.load(write(small, content))
    assert told in " ".join(f"{bad.key} {bad.problem}" for bad in task.broken)
    assert all("\n" not in bad.problem for bad in task.broken)
    assert len(task.examples) in (1, 2)
    perfect = [task.perfect(example) for example in task.examples]
    assert figures(task, perfect)[:4].tolist() == [1, 1, 1, 1]


def test_a_tiny_model_from_end_to_end(model, small) -> None:
    (small / "2.png").unlink()
    task = Folder.load(small)
    found = evaluate(model, task, contestants=(MODEL, TEXT_ONLY), floors=True, resamples=20)
    assert found.counts["failed"] == 1, "a missing picture scores as wrong, it is not left out"
    assert list(found.figures) == ["AP", "AP50", "R@50", "R@100", "FP/photo"]
    assert found.figures["R@100"].value <= 200 / 3
    assert {"text only", "names permuted (20 seeds)"} <= set(found.bounds)
    assert found.bounds["true boxes, true names (ceiling)"]["AP"].value == 100
    by_name = next(table for table in found.tables if table.title == "By name")
    assert [who for who, _ in by_name.rows] == ["cat", "cup"]
