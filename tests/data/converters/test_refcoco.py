import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from fo1.data.converters import convert
from fo1.data.converters.conversion import BadRows
from fo1.data.converters.refcoco import convert_refcoco
from fo1.data.schema import Phrase
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read

NAMES = {1: "COCO_train2014_000000000001.jpg", 2: "COCO_train2014_000000000002.jpg"}


def instances() -> dict[str, Any]:
    boxes = {11: (1, [4, 4, 20, 30], 1), 12: (1, [30, 4, 20, 30], 1), 13: (2, [5, 5, 9, 9], 2)}
    return {
        "info": {"description": "This is dev 1.0 version."},
        "licenses": [],
        "images": [
            {"id": n, "file_name": name, "height": 48, "width": 64} for n, name in NAMES.items()
        ],
        "annotations": [
            {"id": n, "image_id": i, "bbox": box, "category_id": c, "iscrowd": 0, "area": 9.0}
            for n, (i, box, c) in boxes.items()
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "cat"}],
    }


def ref(number: int, meant: object, *sents: str, image: int = 1, split: str = "train") -> Any:
    return {
        "ref_id": number,
        "ann_id": meant,
        "image_id": image,
        "category_id": 1,
        "split": split,
        "file_name": f"COCO_train2014_{image:012}_{number}.jpg",
        "sent_ids": list(range(len(sents))),
        "sentences": [{"sent_id": 0, "sent": s, "raw": s, "tokens": s.split()} for s in sents],
    }


REFS = [
    ref(1, 11, "left man", "man in <region7>", "the man"),
    ref(2, 12, "right man", "Left  Man?", "the man"),
    ref(3, 13, "the cat", image=2, split="testA"),
]


def write(folder: Path, refs: object, *, name: str = "refs(unc).p", **changes: Any) -> Path:
    path = folder / "refcoco" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".p":
        path.write_bytes(pickle.dumps(refs, protocol=2))
    else:
        path.write_text("[\n" + ",\n".join(map(json.dumps, refs)) + "\n]")  # pyright: ignore
    (path.parent / "instances.json").write_text(json.dumps({**instances(), **changes}))
    for picture in NAMES.values():
        paint(folder / "images/mscoco/images/train2014" / picture)
    return path


@pytest.mark.parametrize("name", ["refs(unc).p", "refs(umd).p", "refs(google).p", "refs(unc).json"])
def test_the_training_split_of_the_official_layout(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, REFS, name=name)
    for source in (tmp_path, path.parent, path):
        records, bad = read("refcoco", source)
        assert list(records) == ["refcoco/1"]
        assert bad.bad == []
        record = records["refcoco/1"]
        assert [(one.box, one.names) for one in record.objects] == [
            ((4.0, 4.0, 24.0, 34.0), ("person",)),
            ((30.0, 4.0, 50.0, 34.0), ("person",)),
        ]
        assert record.looked_for == ("person", "cat")
        assert is_drawn(record)


def test_expressions_are_plain_words_and_unclear_ones_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, REFS)
    (record,) = read("refcoco", tmp_path)[0].values()
    assert record.phrases == (
        Phrase("left man", (0,)),
        Phrase("man in \u2039region7\u203a", (0,)),
        Phrase("right man", (1,)),
        Phrase("Left Man?", (1,)),
    )


def test_another_split_may_be_chosen(tmp_path: Path) -> None:
    write(tmp_path, REFS)
    records = list(convert_refcoco(tmp_path, BadRows(), split="testA"))
    assert [one.key for one in records] == ["refcoco/2"]
    with pytest.raises(InputError, match=r"no ref of the split val, only of testA, train"):
        list(convert_refcoco(tmp_path, BadRows(), split="val"))


def test_an_expression_may_mean_several_boxes_or_none(tmp_path: Path) -> None:
    write(tmp_path, [ref(1, [11, 12], "both men"), ref(2, [-1], "the dog")], name="grefs(unc).json")
    (record,) = read("refcoco", tmp_path)[0].values()
    assert record.phrases == (Phrase("both men", (0, 1)), Phrase("the dog", ()))


def test_an_object_that_an_expression_lists_twice_is_meant_once(tmp_path: Path) -> None:
    write(tmp_path, [ref(1, [12, 11, 12], "both men")], name="grefs(unc).json")
    (record,) = read("refcoco", tmp_path)[0].values()
    assert record.phrases == (Phrase("both men", (1, 0)),)


BAD_REFS = {
    "no object": 7,
    "no picture": ref(9, 11, "a", image=5),
    "box of another picture": ref(9, 13, "a"),
    "no number": ref(9, "11", "a"),
    "no list": ref(9, [], "a"),
    "the id of another": ref(1, 11, "a"),
    "no sentence": ref(9, 11),
    "empty sentence": ref(9, 11, " "),
    "strange split": {**ref(9, 11, "a"), "split": ["train"]},
    "strange sentences": {**ref(9, 11, "a"), "sentences": ["a"]},
}


@pytest.mark.parametrize("row", BAD_REFS.values(), ids=BAD_REFS)
def test_bad_rows_are_told_with_their_line(tmp_path: Path, row: object) -> None:
    write(tmp_path, [*REFS, row], name="refs(unc).json")
    records, bad = read("refcoco", tmp_path)
    assert places(bad) == [("refs(unc).json", 5)]
    assert len(records["refcoco/1"].phrases) == 4
    (tmp_path / "refcoco/refs(unc).json").unlink()
    write(tmp_path, [*REFS, row])
    _, bad = read("refcoco", tmp_path)
    assert places(bad) == [("refs(unc).p", None)]
    assert "row 3" in bad.bad[0].problem


def test_a_missing_picture_is_a_bad_row(tmp_path: Path) -> None:
    write(tmp_path, REFS)
    (tmp_path / "images/mscoco/images/train2014" / NAMES[1]).unlink()
    records, bad = read("refcoco", tmp_path)
    assert records == {}
    assert places(bad) == [("refs(unc).p", None)] * 2  # both refs of it
    assert NAMES[1] in bad.bad[0].problem
    assert "(instances.json:1)" in bad.bad[0].problem


def test_too_many_bad_rows_stop_it(tmp_path: Path) -> None:
    write(tmp_path, [*REFS, *(ref(n, 5, "a") for n in range(20, 40))])
    with pytest.raises(InputError, match=r"cannot be used, the first is .*refs\(unc\)\.p: .*row 3"):
        list(convert("refcoco", tmp_path))


def test_a_pickle_that_wants_code_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [Path("a")])
    with pytest.raises(InputError, match="no pickle of plain lists"):
        list(convert("refcoco", tmp_path))


def test_several_data_sets_and_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no refs\(unc\)\.p"):
        list(convert("refcoco", tmp_path))
    path = write(tmp_path, REFS)
    (tmp_path / "refcoco+").mkdir()
    for name in (path.name, "instances.json"):
        (tmp_path / "refcoco+" / name).write_bytes((path.parent / name).read_bytes())
    records, bad = read("refcoco", tmp_path)
    assert list(records) == ["refcoco/1", "refcoco+/1"]
    assert bad.bad == []


def test_a_picture_that_another_data_set_measures_with_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, [*REFS, ref(4, 13, "a cat", image=2)])
    path = write(tmp_path / "more", [ref(5, 11, "left man", split="val"), REFS[1]])
    path.parent.rename(tmp_path / "refcocog")
    (tmp_path / "more/images").rename(tmp_path / "other")
    with pytest.raises(InputError, match="no ref of the split test, only of testA, train"):
        list(convert_refcoco(tmp_path, BadRows(), split="test"))
    assert read("refcoco", tmp_path)[0] == {}  # 1 is measured in refcocog, 2 in refcoco
    assert list(read("refcoco", tmp_path / "refcoco")[0]) == ["refcoco/1"]


def test_one_expression_a_line(tmp_path: Path) -> None:
    good = {"image": f"data/coco/{NAMES[1]}", "height": 48, "width": 64}
    rows = [
        {**good, "sent": "left man", "bbox": [4, 4, 24, 34]},
        {**good, "sent": "right man", "bbox": [30, 4, 50, 34]},
        {**good, "sent": "the left one", "bbox": [4, 4, 24, 34]},
        {**good, "sent": "nobody", "bbox": [4, 4, 4, 34]},
        {**good, "sent": "", "bbox": [4, 4, 24, 34]},
        {**good, "sent": "turned", "bbox": [4, 4, 24, 34], "height": 64},
    ]
    path = tmp_path / "refcoco_train.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    paint(tmp_path / "train2014" / NAMES[1])
    records, bad = read("refcoco", tmp_path)
    (record,) = records.values()
    assert record.phrases == (
        Phrase("left man", (0,)),
        Phrase("right man", (1,)),
        Phrase("the left one", (0,)),
    )
    assert record.looked_for == ()
    assert places(bad) == [(path.name, 4), (path.name, 5), (path.name, 6)]
    assert is_drawn(record, 1)
