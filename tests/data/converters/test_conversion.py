from collections.abc import Iterator
from pathlib import Path

import pytest

from fo1.data.converters import (
    CONVERTERS,
    BadRow,
    BadRows,
    Conversion,
    convert,
    detect_format,
    get_converter,
)
from fo1.data.schema import Exchange, Record
from fo1.errors import InputError


def record(number: int) -> Record:
    return Record(key=str(number), turns=(Exchange("Why?", "So."),))


def test_a_bad_row_says_where_it_stands() -> None:
    assert str(BadRow("a.json", 12, "no box")) == "a.json:12: no box"
    assert str(BadRow("a.parquet", None, "no box")) == "a.parquet: no box"
    bad = BadRows(most=1)
    bad.seen(2)
    bad.drop(Path("a.json"), 3, InputError("two\nlines"))
    assert bad.bad == [BadRow("a.json", 3, "two lines")]
    assert bad.rows == 2


def test_ten_bad_rows_stop_nothing_before_the_end() -> None:
    bad = BadRows(most=0.05)
    for number in range(10):
        bad.seen()
        bad.drop("a.json", number, "no box")
    bad.seen()
    with pytest.raises(InputError) as error:
        bad.drop("a.json", 10, "no box")
    assert str(error.value) == (
        "11 of 11 rows cannot be used, the first is a.json:0: no box; "
        "mend them, or allow more with --max-bad 0.5"
    )


def test_the_share_counts_while_reading() -> None:
    bad = BadRows(most=0.05)
    bad.seen(1000)
    for number in range(50):
        bad.drop("a.json", number, "no box")
    bad.check(final=True)
    with pytest.raises(InputError, match=r"51 of 1,000 rows"):
        bad.drop("a.json", 50, "no box")


def test_at_the_end_the_share_counts_however_few_rows_there_are() -> None:
    bad = BadRows(most=0.3)
    bad.seen(4)
    bad.drop("a.json", 1, "no box")
    bad.check(final=True)
    bad.drop("a.json", 2, "no box")
    bad.check()
    with pytest.raises(InputError, match=r"2 of 4 rows cannot be used.*a\.json:1: no box"):
        bad.check(final=True)


def test_nothing_but_bad_rows_is_never_allowed() -> None:
    bad = BadRows(most=1)
    bad.seen()
    bad.drop("a.json", 1, "no box")
    with pytest.raises(InputError, match=r"none of 1 rows can be used.*a\.json:1: no box"):
        bad.check(final=True)
    BadRows().check(final=True)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_is_one(share: float) -> None:
    with pytest.raises(InputError, match="share of rows from 0 to 1"):
        BadRows(share)


def test_a_conversion_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def three(source: Path, bad: BadRows, *, pictures: Path | None = None) -> Iterator[Record]:
        for number in range(3):
            bad.seen()
            yield record(number)
        bad.seen()
        bad.drop(source, 4, "no box")

    monkeypatch.setattr("fo1.data.converters.CONVERTERS", {"three": three})
    conversion = convert("three", Path("a.json"), max_bad=0.5)
    for _ in range(2):
        assert [one.key for one in conversion] == ["0", "1", "2"]
        assert (conversion.bad.rows, len(conversion.bad.bad)) == (4, 1)
    with pytest.raises(InputError, match="1 of 4 rows"):
        list(convert("three", Path("a.json"), max_bad=0.1))


def test_a_conversion_of_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fo1.data.converters.CONVERTERS", {"none": lambda *_, **__: iter(())})
    with pytest.raises(InputError, match=r"a\.json holds no picture and no text to learn from"):
        list(Conversion("none", Path("a.json")))


def test_every_format_has_its_converter() -> None:
    for name, converter in CONVERTERS.items():
        assert get_converter(name) is converter
    with pytest.raises(InputError, match=r"no converter 'voc'; choose one of: coco, lvis, yolo"):
        convert("voc", Path("a.json"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", '{"images": [], "annotations": [], "categories": []}', "coco"),
        (
            "a.json",
            '{"images": [{"neg_category_ids": []}], "annotations": [], "categories": []}',
            "lvis",
        ),
        (
            "annotations/instances_train2017.json",
            '{"images":[],"annotations":[],"categories":[]}',
            "coco",
        ),
        ("train/_annotations.coco.json", '{"images":[],"annotations":[],"categories":[]}', "coco"),
        ("lvis_v1_train.json", "{}", "lvis"),
        ("annotations/lvis_v1_train.json", "{}", "lvis"),
        ("data.yaml", "names: [cat]\ntrain: images", "yolo"),
        ("labels/classes.txt", "cat", None),
        ("a.json", '{"shapes": [], "imagePath": "a.jpg"}', "labelme"),
        ("cocotext.v2.json", "{}", "coco-text"),
        ("b.json", '{"cats": {}, "anns": {}, "imgs": {}}', "coco-text"),
        ("refs(unc).p", "", "refcoco"),
        ("refcoco/refs(google).p", "", "refcoco"),
        ("a.jsonl", '{"image": "a.jpg", "sent": "the cat", "bbox": [1, 2, 3, 4]}', "refcoco"),
        ("a.jsonl", '{"caption": "a cat", "noun_chunks": [], "key": "1"}', "grit"),
        (
            "a.json",
            '[{"id": 1, "conversations": [{"from": "human", "value": "hi"}]}]',
            "conversations",
        ),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "hi"}]}', "conversations"),
        ("a.json", '[{"conversations": [], "annotation": [{"bbox": []}]}]', "region-conversations"),
        ("a.jsonl", '{"image": "a.jpg", "question": "How many?", "number": 3}', "counts"),
        ("a.jsonl", '{"image_url": "a", "label": "cats", "count": 3, "points": []}', "counts"),
        ("a.jsonl", '{"key": "1", "pictures": []}', "records"),
        ("a.jsonl.gz", "", "records"),
        ("a.json", '{"a": 1}', None),
        ("a.txt", "cat", None),
        ("a.json", "", None),
    ],
)
def test_a_format_is_told_by_its_files(
    tmp_path: Path, name: str, content: str, expected: str | None
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    if expected is None:
        with pytest.raises(InputError, match=r"is of no known format; expected records .*yolo"):
            detect_format(tmp_path)
        return
    assert detect_format(tmp_path) == expected
    if content and content != "{}":
        assert detect_format(path) == expected


def test_formats_of_folders(tmp_path: Path) -> None:
    for folder, files, expected in (
        ("genome", ("image_data.json", "objects.json"), "visual-genome"),
        ("flickr", ("Annotations/1.xml", "Sentences/1.txt"), "flickr30k-entities"),
        ("names", ("classes.txt", "labels/a.txt"), "yolo"),
        ("all", ("annotations/instances_train2017.json", "lvis_v1_train.json"), "coco"),
    ):
        for file in files:
            (tmp_path / folder / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / file).write_text("x")
        assert detect_format(tmp_path / folder) == expected
    with pytest.raises(InputError, match="gone does not exist"):
        detect_format(tmp_path / "gone")


def test_pictures_do_not_hide_a_table(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.jpg").write_text("")
        (tmp_path / f"{number}.json").write_text('{"shapes": [], "imageData": null}')
    assert detect_format(tmp_path) == "labelme"


def test_a_file_that_is_no_tar_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("x")
    with pytest.raises(InputError, match=r"cannot read .*a\.tar"):
        detect_format(tmp_path / "a.tar")
