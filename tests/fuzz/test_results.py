"""Detections and answers keep their parts together however they are cut and joined."""

import json

import numpy as np
from hypothesis import strategies as st

from fo1.parsing import parse_answer
from fo1.results import Answer, Detections
from tests.fuzz.budget import fuzz
from tests.fuzz.test_geometry import some_boxes
from tests.fuzz.texts import HOSTILE, pair

SIZE = (480, 640)


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    boxes = draw(some_boxes())
    count = len(boxes)
    labels = draw(st.lists(HOSTILE, min_size=count, max_size=count))
    scores = draw(st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count))
    regions = draw(st.lists(st.integers(-1, 2**40), min_size=count, max_size=count))
    return Detections(boxes, tuple(labels), np.float32(scores), np.int64(regions), SIZE)


def rows(found: Detections) -> list[tuple[list[float], str, float, int]]:
    return [(item.box.tolist(), item.label, item.score, item.region) for item in found]


@fuzz(detections(), st.data())
def test_every_index_selects_like_a_list(found: Detections, data: st.DataObject) -> None:
    whole = rows(found)
    count = len(whole)
    mask = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    assert rows(found[np.array(mask, dtype=bool)]) == [
        row for row, kept in zip(whole, mask, strict=True) if kept
    ]
    cut = data.draw(st.slices(count))
    assert rows(found[cut]) == whole[cut]
    if count:
        chosen = data.draw(st.lists(st.integers(-count, count - 1), max_size=8))
        assert rows(found[chosen]) == [whole[place] for place in chosen]
        assert rows(found[np.array(chosen, dtype=np.int64)]) == [whole[place] for place in chosen]
    threshold = data.draw(st.floats(0, 1, width=32))
    assert rows(found.filter(threshold)) == [row for row in whole if row[2] >= threshold]


@fuzz(st.lists(detections(), min_size=1, max_size=4))
def test_merged_parts_come_apart_again(parts: list[Detections]) -> None:
    merged = Detections.merge(parts)
    assert rows(merged) == [row for part in parts for row in rows(part)]
    start = 0
    for part in parts:
        assert merged[start : start + len(part)] == part
        start += len(part)


@fuzz(detections())
def test_rows_survive_json(found: Detections) -> None:
    again = json.loads(json.dumps(found.to_dicts(), allow_nan=False))
    # JSON joins two halves of a surrogate pair that happen to meet.
    assert [row["label"] for row in again] == json.loads(json.dumps(found.labels))
    assert [row["region"] for row in again] == found.regions.tolist()
    for row, box, score in zip(again, found.boxes, found.scores, strict=True):
        np.testing.assert_allclose(row["box"], box, rtol=1e-6, atol=0.0051)
        assert abs(row["score"] - score) <= 5.1e-5


ANSWERS = st.one_of(
    HOSTILE,
    st.lists(
        st.tuples(st.sampled_from(["cat", "dog", "red cup"]), st.lists(st.integers(0, 9))),
        max_size=4,
    ).map(lambda pairs: " and ".join(pair(*item) for item in pairs)),
)


@fuzz(st.lists(ANSWERS, min_size=1, max_size=4))
def test_merged_answers_hold_all_that_the_parts_held(texts: list[str]) -> None:
    apart = [parse_answer(text, 8) for text in texts]
    merged = Answer.merge(apart)
    assert merged.regions == tuple(
        dict.fromkeys(
            region
            for phrase in dict.fromkeys(item.phrase for part in apart for item in part.groundings)
            for part in apart
            for item in part.groundings
            if item.phrase == phrase
            for region in item.regions
        )
    )
    distinct = list({part.text: part for part in apart}.values())
    assert merged.text == "\n".join(part.text for part in distinct)
    said = [part.text[c.start : c.end] for part in distinct for c in part.citations]
    assert [merged.text[c.start : c.end] for c in merged.citations] == said
    assert set(merged.problems) == {line for part in apart for line in part.problems}
    assert Answer.merge([merged, merged]) == merged
