import json
import sys
from pathlib import Path

import pytest

from fo1.errors import InputError, MissingExtraError
from fo1.formats.tables import find_tables, read_tables


def test_lines_lists_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    lines, listed, table = (tmp_path / f"t.{end}" for end in ("jsonl", "json", "parquet"))
    lines.write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    listed.write_text(json.dumps(rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    for path in (lines, listed, table):
        found = read_tables([path])
        assert [row.values for row in found.rows] == rows
        assert [row.number for row in found.rows] == [0, 1]
        assert found.broken == []
        assert found.files == (path,)
    assert read_tables([lines]).rows[1].place == "t.jsonl line 3"
    assert [row.line for row in read_tables([lines]).rows] == [1, 3]
    listed.write_text("[\n" + ",\n\n".join(map(json.dumps, rows)) + "\n]")
    assert [row.line for row in read_tables([listed]).rows] == [2, 4]
    assert {row.line for row in read_tables([table]).rows} == {None}


def test_a_json_file_may_hold_one_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "coco_pope_random.json"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert [row.values["a"] for row in read_tables([path]).rows] == [1, 2]


def test_broken_rows_are_told_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\nnot json\n[1]\n{"a": 4}\n')
    found = read_tables([path])
    assert [row.number for row in found.rows] == [0, 3]
    assert [bad.problem for bad in found.broken] == [
        "t.jsonl line 2: no JSON; expected an object",
        "t.jsonl line 3: list; expected an object",
    ]
    assert [(bad.file, bad.line) for bad in found.broken] == [(path, 2), (path, 3)]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "no 'a'; expected int"),
        ({"a": "1"}, "'a' is 1 (str); expected int"),
        ({"a": True}, "'a' is True (bool); expected int"),
        ({"a": None}, "'a' is None (NoneType); expected int"),
    ],
)
def test_a_field_is_checked(tmp_path: Path, values: dict, problem: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([values]))
    (row,) = read_tables([path]).rows
    with pytest.raises(InputError) as error:
        row.take("a", int)
    assert str(error.value) == problem


def test_files_that_are_none_are_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no .*test-\*\.parquet; see docs/evaluation"):
        find_tables(tmp_path, "data/test-*.parquet", "*.json")
    bad = tmp_path / "bad.json"
    bad.write_text("[{")
    with pytest.raises(InputError, match=r"bad\.json:1:3 is not JSON"):
        read_tables(find_tables(tmp_path, "nothing", "*.json"))
    with pytest.raises(InputError, match=r"gone\.json"):
        read_tables([tmp_path / "gone.json"])
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bad\.json"):
        read_tables([bad])


def test_parquet_without_its_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fo1\[eval\]'"):
        read_tables([tmp_path / "t.parquet"])


def test_a_damaged_parquet_file_is_told(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"t\.parquet is no parquet file"):
        read_tables([tmp_path / "t.parquet"])
