"""What inspect tells is what a batch holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fo1.data.collator import IGNORED, Collator
from fo1.data.inspect import as_table, show_sample, statistics, summarise, write_samples
from fo1.data.sample import UNKNOWN, Dialogue, Query, Sample
from fo1.data.sampling import Sampling
from fo1.data.schema import Exchange, PictureRef, Record, TrueObject
from tests import tiny
from tests.data.records import scene


@pytest.fixture(scope="module")
def collator() -> Collator:
    return Collator(tiny.make_processor())


def sample(**changes: object) -> Sample:
    values: dict[str, object] = {
        "key": "a|b <key>",
        "images": (Image.new("RGB", (84, 56)),),
        "boxes": (np.array([[0, 0, 30, 30], [40, 10, 80, 50]], np.float32),),
        "queries": (Query("a cat", np.array([1, UNKNOWN], np.float32)),),
        "dialogues": (Dialogue((("What is <region1>?", "A dog."),), "describe"),),
        "names": (("cat", "animal"), ()),
    }
    return Sample(**(values | changes))  # type: ignore[arg-type]


def test_statistics_count_what_is_there() -> None:
    text = Record(key="text", turns=(Exchange("Why?", "So."),))
    facts = statistics([scene(), text], Sampling())
    assert (facts.records, facts.pictures, facts.objects) == (2, 1, 3)
    assert facts.names == {"cat": 2, "dog": 1}
    assert facts.per_picture == {"least": 3, "mean": 3, "median": 3, "most": 3}
    assert (facts.phrases, facts.captions, facts.turns) == (2, 1, 2)
    assert facts.tasks["general"] == 2
    assert facts.tasks["detect"] == facts.tasks["read"] == 1
    assert "cat 2, dog 1" in as_table(facts)


def test_sizes_are_those_of_coco() -> None:
    boxes = [(0, 0, 31, 31), (0, 0, 32, 32), (0, 0, 95, 95), (0, 0, 96, 96)]
    things = tuple(TrueObject(tuple(map(float, box))) for box in boxes)  # type: ignore[arg-type]
    facts = statistics(
        [Record(key="a", pictures=(PictureRef("a.png"),), objects=things)], Sampling()
    )
    assert facts.sizes == {"small": 1, "medium": 2, "large": 1}
    assert facts.unnamed == 4


def test_a_task_that_nothing_teaches_is_told_as_none() -> None:
    bare = replace(scene(), phrases=(), captions=(), turns=())
    tasks = statistics([bare], Sampling()).tasks
    assert tasks["refer"] == tasks["ground"] == tasks["general"] == 0
    assert tasks["describe"] == 1


def test_text_is_that_of_the_batch_with_what_is_learned_marked(collator: Collator) -> None:
    shown = show_sample(sample(), collator)
    batch = collator([sample()])
    assert shown.tokens == batch.packed.ids.numel()
    assert shown.learned == int((batch.labels != IGNORED).sum()) > 0
    (query, asked), (task, told) = shown.branches
    assert (query, task) == ("detect", "describe")
    assert "a cat" in asked
    assert "[[" not in asked
    before, learned = told.split("[[")
    assert "<region1>" in before
    assert learned.startswith("A dog.")
    assert " x " in shown.prefix  # the tokens of the picture


def test_text_alone_is_shown(collator: Collator, tmp_path: Path) -> None:
    talk = Dialogue((("Why?", "So."), ("And?", "Then ``` this.")), "general")
    bare = sample(images=(), boxes=(), queries=(), dialogues=(talk,), names=())
    page = write_samples([show_sample(bare, collator)], tmp_path).read_text()
    assert "````text" in page  # backticks in a text do not end its block
    assert page.count("[[") - 1 == 2  # one in the head of the page


def test_page_numbers_regions_as_in_the_prompt(collator: Collator, tmp_path: Path) -> None:
    shown = [show_sample(sample(), collator)]
    page = write_samples(shown, tmp_path / "out").read_text()
    assert "| 0 | 0, 0, 30, 30 | cat, animal |" in page
    assert "| 1 | 40, 10, 80, 50 |  |" in page
    assert "| a cat | detect | 0 | - | 1 |" in page
    assert "a\\|b &lt;key>" in page
    with Image.open(tmp_path / "out" / "sample-000-0.png") as image:
        assert image.size == (84, 56)
    drawn = summarise(shown)
    assert drawn["regions (share)"] == {"shows a named thing": 0.5, "shows none": 0.5}
    assert drawn["targets (share)"] == {"meant": 0.5, "not meant": 0.0, "unknown": 0.5}
