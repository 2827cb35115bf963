"""The exported graphs against torch, on real pictures: given boxes, proposals, detections."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fo1.errors import FO1Error
from fo1.geometry import box_iou
from tests.onnx.conftest import PHOTOS, boxes_in

pytestmark = pytest.mark.timeout(900)

SYNONYMS = ["cup", "mug", "teacup", "dogs", "a cat", "the kitten"]
EXPRESSIONS = ["the red cup on the left", "spoon beside the cup", "a striped cat's ear", "xyzzy"]
MANY = [f"{first} {second}" for first in ("red", "small") for second in (*SYNONYMS, *EXPRESSIONS)]
QUERIES = {
    "one": ["cup"],
    "synonyms": SYNONYMS,
    "expressions": EXPRESSIONS,
    "more than a pass": [f"{query} {number}" for query in MANY for number in range(4)],
}
GIVEN_TOLERANCE = 1e-4
"""Of a probability, boxes given: one pixel in a thousand may differ by 1/255 in what the host sees."""
TINY_TOLERANCE = 5e-4
"""The same, of a picture of a few pixels: contrasts are differences of next to nothing there, standardised."""
SHRUNK_TOLERANCE = 1e-3
"""The same, of pictures that are first brought to 2048 pixels: all encoders see that difference."""
PROPOSED_TOLERANCE = 2e-3
"""Of a score, boxes proposed: the detectors' input differs in one pixel in a hundred, by 1/255."""


@pytest.fixture(scope="module")
def graphs(exported: Path) -> Any:
    from fo1.onnx import OnnxModel

    return OnnxModel(exported, threads=1)


@pytest.mark.parametrize("picture", ["coffee", "chelsea", "standing", "large", "strip", "tiny"])
@pytest.mark.parametrize("count", [1, 2, 7, 130])
def test_probabilities_of_given_boxes(
    nano: Any, graphs: Any, pictures: dict[str, Image.Image], picture: str, count: int
) -> None:
    image = pictures[picture]
    boxes, queries = boxes_in(image, count), [*SYNONYMS, *EXPRESSIONS]
    theirs = nano.encode(image, boxes).scores(queries)
    ours = graphs.scores(image, boxes, queries)
    assert ours.shape == (count, len(queries))
    other = {"large": SHRUNK_TOLERANCE, "tiny": TINY_TOLERANCE}
    tolerance = other.get(picture, GIVEN_TOLERANCE)
    np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0)


@pytest.mark.parametrize("queries", QUERIES.values(), ids=QUERIES)
def test_any_number_of_queries(
    nano: Any, graphs: Any, pictures: dict[str, Image.Image], queries: list[str]
) -> None:
    image = pictures["coffee"]
    boxes = boxes_in(image, 5)
    theirs = nano.encode(image, boxes).scores(queries)
    ours = graphs.scores(image, boxes, queries)
    np.testing.assert_allclose(ours, theirs, atol=GIVEN_TOLERANCE, rtol=0)


def test_the_probabilities_say_something(graphs: Any, pictures: dict[str, Image.Image]) -> None:
    """Guards the comparisons above: they are not all alike, nor is their tolerance too wide."""
    boxes = [[172, 21, 419, 323], [0, 300, 150, 400]]
    cup, corner = graphs.scores(pictures["coffee"], boxes, ["cup", "dog"])
    assert cup[0] > 0.9
    assert max(cup[1], *corner) < 0.5


def test_no_boxes(graphs: Any, pictures: dict[str, Image.Image]) -> None:
    assert graphs.scores(pictures["coffee"], np.zeros((0, 4)), ["cup"]).shape == (0, 1)
    assert len(graphs.detect(pictures["coffee"], "cup", boxes=[])) == 0


@pytest.mark.parametrize("picture", ["coffee", "chelsea", "standing", "large", "strip", "tiny"])
def test_proposals(nano: Any, graphs: Any, pictures: dict[str, Image.Image], picture: str) -> None:
    """Most are the same; of two copies of a box that score alike, rounding decides which one stays."""
    image = pictures[picture]
    theirs, ours = nano.propose(image), graphs.propose(image)
    assert len(ours) == len(theirs)
    assert ours.source == theirs.source
    overlap = box_iou(theirs.boxes, ours.boxes)
    nearest = overlap.argmax(1)
    same = overlap[np.arange(len(theirs)), nearest] > 0.95
    assert same[:10].mean() >= 0.9
    assert same.mean() > 0.8
    differ = np.abs(theirs.scores - ours.scores[nearest])[same]
    assert np.median(differ) < PROPOSED_TOLERANCE


def test_a_picture_without_anything(graphs: Any) -> None:
    found = graphs.propose(Image.new("RGB", (1, 1)))
    assert found.boxes.tolist() == [[0, 0, 1, 1]]
    assert found.scores.tolist() == [0]


@pytest.mark.parametrize("name", PHOTOS)
def test_detections(nano: Any, graphs: Any, name: str) -> None:
    queries = ["cup", "cat", "dog", "spoon", "the saucer"]
    theirs = nano.detect(PHOTOS[name], queries, 0.3)
    ours = graphs.detect(PHOTOS[name], queries, 0.3)
    assert len(theirs) > 0
    assert ours.labels == theirs.labels
    assert ours.image_size == theirs.image_size
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.5)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=PROPOSED_TOLERANCE)


def test_a_name_is_asked_once_and_cleaned(graphs: Any) -> None:
    boxes = [[172, 21, 419, 323]]
    found = graphs.detect(PHOTOS["coffee"], ["cup", " cup ", "<cup>"], 0.0, boxes=boxes)
    assert found.labels == ("cup", "\u2039cup\u203a")


def test_the_folder_is_whole(exported: Path) -> None:
    names = {file.name for file in exported.iterdir()}
    assert names >= {"propose.onnx", "encode.onnx", "score.onnx", "manifest.json"}
    assert names >= {"tokenizer.json", "lexicon.json.gz", "LICENSE-WordNet.txt", "NOTICE"}
    assert sum(file.stat().st_size for file in exported.iterdir()) < 50e6


def test_thresholds_and_queries_are_refused_as_torch_does(graphs: Any, nano: Any) -> None:
    picture = Image.new("RGB", (60, 40))
    for words in (
        {"names": ["cup"], "threshold": 2.0},
        {"names": ["cup"], "threshold": float("nan")},
        {"names": ["cup"], "threshold": "x"},
        {"names": []},
        {"names": [""]},
        {"names": None},
        {"names": 3},
        {"names": "x" * 1001},
    ):
        told = []
        for model in (graphs, nano):
            with pytest.raises(FO1Error) as error:
                model.detect(picture, *[words["names"]], threshold=words.get("threshold"))
            told.append((type(error.value), str(error.value)))
        assert told[0] == told[1]
