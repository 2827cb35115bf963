"""Proposers made of proposers."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from fo1.errors import InputError
from fo1.proposals import BestProposer, TiledProposer, UnionProposer, get_proposer, prompted
from fo1.results import Proposals

PICTURE = Image.new("RGB", (100, 60))


class Fixed:
    """Finds the same boxes in every picture."""

    name = "fixed"

    def __init__(self, boxes, scores, labels=None) -> None:
        self.found = Proposals(boxes, scores, self.name, labels)

    def propose(self, image: Image.Image) -> Proposals:
        return self.found


class Wordy(Fixed):
    """Says in its labels what it was told."""

    def __init__(self, names=("object",)) -> None:
        super().__init__([[0, 0, 9, 9]] * len(names), [0.5] * len(names), names)

    def prompted(self, names):
        return Wordy(tuple(names))


class Bright:
    """Finds the bright rectangle that it sees, whole or cut, with its share of the view as score."""

    name = "bright"

    def propose(self, image: Image.Image) -> Proposals:
        rows, columns = np.nonzero(np.asarray(image.convert("L")) > 128)
        if not len(rows):
            return Proposals.empty(self.name)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        share = (box[2] - box[0]) * (box[3] - box[1]) / (image.width * image.height)
        return Proposals([box], [share], self.name, ("light",))


def picture(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Image.Image:
    made = Image.new("RGB", size)
    for box in boxes:
        made.paste((255, 255, 255), box)
    return made


def test_the_best_of_a_proposer() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]
    many = Fixed(boxes, [0.8, 0.9, 0.1, 0.5, 0.6], ("a", "b", "c", "d", "e"))
    found = BestProposer(many, 2, threshold=0.2).propose(PICTURE)
    assert found.labels == ("b", "e")
    assert BestProposer(many).propose(PICTURE).labels == ("b", "e", "d", "c")
    assert BestProposer(many, overlap=1).propose(PICTURE).labels == ("b", "a", "e", "d", "c")
    nothing = BestProposer(many, threshold=0.95).propose(PICTURE)
    assert nothing.boxes.tolist() == [[0, 0, 100, 60]]


def test_a_union_keeps_labels_of_those_that_have_them() -> None:
    named = Fixed([[0, 0, 9, 9], [20, 0, 29, 9]], [0.2, 0.1], ("cat", "cup"))
    plain = Fixed([[40, 0, 49, 9]], [0.9])
    assert UnionProposer([named, plain]).propose(PICTURE).labels == ("cat", "", "cup")
    assert UnionProposer([plain, plain]).propose(PICTURE).labels is None


def test_words_reach_those_that_take_them() -> None:
    plain = Fixed([[40, 0, 49, 9]], [0.9])
    made = UnionProposer([BestProposer(TiledProposer(Wordy())), plain], limit=7)
    asked = prompted(made, ["cat"])
    assert asked.propose(PICTURE).labels == ("cat", "")
    assert made.propose(PICTURE).labels == ("object", "")
    assert asked.limit == 7
    assert asked.proposers[1] is plain


def test_small_things_are_found_in_tiles_and_put_back_in_place() -> None:
    small, far = (300, 200, 310, 208), (620, 390, 640, 400)
    found = TiledProposer(Bright(), tile=160).propose(picture((640, 400), small, far))
    assert {small, far} <= {tuple(map(int, box)) for box in found.boxes}
    assert set(found.labels) == {"light"}
    assert found.source == "tiled bright"


def test_what_a_tile_cuts_is_left_to_the_whole() -> None:
    """A box over several tiles is found once, as it is, though each of them sees a part."""
    large = (100, 50, 500, 350)
    found = TiledProposer(Bright(), tile=160).propose(picture((640, 400), large))
    assert found.boxes.tolist() == [list(large)]
    touching = (0, 0, 30, 20)  # the picture's border cuts nothing
    found = TiledProposer(Bright(), tile=160).propose(picture((640, 400), touching))
    assert found.boxes.tolist() == [list(touching)]


@pytest.mark.parametrize("size", [(640, 400), (161, 160), (1000, 50), (700, 699)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_tiles_cover_the_picture_and_overlap(size, overlap: float) -> None:
    tiles = TiledProposer(Bright(), tile=160, overlap=overlap).tiles(size)
    seen = np.zeros(size[::-1], int)
    for left, top, right, bottom in tiles:
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        assert (right - left, bottom - top) == (min(160, size[0]), min(160, size[1]))
        seen[top:bottom, left:right] += 1
    assert seen.min() >= 1
    for side in (0, 1):
        starts = sorted({tile[side] for tile in tiles})
        assert all(b - a <= 160 * (1 - overlap) + 1 for a, b in pairwise(starts))
    assert len(tiles) == len(set(tiles))


def test_a_picture_of_one_tile_is_seen_once() -> None:
    assert TiledProposer(Bright(), tile=160).tiles((160, 90)) == []
    assert TiledProposer(Bright(), tile=160).tiles((161, 90)) == [(0, 0, 160, 90), (1, 0, 161, 90)]


def test_tiled_detectors_have_a_name() -> None:
    made = get_proposer("tiled", limit=20)
    assert made.name == "tiled nanodet+tiled ssd"
    assert 1 <= len(made.propose(picture((700, 100), (10, 10, 60, 80)))) <= 20


def test_wrong_use() -> None:
    fixed = Fixed([], [])
    with pytest.raises(InputError, match="no proposers to unite"):
        UnionProposer([])
    with pytest.raises(InputError, match=r"overlap is 1.5; give a number from 0 to 1"):
        BestProposer(fixed, overlap=1.5)
    with pytest.raises(InputError, match="threshold is nan"):
        BestProposer(fixed, threshold=float("nan"))
    with pytest.raises(InputError, match="tile is 0 pixels"):
        TiledProposer(fixed, tile=0)
    with pytest.raises(InputError, match=r"overlap is 0.95 of a tile; give 0.9 at most"):
        TiledProposer(fixed, overlap=0.95)
    with pytest.raises(InputError, match="limit is 0"):
        TiledProposer(fixed, 0)
