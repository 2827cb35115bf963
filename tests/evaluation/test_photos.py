"""A photo set of two pictures."""

import json

import pytest

from fo1.errors import InputError
from fo1.evaluation import photos
from fo1.evaluation.photo_set import load_photo_set
from tests.tiny import picture


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    for number in (1, 2):
        picture(96, 64, number).save(folder / f"{number}.png")
    rows = [(1, 1, 5, 0), (1, 1, 6, 0), (2, 2, 5, 0), (1, 2, 5, 1)]
    content = {
        "vocabulary": ["cat", "cup", "car"],
        "images": [{"id": n, "file_name": f"{n}.png", "width": 96, "height": 64} for n in (1, 2)],
        "categories": [
            {"id": 5, "name": "cat", "synonyms": ["kitten"]},
            {"id": 6, "name": "cup", "synonyms": []},
            {"id": 7, "name": "car", "synonyms": []},
        ],
        "annotations": [
            {
                **{"id": 10 + number, "image_id": image, "category_id": category},
                **{"bbox": [10 * number, 5, 30, 40], "iscrowd": crowd},
            }
            for number, (_, image, category, crowd) in enumerate(rows)
        ],
        "referring": [{"image_id": 1, "expression": "the cup", "annotation_id": 11}],
        "counting": [{"image_id": 2, "noun": "cat", "answer": 1}],
        "absent": [{"image_id": 2, "names": ["car", "boat"]}],
    }
    path = tmp_path / "small.json"
    path.write_text(json.dumps(content))
    return path


def test_the_set_is_read_without_what_is_to_be_ignored(data) -> None:
    found = load_photo_set(data)
    first, second = found.photos
    assert first.boxes.tolist() == [[0, 5, 30, 45], [10, 5, 40, 45]]
    assert (first.labels, second.labels) == (("cat", "cup"), ("cat",))
    assert first.referring == (("the cup", 1),)
    assert second.absent == ("car", "boat")
    assert found.accepted["cat"] == ("cat", "kitten")
    assert first.image_size == (64, 96)


def test_bad_sets_are_told_with_the_cure(data, tmp_path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_photo_set(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="not a photo set"):
        load_photo_set(tmp_path / "bad.json")
    with pytest.raises(InputError, match="--pictures"):
        load_photo_set(data, tmp_path)


@pytest.mark.parametrize("proposer", ["true", "grid"])
def test_predictions_are_complete(model, data, tmp_path, capsys, proposer) -> None:
    out = tmp_path / "run" / "predictions.jsonl"
    arguments = ["--data", str(data), "--proposer", proposer, "--out", str(out)]
    photos.main(arguments, load=lambda name: model)
    printed = capsys.readouterr().out
    assert printed == out.with_suffix(".md").read_text()
    assert ("### Naming of true boxes" in printed) == (proposer == "true")
    assert "python score.py small.json predictions.jsonl --floors" in printed
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["image_id"] for line in lines] == [1, 2]
    labels = [[row["label"] for row in line["detections"]] for line in lines]
    assert all(set(found) == {"cat", "cup", "car"} for found in labels)
    if proposer == "true":  # every box under every name, however low its score
        assert [len(found) for found in labels] == [6, 3]
        boxes = {tuple(row["box"]) for row in lines[0]["detections"]}
        assert boxes == {(0, 5, 30, 45), (10, 5, 40, 45)}


def test_true_boxes_are_named_among_the_whole_vocabulary(model, data) -> None:
    photo_set = load_photo_set(data)
    measured = photos.measure(model, photo_set, "true")
    assert [row[2] for row in measured.named["model"]] == ["cat", "cup", "cat"]
    assert len(measured.described) == 3
    assert measured.chance == [(0, 0.5)]
    presence = measured.judged["model"].presence
    assert [(row[0], row[2]) for row in presence] == [
        *((0, True), (0, True)),
        *((1, True), (1, False), (1, False)),
    ]
