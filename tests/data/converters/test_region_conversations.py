import json
from pathlib import Path
from typing import Any

import pytest

from fo1.data.converters import convert, detect_format
from fo1.data.schema import Exchange, Record
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read

POLYGON = [[8, 6, 40, 6, 40, 30, 8, 30]]
RUNS = {"size": [48, 64], "counts": [48 * 10 + 4, 8, 40, 8, 48 * 64 - 540]}


def said(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


OSPREY: dict[str, Any] = {
    "id": 7,
    "file_name": "COCO_train2014_000000000009.jpg",
    "height": 48,
    "width": 64,
    "annotation": [
        {"segmentation": POLYGON, "area": 768},
        {"segmentation": RUNS, "bbox": [10.0, 4.0, 20.0, 8.0]},
    ],
    "conversations": said(
        "<image>\nIs <region1> left of <region2>?",
        "No, <region2> is inside <region1>.",
        "Why?",
        "Its box says so.",
    ),
}
FERRET: dict[str, Any] = {
    "id": "f1",
    "image": "a.jpg",
    "image_h": 48,
    "image_w": 64,
    "conversations": said(
        "<image>\nWhat is <bbox_location0> beside <bbox_location1>?",
        "A cat <bbox_location0> beside a dog <bbox_location1>, on a mat <bbox_location2>.",
    ),
    "box_x1y1x2y2": [
        [[4, 5, 30, 31], [32, 5, 60, 31]],
        [[4, 5, 30, 31], [32, 5, 60, 31], [0, 30, 70, 48]],
    ],
}
INLINE: dict[str, Any] = {
    "image": "a.jpg",
    "conversations": said(
        "What is [0.25, 0.25, 0.5, 0.75] <region_fea>?", "A cat [0.25,0.25,0.5,0.75]"
    ),
}


def write(folder: Path, *rows: object, name: str = "rows.json") -> Path:
    path = folder / name
    if path.suffix == ".json":
        path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]")
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    for picture in ("a.jpg", "000000000009.jpg"):
        paint(folder / "images" / picture)
    return path


def only(folder: Path, row: object) -> Record:
    write(folder, row)
    records, bad = read("region-conversations", folder)
    assert bad.bad == []
    (record,) = records.values()
    return record


def test_numbered_regions(tmp_path: Path) -> None:
    record = only(tmp_path, OSPREY)
    assert detect_format(tmp_path) == "region-conversations"
    assert record.key == "regions/7"
    assert Path(record.pictures[0].file).name == "000000000009.jpg"
    assert [one.box for one in record.objects] == [(8, 6, 40, 30), (10, 4, 30, 12)]
    assert record.turns == (
        Exchange("Is <region0> left of <region1>?", "No, <region1> is inside <region0>."),
        Exchange("Why?", "Its box says so."),
    )
    assert record.looked_for == ()
    assert record.source == "rows.json:2"
    assert is_drawn(record)
    assert is_drawn(record, 1)


def test_a_field_that_holds_nothing_hides_no_other(tmp_path: Path) -> None:
    record = only(
        tmp_path, {**OSPREY, "image": None, "annotation": None, "annotations": OSPREY["annotation"]}
    )
    assert len(record.objects) == 2


def test_a_mask_without_a_box(tmp_path: Path) -> None:
    annotations = [{"segmentation": POLYGON}, {"segmentation": RUNS}]
    record = only(tmp_path, {**OSPREY, "annotation": annotations})
    assert record.objects[1].box == (10, 4, 12, 12)


@pytest.mark.parametrize("conversations", [{}, {"conversations": []}])
def test_descriptions_without_a_conversation(tmp_path: Path, conversations: dict[str, Any]) -> None:
    described = ["<region2>: A dog in  <image>.", "<region1>: A cat: grey."]
    row = {**OSPREY, "description": described}
    del row["conversations"]
    row |= conversations
    record = only(tmp_path, row)
    assert detect_format(tmp_path) == "region-conversations"
    assert record.turns == ()
    assert [one.descriptions for one in record.objects] == [
        ("A cat: grey.",),
        ("A dog in \u2039image\u203a.",),
    ]


def test_boxes_of_each_message(tmp_path: Path) -> None:
    record = only(tmp_path, FERRET)
    assert [one.box for one in record.objects] == [(4, 5, 30, 31), (32, 5, 60, 31), (0, 30, 64, 48)]
    answer = "A cat <region0> beside a dog <region1>, on a mat <region2>."
    assert record.turns == (Exchange("What is <region0> beside <region1>?", answer),)
    assert is_drawn(record, 1)


def test_boxes_of_messages_behind_the_system(tmp_path: Path) -> None:
    conversation = [{"from": "system", "value": "Be brief."}, *FERRET["conversations"]]
    row = {**FERRET, "conversations": conversation, "box_x1y1x2y2": [[], *FERRET["box_x1y1x2y2"]]}
    assert only(tmp_path, row).turns[0].question == "Be brief.\nWhat is <region0> beside <region1>?"


def test_boxes_in_texts(tmp_path: Path) -> None:
    record = only(tmp_path, INLINE)
    assert [one.box for one in record.objects] == [(16, 12, 32, 36)]
    assert record.turns == (Exchange("What is <region0>?", "A cat <region0>"),)
    pixels = said("What is [16, 12, 32, 36]?", "A cat beside [0, 0, 1, 1], [1, 2] and [0,1,2,3,4]")
    record = only(tmp_path, {**INLINE, "conversations": pixels})
    assert [one.box for one in record.objects] == [(16, 12, 32, 36), (0, 0, 1, 1)]
    assert record.turns[0].answer == "A cat beside <region1>, [1, 2] and [0,1,2,3,4]"


def test_the_next_region(tmp_path: Path) -> None:
    row = {**OSPREY, "conversations": said("<region>?", "A cat.", "And <region>?", "A dog.")}
    questions = [turn.question for turn in only(tmp_path, row).turns]
    assert questions == ["<region0>?", "And <region1>?"]


def test_markup_of_people_is_words(tmp_path: Path) -> None:
    texts = said(
        "<image>\n<region0> <ground>x</ground> <regionfeat> <bbox_location0>?",
        "<region1> <think> <|end|> <region> <bbox_location0>",
    )
    row = {**FERRET, "conversations": texts}
    (turn,) = only(tmp_path, row).turns
    assert turn.question == (
        "\u2039region0\u203a \u2039ground\u203ax\u2039/ground\u203a \u2039regionfeat\u203a <region0>?"
    )
    assert turn.answer == (
        "\u2039region1\u203a \u2039think\u203a \u2039|end|\u203a \u2039region\u203a <region0>"
    )
    forged = said("Is <reg<region_fea>ion0> this?", "Yes.")
    (turn,) = only(tmp_path, {**INLINE, "conversations": forged}).turns
    assert "<" not in turn.question
    numbers = said("What is <region1>, [0.1, 0.1, 0.2, 0.2]?", "<bbox")
    assert only(tmp_path, {**OSPREY, "conversations": numbers}).turns == (
        Exchange("What is <region0>, [0.1, 0.1, 0.2, 0.2]?", "<bbox"),
    )


def test_many_rows_may_share_an_id(tmp_path: Path) -> None:
    write(tmp_path, OSPREY, {**OSPREY, "id": "7-2"}, OSPREY)
    records, bad = read("region-conversations", tmp_path)
    assert list(records) == ["regions/7", "regions/7-2", "regions/7-3"]
    assert bad.bad == []


BAD: dict[str, Any] = {
    "no object": 7,
    "no conversation": {**OSPREY, "conversations": []},
    "no picture": {**FERRET, "image": "gone.jpg"},
    "strange picture": {**FERRET, "image": 7},
    "two pictures": {**FERRET, "image": ["a.jpg", "a.jpg"]},
    "another size": {**OSPREY, "height": 64},
    "another size, by its other name": {**FERRET, "image_w": 65},
    "strange size": {**FERRET, "image_w": "64"},
    "region 0": {**OSPREY, "conversations": said("What is <region0>?", "A cat.")},
    "region 3": {**OSPREY, "conversations": said("What is <region3>?", "A cat.")},
    "three next regions": {**OSPREY, "conversations": said("<region><region><region>?", "A")},
    "no list of regions": {**OSPREY, "annotation": {"bbox": [1, 1, 2, 2]}},
    "no region": {**OSPREY, "annotation": [7, 8]},
    "no area": {**OSPREY, "annotation": [{"bbox": [4, 4, 0, 9]}] * 2},
    "strange box": {**OSPREY, "annotation": [{"bbox": [4, 4, "a", 9]}] * 2},
    "strange mask": {**OSPREY, "annotation": [{"segmentation": "x"}] * 2},
    "too few boxes": {**FERRET, "box_x1y1x2y2": [[[4, 5, 30, 31]], []]},
    "too few lists": {**FERRET, "box_x1y1x2y2": []},
    "no lists": {**FERRET, "box_x1y1x2y2": [4, 5, 30, 31]},
    "no boxes": {name: value for name, value in FERRET.items() if name != "box_x1y1x2y2"},
    "outside": {**INLINE, "conversations": said("What is [100, 100, 200, 200]?", "A cat.")},
    "out of turn": {**OSPREY, "conversations": said("What?", "A cat.", "Why?")},
    "empty answer": {**OSPREY, "conversations": said("What?", " ")},
    "strange descriptions": {**OSPREY, "description": [7]},
    "empty description": {**OSPREY, "description": ["<region1>: "]},
    "description of nothing": {**OSPREY, "description": ["<region9>: a"]},
}


@pytest.mark.parametrize("row", BAD.values(), ids=BAD)
def test_bad_rows_are_told_with_their_line(tmp_path: Path, row: object) -> None:
    write(tmp_path, OSPREY, row)
    records, bad = read("region-conversations", tmp_path)
    assert list(records) == ["regions/7"]
    assert places(bad) == [("rows.json", 3)]


def test_too_many_bad_rows_stop_it(tmp_path: Path) -> None:
    write(tmp_path, *[{**OSPREY, "height": 64}] * 20, name="rows.jsonl")
    with pytest.raises(InputError, match=r"the first is .*rows\.jsonl:1: the picture has"):
        list(convert("region-conversations", tmp_path))
