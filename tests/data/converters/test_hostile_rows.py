"""Whatever stands in a row about language, a converter gives checked records and bad rows, or one line of error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fo1.data.converters import BadRows
from fo1.data.schema import Record
from fo1.errors import InputError
from tests.data.converters import test_conversations as conversations
from tests.data.converters import test_counts as counts
from tests.data.converters import test_flickr30k as flickr30k
from tests.data.converters import test_grit as grit
from tests.data.converters import test_refcoco as refcoco
from tests.data.converters import test_region_conversations as regions
from tests.data.converters import test_visual_genome as visual_genome
from tests.data.converters.drawn import read
from tests.data.converters.test_hostile import spots

Made = tuple[Path, Path]
"""What is converted, and the document in which junk is to stand."""

WORDS = (
    "<image>",
    "<region1>",
    "<bbox_location0>",
    "[0, 0, 999999, 1]",
    "[1,1,2,2]",
    "\ud800",
    "0",
)
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([*WORDS, 10**400, -1, 0, 1, 11, 1058498])
    | st.builds(list)
    | st.builds(lambda: [0, 0, 9, 9]),  # new each time, since junk may be put into junk
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
LIMITS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def in_lines(write: Callable[..., Path], *rows: object, **names: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        path = write(folder, *rows, **names)
        return path, path

    return make


def of_visual_genome(name: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        things = [visual_genome.thing()]
        visual_genome.write(folder, things, [visual_genome.GREEN], [visual_genome.region()])
        return folder, folder / name

    return make


def of_refcoco(name: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        path = refcoco.write(folder, refcoco.REFS, name="refs(unc).json")
        return path, path.parent / name

    return make


DOCUMENTS: dict[str, tuple[str, Callable[[Path], Made]]] = {
    "grit": ("grit", in_lines(grit.write, grit.GOOD, grit.GOOD)),
    "counts": ("counts", in_lines(counts.write, counts.GOOD, counts.GOOD)),
    "conversations": (
        "conversations",
        in_lines(conversations.write, conversations.GOOD, conversations.GOOD),
    ),
    "regions": (
        "region-conversations",
        in_lines(regions.write, regions.OSPREY, regions.FERRET, regions.INLINE),
    ),
    "refs": ("refcoco", of_refcoco("refs(unc).json")),
    "instances": ("refcoco", of_refcoco("instances.json")),
    "objects": ("visual-genome", of_visual_genome("objects.json")),
    "attributes": ("visual-genome", of_visual_genome("attributes.json")),
    "descriptions": ("visual-genome", of_visual_genome("region_descriptions.json")),
    "pictures": ("visual-genome", of_visual_genome("image_data.json")),
}


def load(path: Path) -> Any:
    text = path.read_text()
    return [*map(json.loads, text.split("\n"))] if path.suffix == ".jsonl" else json.loads(text)


def save(path: Path, document: Any) -> None:
    lines = path.suffix == ".jsonl" and isinstance(document, list)
    path.write_text("\n".join(map(json.dumps, document)) if lines else json.dumps(document))


def convert(name: str, source: Path) -> dict[str, Record]:
    """Return the records; fails where anything but one line of error or of a bad row comes out."""
    problem, records, bad = "", dict[str, Record](), BadRows()
    try:
        records, bad = read(name, source)
    except InputError as error:
        problem = str(error)
    assert not {"\n", "\ud800"} & set(problem)
    for row in bad.bad:
        assert not {"\n", "\ud800"} & set(str(row))
    assert len(bad.bad) <= bad.rows
    return records


@pytest.mark.parametrize("case", DOCUMENTS)
@LIMITS
@given(data=st.data())
def test_junk_anywhere_in_a_document(tmp_path: Path, case: str, data: st.DataObject) -> None:
    name, make = DOCUMENTS[case]
    source, path = make(tmp_path)
    document = load(path)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(spots(document)))
        container[key] = data.draw(JUNK)
        if not spots(document):
            break
    save(path, document)
    assert len(convert(name, source)) <= 3


@LIMITS
@given(
    content=st.binary(max_size=40)
    | st.text("[]/EN#12 peoplabx<>region0\n\r", max_size=60)
    | st.sampled_from(["[/EN#1/people <region0>]", "[/EN#1/a [/EN#2/b c]]", "[/EN#1/a  ]"]),
    annotations=st.none()
    | st.binary(max_size=40)
    | st.text("<>/annotationobjectnamebndbox", max_size=60),
)
def test_junk_in_sentences_and_annotations(
    tmp_path: Path, content: bytes | str, annotations: bytes | str | None
) -> None:
    flickr30k.write(tmp_path)
    for path, junk in (
        (tmp_path / f"Sentences/{flickr30k.NAME}.txt", content),
        (tmp_path / f"Annotations/{flickr30k.NAME}.xml", annotations),
    ):
        if junk is not None:
            path.write_bytes(junk if isinstance(junk, bytes) else junk.encode())
    assert len(convert("flickr30k-entities", tmp_path)) <= 1
