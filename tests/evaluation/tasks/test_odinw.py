"""ODinW13 in GLIP's folders."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fo1.errors import InputError
from fo1.evaluation.prediction import Prediction, Said
from fo1.evaluation.runner import evaluate
from fo1.evaluation.tasks import get_task
from fo1.evaluation.tasks.odinw import OdinW13, OdinW13Present
from fo1.prompts import Task
from tests.evaluation.detections import write
from tests.evaluation.figures import shares

FILE = "annotations_without_background.json"
FOLDERS = (
    "AerialMaritimeDrone/large/valid/",
    "Aquarium/Aquarium Combined.v2-raw-1024.coco/valid/",
    "CottontailRabbits/valid/",
    "EgoHands/generic/mini_val/",
    "NorthAmericaMushrooms/North American Mushrooms.v1-416x416.coco/valid/",
    "Packages/Raw/valid/",
    "PascalVOC/valid/",
    "pistols/export/val_",
    "pothole/valid/",
    "Raccoon/Raccoon.v2-raw.coco/valid/",
    "ShellfishOpenImages/raw/valid/",
    "thermalDogsAndPeople/valid/",
    "VehiclesOpenImages/416x416/mini_val/",
)
ROWS = {
    "images": [
        {"id": 0, "file_name": "both.jpg", "height": 100, "width": 100},
        {"id": 1, "file_name": "dog.jpg", "height": 100, "width": 100},
        {"id": 2, "file_name": "none.jpg", "height": 100, "width": 100},
    ],
    "annotations": [
        {
            **{"id": 0, "image_id": 0, "category_id": 1, "bbox": [0, 0, 50, 40], "area": 2000},
            "iscrowd": 0,
        },
        {
            **{"id": 1, "image_id": 0, "category_id": 2, "bbox": [50, 50, 40, 40], "area": 1600},
            "iscrowd": 0,
        },
        {
            **{"id": 2, "image_id": 1, "category_id": 2, "bbox": [10, 10, 60, 60], "area": 3600},
            "iscrowd": 0,
        },
    ],
    "categories": [
        {"id": 1, "name": "Cottontail-Rabbit", "supercategory": "animals"},
        {"id": 2, "name": "dog", "supercategory": "animals"},
    ],
}


@pytest.fixture
def data(tmp_path) -> Path:
    for folder in FOLDERS:
        write(ROWS, tmp_path / f"{folder}{FILE}")
    return tmp_path


def test_thirteen_data_sets_are_asked_all_their_names(data) -> None:
    task = OdinW13.load(data)
    assert get_task("odinw13") is OdinW13
    assert len(task.names) == 13
    assert len(task.examples) == len(task.picture_names) == 39
    assert task.files == tuple(data / f"{folder}{FILE}" for folder in FOLDERS)
    assert task.broken == ()
    example = task.examples[0]
    (request,) = example.requests
    assert request.task is Task.DETECT
    assert request.queries == ("Cottontail-Rabbit", "dog")
    assert (example.key, example.picture) == (
        "AerialMaritimeDrone/0",
        "AerialMaritimeDrone/both.jpg",
    )
    assert example.image == data / FOLDERS[0] / "both.jpg"
    assert task.examples[21].image == data / "pistols/export/both.jpg"
    assert task.examples[21].image_id == "pistols/0"


def test_the_figure_is_the_mean_of_the_thirteen(data) -> None:
    task = OdinW13.load(data)
    told = []
    for example in task.examples:
        part = example.truth.part
        if part == "Aquarium":
            told.append(task.perfect(example))
        elif part == "pothole" and example.truth.number == 1:
            # One of two dogs, no rabbit: AP (51 / 101 + 0) / 2.
            said = Said.found([("dog", 0), ("puppy", 0)], [0.4, 0.9])
            told.append(Prediction.made(example, [[10, 10, 70, 70]], said))
        else:
            told.append(Prediction.empty(example))
    assert shares(task, told)["AP"] == pytest.approx((1 + 51 / 202) / 13)
    tables = {table.title: table for table in task.details(told, np.ones((1, 39)))}
    each = {who: cells[0].value for who, cells in tables["By data set"].rows}
    assert each == {part: pytest.approx(0) for part in task.names} | {
        "Aquarium": 100,
        "pothole": pytest.approx(5100 / 202),
    }
    assert "Aquarium: dog" in dict(tables["AP by class"].rows)


@pytest.mark.parametrize("kind", [OdinW13, OdinW13Present])
def test_perfect_empty_and_rows_in_another_order(data, kind) -> None:
    task = kind.load(data)
    perfect = [task.perfect(one) for one in task.examples]
    assert [len(one.said) for one in perfect] == [len(one.requests) for one in task.examples]
    assert set(shares(task, perfect).values()) >= {1}
    assert shares(task, perfect)["AP"] == 1
    empty = [Prediction.empty(one) for one in task.examples]
    assert shares(task, empty)["AP"] == 0
    mixed = {name: rows[::-1] for name, rows in ROWS.items()}
    write(mixed, data / f"{FOLDERS[1]}{FILE}")
    half = [
        task.perfect(one) if one.truth.number else Prediction.empty(one) for one in task.examples
    ]
    again = kind.load(data)
    by_key = {one.key: one for one in half}
    told = [by_key[one.key] for one in again.examples]
    assert [one.key for one in told] != [one.key for one in half]
    assert shares(again, told) == pytest.approx(shares(task, half), nan_ok=True)


def test_the_easier_protocol_asks_what_is_there_one_at_a_time(data) -> None:
    task = OdinW13Present.load(data)
    assert get_task("odinw13-present") is OdinW13Present
    both, dog, nothing = task.examples[:3]
    assert [one.queries for one in both.requests] == [("Cottontail-Rabbit",), ("dog",)]
    assert [one.queries for one in dog.requests] == [("dog",)]
    assert nothing.requests == ()
    assert [task.asked(one) for one in (both, dog, nothing)] == [
        ("Cottontail-Rabbit", "dog"),
        ("dog",),
        (),
    ]
    said = [replace(Prediction.empty(one), image_size=(100, 100)) for one in task.examples]
    bounds = task.bounds(said)
    # A guesser reads the names off the questions: of one name no other is drawn.
    for seed in bounds["true boxes, random names"]:
        assert seed[1].said[0].labels == ("dog",)
    assert set(bounds["four centred boxes, every name"][0][1].said[0].labels) == {"dog"}


def test_the_smaller_split_comes_first_and_may_be_missing(data) -> None:
    hands = data / "EgoHands/generic"
    write({**ROWS, "images": ROWS["images"][:2]}, hands / f"valid/{FILE}")
    assert len(OdinW13.load(data).examples) == 39
    (hands / f"mini_val/{FILE}").unlink()
    task = OdinW13.load(data)
    assert len(task.examples) == 38
    assert hands / f"valid/{FILE}" in task.files


def test_a_missing_data_set_is_named(data) -> None:
    (data / f"pistols/export/val_{FILE}").unlink()
    with pytest.raises(InputError, match=f"pistols/export/val_{FILE} is missing; all thirteen"):
        OdinW13.load(data)


def test_broken_rows_name_their_data_set(data) -> None:
    bad = {**ROWS["annotations"][0], "id": 7, "bbox": [1]}
    rows = {
        **ROWS,
        "annotations": [*ROWS["annotations"], bad],
        "images": [*ROWS["images"], {"id": 9}],
    }
    write(rows, data / f"Raccoon/Raccoon.v2-raw.coco/valid/{FILE}")
    task = OdinW13.load(data)
    assert [one.key for one in task.broken] == ["Raccoon annotation 7", "Raccoon image 9"]
    assert len(task.examples) == 39


def test_the_folder_above_will_do(data, tmp_path_factory) -> None:
    above = tmp_path_factory.mktemp("above")
    data.rename(above / "odinw")
    assert len(OdinW13.load(above).examples) == 39


def test_a_limit_takes_pictures_of_every_data_set_in_turn(data) -> None:
    task = OdinW13.load(data)
    assert [one.key.split("/")[1] for one in task.first(13).examples] == ["0"] * 13
    part = task.first(15)
    keys = [one.key for one in part.examples]
    assert keys == [one.key for one in task.examples if one.key in keys], "in the file's order"
    assert keys[:5] == [
        *("AerialMaritimeDrone/0", "AerialMaritimeDrone/1", "Aquarium/0", "Aquarium/1"),
        "CottontailRabbits/0",
    ]
    assert shares(part, [part.perfect(one) for one in part.examples])["AP"] == 1
    assert task.first(99).examples == task.examples
    assert len(task.first(2).examples) == 2


def test_a_model_is_asked(data, model) -> None:
    for place in ("both", "none"):
        Image.new("RGB", (100, 100), "gray").save(data / f"{FOLDERS[0]}{place}.jpg")
    task = OdinW13Present.load(data)
    summary = evaluate(model, replace(task, examples=task.examples[:3]), resamples=3)
    assert summary.counts["examples"] == 3
    assert summary.counts["failed"] == 1  # dog.jpg is missing; of none.jpg nothing is asked
    assert 0 <= summary.figures["AP"].value <= 100
