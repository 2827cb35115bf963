import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fo1.data.converters import convert, detect_format
from fo1.data.schema import Phrase
from fo1.errors import InputError
from tests.data.converters.drawn import is_drawn, paint, places, read

CAPTION = "a wire hanger with a paper cover < 3 in <image>"
HANGER = [0.25, 0.25, 0.75, 0.5, 0.98]
COVER = [0.5, 0.5, 1.0, 1.0, 0.87]
GOOD: dict[str, Any] = {
    "key": "000373938",
    "clip_similarity_vitb32": 0.27,
    "caption": CAPTION,
    "url": "http://example.com/hanger.png",
    "width": 1024,
    "height": 768,
    "noun_chunks": [[0, 13, *HANGER], [19, 32, *COVER]],
    "ref_exps": [[0, 32, *HANGER], [19, 32, *COVER]],
}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "grit.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    paint(folder / "images/000373938.jpg")
    return path


def only(folder: Path, row: object) -> Any:
    write(folder, row)
    records, bad = read("grit", folder)
    assert bad.bad == []
    (record,) = records.values()
    return record


def test_a_row_as_it_is_published(tmp_path: Path) -> None:
    record = only(tmp_path, GOOD)
    assert detect_format(tmp_path) == "grit"
    assert record.key == "grit/000373938"
    assert record.pictures[0].size == (48, 64)
    assert [one.box for one in record.objects] == [(16, 12, 48, 24), (32, 24, 64, 48)]
    assert record.captions == (
        "<ground>a wire hanger</ground><objects><region0></objects> with "
        "<ground>a paper cover</ground><objects><region1></objects> < 3 in \u2039image\u203a",
    )
    assert record.phrases == (
        Phrase("a wire hanger", (0,)),
        Phrase("a paper cover", (1,)),
        Phrase("a wire hanger with a paper cover", (0,)),
    )
    assert record.objects[0].descriptions == ("a wire hanger", "a wire hanger with a paper cover")
    assert record.looked_for == record.absent == ()
    assert record.source == "grit.jsonl:1"
    assert is_drawn(record)


def test_a_field_that_holds_nothing_hides_no_other(tmp_path: Path) -> None:
    record = only(
        tmp_path, {**GOOD, "key": None, "id": 5, "image": None, "file_name": "000373938.jpg"}
    )
    assert record.key == "grit/5"
    assert Path(record.pictures[0].file).name == "000373938.jpg"


def test_one_phrase_may_have_several_boxes_and_others_may_overlap_it(tmp_path: Path) -> None:
    row = {**GOOD, "noun_chunks": [[0, 13, *HANGER], [0, 13, *COVER], [2, 13, *HANGER]]}
    record = only(tmp_path, row)
    assert record.captions[0].startswith(
        "<ground>a wire hanger</ground><objects><region0><region1></objects> with a paper cover"
    )
    assert Phrase("a wire hanger", (0, 1)) in record.phrases
    assert Phrase("wire hanger", (0,)) in record.phrases


def test_a_text_that_means_two_things_is_no_expression(tmp_path: Path) -> None:
    row = {**GOOD, "noun_chunks": [[0, 1, *HANGER], [19, 20, *COVER]]}  # "a" and "a"
    assert "a" not in [one.text for one in only(tmp_path, row).phrases]


def test_letters_as_parquet_has_them_and_boxes_a_little_outside(tmp_path: Path) -> None:
    row = {**GOOD, "noun_chunks": [[0.0, 13.0, -0.004, 0.0, 1.004, 1.0]], "ref_exps": []}
    assert only(tmp_path, row).objects[0].box == (0, 0, 64, 48)


def archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_tars_with_their_pictures(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 80, 9)).save(stream, "JPEG")
    row = json.dumps(GOOD).encode()
    archive(
        tmp_path / "00000.tar",
        {
            "000373938.jpg": stream.getvalue(),
            "000373938.txt": CAPTION.encode(),
            "000373938.json": row,
            "000000002.json": b"{",
            "000000002.jpg": stream.getvalue(),
        },
    )
    (tmp_path / "00000_stats.json").write_text('{"count": 2}')
    assert detect_format(tmp_path) == "grit"
    records, bad = read("grit", tmp_path)
    record = records["grit/000373938"]
    assert record.pictures[0].data == stream.getvalue()
    assert places(bad) == [("00000.tar", None)]
    assert "000000002" in bad.bad[0].problem
    assert is_drawn(record, 1)


def test_parquet_beside_downloaded_pictures(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    rows = [
        {**GOOD, "status": "success"},
        {**GOOD, "key": "000373939", "status": "failed_to_download"},
        {**GOOD, "key": "000373940", "status": "success"},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "00037.parquet")
    paint(tmp_path / "00037/000373938.jpg")
    (tmp_path / "00037_stats.json").write_text('{"count": 2}')
    records, bad = read("grit", tmp_path)
    assert list(records) == ["grit/000373938"]
    assert places(bad) == [("00037.parquet", None)]
    assert "row 2" in bad.bad[0].problem
    assert bad.rows == 3


def test_one_file_a_picture(tmp_path: Path) -> None:
    for key in ("000373938", "000373939"):
        paint(tmp_path / f"00037/{key}.jpg")
        (tmp_path / f"00037/{key}.json").write_text(json.dumps({**GOOD, "key": key}, indent=1))
    assert list(read("grit", tmp_path)[0]) == ["grit/000373938", "grit/000373939"]


BAD: dict[str, Any] = {
    "no object": 7,
    "no caption": {**GOOD, "caption": None},
    "empty caption": {**GOOD, "caption": " "},
    "no boxes": {**GOOD, "noun_chunks": [], "ref_exps": []},
    "no list": {**GOOD, "noun_chunks": {"a": 1}},
    "too short": {**GOOD, "noun_chunks": [[0, 13, 0.1, 0.1, 0.2]]},
    "letters behind the end": {**GOOD, "noun_chunks": [[0, 99, *HANGER]]},
    "no letters": {**GOOD, "noun_chunks": [[5, 5, *HANGER]]},
    "half a letter": {**GOOD, "noun_chunks": [[0.5, 5, *HANGER]]},
    "only a space": {**GOOD, "noun_chunks": [[1, 2, *HANGER]]},
    "pixels": {**GOOD, "noun_chunks": [[0, 13, 16, 12, 48, 24, 0.9]]},
    "no area": {**GOOD, "noun_chunks": [[0, 13, 0.5, 0.1, 0.5, 0.2, 0.9]]},
    "not there": {**GOOD, "key": "000000001"},
    "no key": {name: value for name, value in GOOD.items() if name != "key"},
    "another picture": {**GOOD, "width": 768, "height": 1024},
}


@pytest.mark.parametrize("row", BAD.values(), ids=BAD)
def test_bad_rows_are_told_with_their_line(tmp_path: Path, row: object) -> None:
    write(tmp_path, GOOD, row)
    records, bad = read("grit", tmp_path)
    assert list(records) == ["grit/000373938"]
    assert places(bad) == [("grit.jsonl", 2)]


def test_too_many_bad_rows_stop_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD, *[{**GOOD, "caption": 1}] * 20)
    with pytest.raises(InputError, match=r"the first is .*grit\.jsonl:2: 'caption' is 1"):
        list(convert("grit", tmp_path))
