import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fo1.errors import InputError
from fo1.formats.located import locate, parse_json, read_located

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "a.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_rows_know_their_lines(tmp_path: Path) -> None:
    text = """{
  "version": 2,
  "images": [
    {"id": 1},

    {"id":
       2}, {"id": 3}
  ],
  "anns": {
    "7": {"id": 7},
    "8":
      {"id": 8}
  },
  "none": [], "empty": {}
}
"""
    for ends in (text, text.replace("\n", "\r\n"), "\ufeff" + text):
        found = read_located(write(tmp_path, ends))
        images = found.rows("images")
        assert [(row.line, row.key, row.value["id"]) for row in images] == [
            (4, None, 1),
            (6, None, 2),
            (7, None, 3),
        ]
        assert [(row.line, row.key) for row in found.rows("anns")] == [(10, "7"), (12, "8")]
        assert found.values == {"version": 2}
        assert found.rows("none") == found.rows("empty") == []


def test_a_list_at_the_top(tmp_path: Path) -> None:
    found = read_located(write(tmp_path, '[1,\n {"a": [1,\n2]},\n\n"x"]'))
    assert [(row.line, row.value) for row in found.rows()] == [
        (1, 1),
        (2, {"a": [1, 2]}),
        (5, "x"),
    ]


@given(JSON.filter(lambda value: isinstance(value, list | dict)), st.sampled_from([None, 2]))
def test_it_reads_what_json_reads(value: Any, indent: int | None) -> None:
    """Every row stands where its line says, and nothing is lost."""
    text = json.dumps(value, indent=indent)
    found = locate(Path("a.json"), text)
    if isinstance(value, list):
        again: Any = [row.value for row in found.rows()]
    else:
        again = {**found.values}
        again |= {name: [row.value for row in rows] for name, rows in found.lists.items()}
        again |= {name: {r.key: r.value for r in rows} for name, rows in found.objects.items()}
    assert again == value
    lines = text.split("\n")
    for rows in (*found.lists.values(), *found.objects.values()):
        for row in rows:
            first = json.dumps(row.value, indent=indent).split("\n")[0]
            assert first in lines[row.line - 1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": [\n{"b": 1},\n{"b": }]}', r"a\.json:3:7 is not JSON .*mend it there"),
        ('{"a": [\n{"b": 1}\n{"b": 2}]}', r"a\.json:3:1 is not JSON \(expected ',' or '\]'\)"),
        ('{"a": [1, 2', "is not JSON .*it ends too early"),
        ('{"a": [1, 2]', r"a\.json:1:13 is not JSON"),
        ('{"a" 1}', "expected ':' behind a name"),
        ('{"a": 1,}', "expected a name in quotes"),
        ("{a: 1}", "expected a name in quotes"),
        ("[1, 2]\n[3]", r"a\.json:2:1: more text behind the end"),
        ("", r"a\.json:1:1: found nothing; expected a JSON list or object"),
        ("7", "found '7'"),
        ("<html>", "found '<'"),
        ("[" + "[" * 200_000, "nested too deep|is not JSON"),
        (b'["\xff"]', r"a\.json:1: not UTF-8"),
        (b'[\n1,\n"\xff"]', r"a\.json:3: not UTF-8"),
    ],
)
def test_a_damaged_document_says_where(tmp_path: Path, text: str | bytes, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as error:
        read_located(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_hostile_numbers_are_read_and_left_to_others(tmp_path: Path) -> None:
    text = "[NaN, Infinity, 1e999, " + "9" * 10_000 + "]"
    values = [row.value for row in read_located(write(tmp_path, text)).rows()]
    assert values[0] != values[0]
    assert values[1:] == [float("inf")] * 3
    assert parse_json("9" * 10_000) == float("inf")
    with pytest.raises(ValueError, match="Expecting"):
        parse_json("{")
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json("[" * 200_000)


def test_utf_16_is_read(tmp_path: Path) -> None:
    assert read_located(write(tmp_path, '["ä"]'.encode("utf-16"))).rows()[0].value == "ä"


def test_fields_that_nobody_needs_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, '{"a": [{"id": 1, "segmentation": [1, 2]}], "segmentation": 3}')
    found = read_located(path, leave_out=("segmentation",))
    assert found.rows("a")[0].value == {"id": 1}
    assert found.values == {"segmentation": 3}


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    found = read_located(write(tmp_path, '{"a": [], "b": 1}'))
    with pytest.raises(InputError, match=r"has no list 'c'; it has: a, b"):
        found.rows("c")
    with pytest.raises(InputError, match=r"has no list at its top; it has: a, b"):
        found.rows()
    with pytest.raises(InputError, match=r"cannot read .*gone\.json"):
        read_located(tmp_path / "gone.json")


def test_the_last_of_two_members_counts(tmp_path: Path) -> None:
    found = read_located(write(tmp_path, '{"a": [1], "a": {"b": 2}}'))
    assert found.lists == {}
    assert found.rows("a")[0].value == 2
