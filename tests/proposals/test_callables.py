"""Functions as proposers, and what they may return."""

import numpy as np
import pytest
import torch
from PIL import Image

from fo1.errors import BoxError, InputError
from fo1.proposals import CallableProposer, as_proposals, as_proposer
from fo1.results import Proposals

PICTURE = Image.new("RGB", (40, 30))
BOXES = [[1, 2, 9, 8], [3, 3, 30, 20]]


@pytest.mark.parametrize(
    ("returned", "scores", "labels"),
    [
        (BOXES, [1, 1], None),
        (tuple(map(tuple, BOXES)), [1, 1], None),
        (np.array(BOXES), [1, 1], None),
        (torch.tensor(BOXES), [1, 1], None),
        ((BOXES, [0.5, 0.25]), [0.5, 0.25], None),
        ((np.array(BOXES), torch.tensor([0.5, 0.25]), ["a", "b"]), [0.5, 0.25], ("a", "b")),
        (Proposals(BOXES, [0.5, 0.25], labels=("a", "b")), [0.5, 0.25], ("a", "b")),
    ],
)
def test_what_a_function_may_return(returned, scores, labels) -> None:
    def mine(image: Image.Image):
        assert np.array_equal(image, PICTURE)
        return returned

    proposer = as_proposer(mine)
    found = proposer.propose(PICTURE)
    assert found.boxes.tolist() == BOXES
    assert found.scores.tolist() == scores
    assert found.labels == labels
    assert proposer.name == "mine"
    assert found.source == ("" if isinstance(returned, Proposals) else "mine")


@pytest.mark.parametrize("nothing", [[], ([], []), np.zeros((0, 4)), (np.zeros((0, 4)), [])])
def test_nothing_is_nothing(nothing) -> None:
    assert len(as_proposals(nothing, "mine")) == 0


def test_boxes_of_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    xyxy = np.array(BOXES, np.float32)
    bare = as_proposals(supervision.Detections(xyxy), "mine")
    assert (bare.boxes.tolist(), bare.scores.tolist(), bare.labels) == (BOXES, [1, 1], None)
    full = supervision.Detections(
        xyxy, confidence=np.array([0.5, 0.25]), data={"class_name": np.array(["a", "b"])}
    )
    found = as_proposals(full, "mine")
    assert (found.scores.tolist(), found.labels, found.source) == ([0.5, 0.25], ("a", "b"), "mine")
    assert len(as_proposals(supervision.Detections.empty(), "mine")) == 0


def test_a_function_may_draw_on_what_it_sees() -> None:
    picture = Image.new("RGB", (20, 10), "white")

    def draws(image: Image.Image) -> list[list[float]]:
        image.paste("black", (0, 0, 20, 10))
        return [[0, 0, 9, 9]]

    CallableProposer(draws).propose(picture)
    assert picture.getpixel((0, 0)) == (255, 255, 255)


def test_a_callable_object_is_called_by_its_class_or_as_it_says() -> None:
    class Finder:
        def __call__(self, image):
            return BOXES

    assert as_proposer(Finder()).name == "Finder"
    assert CallableProposer(Finder(), "mine").propose(PICTURE).source == "mine"
    known = CallableProposer(Finder())
    assert as_proposer(known) is known


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (None, "boxes of 'mine': cannot read boxes from NoneType"),
        ("boxes", "boxes of 'mine': cannot read boxes from str"),
        ([[1, 2, 3], [1, 2, 3, 4]], "boxes of 'mine' row 0: got 3 numbers, need 4"),
        ((BOXES, [0.5]), "got 2 boxes but 1 scores"),
        ((BOXES, [0.5, 7]), "score 1 is 7; scores lie between 0 and 1"),
        ((BOXES, ["high", "low"]), "cannot read scores from list; give one number a box"),
        ((BOXES, [0.5, 0.5], ["cat"]), "got 2 boxes but 1 labels"),
    ],
)
def test_what_it_may_not(returned, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as told:
        CallableProposer(lambda image: returned, "mine").propose(PICTURE)
    assert "\n" not in str(told.value)
    assert isinstance(told.value, BoxError) == problem.startswith("boxes")


@pytest.mark.parametrize("given", [3, None, ["grid"], CallableProposer])
def test_what_proposes_nothing(given) -> None:
    with pytest.raises(InputError, match=r"proposer is .*; give a name .*, or a function of a pic"):
        as_proposer(given)
