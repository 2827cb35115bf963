"""Whatever stands in a file, a converter gives checked records and bad rows, or one line of error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fo1.data.converters import BadRows
from fo1.errors import InputError
from tests.data.converters import test_coco as coco
from tests.data.converters import test_coco_text as coco_text
from tests.data.converters import test_labelme as labelme
from tests.data.converters import test_lvis as lvis
from tests.data.converters import test_yolo as yolo
from tests.data.converters.drawn import read

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "<region0>", 10**400, -1, 0, "0", 17, 139])
    # Made anew each time: junk is put into junk, and one list for all would come to hold itself.
    | st.builds(list)
    | st.builds(dict)
    | st.builds(lambda: [0, 0, 9, 9]),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)

Document = dict[str, Any]


def coco_document(folder: Path) -> Path:
    return coco.official(folder)


def lvis_document(folder: Path) -> Path:
    return lvis.write(folder, [lvis.annotation(1, 1), lvis.annotation(2, 2)], lvis.image([5], [2]))


def labelme_document(folder: Path) -> Path:
    return labelme.write(folder, labelme.shape(), labelme.shape(kind="circle", group=1))


def coco_text_document(folder: Path) -> Path:
    return coco_text.write(folder, [coco_text.image()], [coco_text.word(), coco_text.word(2)])


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Return every place (container, key) of a document."""
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    )
    found = [(value, key) for key in keys]
    return found + [spot for key in keys for spot in spots(value[key])]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("coco", coco_document),
        ("lvis", lvis_document),
        ("labelme", labelme_document),
        ("coco-text", coco_text_document),
    ],
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_junk_anywhere_in_a_document(
    tmp_path: Path, name: str, make: Callable[[Path], Path], data: st.DataObject
) -> None:
    path = make(tmp_path)
    document = json.loads(path.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(spots(document)))
        container[key] = data.draw(JUNK)
    path.write_text(json.dumps(document))
    problem, records, bad = "", {}, BadRows()
    try:
        records, bad = read(name, path)
    except InputError as error:
        problem = str(error)
    assert not {"\n", "\ud800"} & set(problem)
    for row in bad.bad:
        assert row.file == str(path)
        assert not {"\n", "\ud800"} & set(str(row))
    assert len(bad.bad) <= bad.rows
    assert len(records) <= 2


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=40) | st.text("0123456789. -+enaif\n\r\t", max_size=60))
def test_junk_in_a_label_file(tmp_path: Path, content: bytes | str) -> None:
    yolo.write(tmp_path, content)
    records, bad = read("yolo", tmp_path)
    assert len(records) == 2
    assert len(bad.bad) <= bad.rows
