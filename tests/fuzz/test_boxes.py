"""Boxes from a file: any bytes give boxes or one line, and what was written is read."""

import io
import json
import math
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example
from hypothesis import strategies as st
from PIL import Image

from fo1.errors import BoxError, InputError
from fo1.proposals import FileProposer
from fo1.proposals.box_formats import read_box_bytes
from tests.fuzz.budget import assert_one_line, fuzz
from tests.fuzz.texts import HOSTILE

LARGEST = float(np.finfo(np.float32).max)
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([10**400, 1e38, -0.0, 5e-324]))
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=3))
JSON = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(NUMBERS, min_size=4, max_size=4),
        st.lists(st.lists(NUMBERS, min_size=4, max_size=4), max_size=4),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=20,
)
ROWS = st.lists(NUMBERS, min_size=4, max_size=4)
FIELDS = {
    "boxes": st.one_of(JSON, st.lists(ROWS, max_size=3)),
    **dict.fromkeys(("scores", "labels", "annotations", "images", "categories"), JSON),
    "shapes": st.lists(
        st.fixed_dictionaries({}, optional={"label": JSON, "points": JSON, "shape_type": JSON})
    ),
}
RESULT = st.fixed_dictionaries(
    {"bbox": st.one_of(JSON, ROWS)}, optional={"image_id": VALUES, "score": VALUES}
)
FORMATS = st.one_of(st.fixed_dictionaries({}, optional=FIELDS), st.lists(RESULT, max_size=3))
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "latin-1"])


def is_boxes(rows: object) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == 4 and all(map(is_number, row)) for row in rows
    )


def is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return bool(abs(float(value)) <= LARGEST)
    except OverflowError:
        return False


@fuzz(JSON, ENCODINGS, examples=150)
def test_any_json_is_boxes_exactly_when_it_is_rows_of_four_numbers(
    value: object, encoding: str
) -> None:
    data = json.dumps(value).encode(encoding, errors="replace")
    if is_boxes(value):
        expected = [[float(side) for side in row] for row in value]  # type: ignore[attr-defined]
        boxes = read_box_bytes(data, "b.json").of("").boxes
        assert boxes.shape == (len(expected), 4)
        assert boxes.dtype == np.float32
        np.testing.assert_array_equal(boxes, np.float32(expected).reshape(-1, 4))
        return
    with pytest.raises(InputError) as caught:
        read_box_bytes(data, "b.json")
    assert str(caught.value).startswith("b.json")
    assert_one_line(caught.value)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return JSON with bytes changed, cut out or doubled."""
    value = draw(st.one_of(JSON, FORMATS))
    data = bytearray(json.dumps(value).encode(draw(ENCODINGS), errors="replace"))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        stop = place + draw(st.integers(0, 4))
        data[place:stop] = draw(st.binary(max_size=4)) + data[place:stop] * draw(st.integers(0, 2))
    return bytes(data)


@fuzz(st.one_of(damaged(), st.binary(), HOSTILE.map(lambda text: text.encode("utf-8", "replace"))))
@example(b"[" * 200_000)
@example(b'{"a":' * 100_000)
@example(b"[[1,2,3," + b"1" * 100_000 + b"]]")
@example(b"[[1,2,3,4e" + b"9" * 10_000 + b"]]")
@example(b"\xff\xfe")
@example(b'["\\ud800"]')
def test_any_bytes_are_boxes_or_one_line(data: bytes) -> None:
    try:
        boxes = read_box_bytes(data, "b.json").of("").boxes
    except InputError as error:
        assert_one_line(error)
        return
    assert boxes.dtype == np.float32
    assert boxes.ndim == 2
    assert np.isfinite(boxes).all()


@fuzz(st.one_of(st.text(max_size=300), HOSTILE, st.text("ab/.", max_size=5000)))
@example("a\nb")
@example("a\x00b")
@example("\ud800")
@example("x" * 5000)
def test_any_file_name_is_one_line(name: str) -> None:
    if name == "-" or Path("none").joinpath(name).is_absolute():
        return
    with pytest.raises(InputError) as caught:
        FileProposer(f"none/{name}")
    assert_one_line(caught.value)


@fuzz(st.lists(st.tuples(*[st.integers(-20, 120) | st.floats(-20, 120, width=32)] * 4), max_size=5))
def test_boxes_for_a_picture_are_passed_on_or_refused(
    rows: list[tuple[float, float, float, float]],
) -> None:
    stdin = types.SimpleNamespace(buffer=io.BytesIO(json.dumps(rows).encode()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", stdin)
        source = FileProposer("-")
    wrong = [
        x2 < x1 or y2 < y1 or _outside(x1, x2, 100) or _outside(y1, y2, 80)
        for x1, y1, x2, y2 in rows
    ]
    if any(wrong):
        with pytest.raises(BoxError, match=r"standard input row [0-9]+: ") as caught:
            source.propose(Image.new("1", (100, 80)))
        assert_one_line(caught.value)
        return
    proposals = source.propose(Image.new("1", (100, 80)))
    assert proposals.boxes.tolist() == [list(map(float, row)) for row in rows]
    assert math.prod(proposals.scores.tolist()) == 1


def _outside(near: float, far: float, limit: float) -> bool:
    return (near < 0 and far <= 0) or (near >= limit and far > limit)
