"""Masks as run lengths: against pycocotools and against pixels counted one by one."""

from typing import Any

import numpy as np
import pytest

from fo1 import Detections, InputError
from fo1.masks import PARTS, Masks, compress, decompress
from fo1.polygons import fill

FIELDS = ("boxes", "labels", "scores", "regions", "image_size")
RNG = np.random.default_rng(0)


def random_masks(count: int) -> list[np.ndarray]:
    """Return (H, W) masks from empty to full, one pixel to a few hundred."""
    sizes = RNG.integers(1, 19, (count, 2))
    return [RNG.random(size) < RNG.random() * 1.4 - 0.2 for size in sizes]


def ring() -> np.ndarray:
    """Return a mask with a hole, in which there is an island with a hole of its own."""
    mask = np.ones((15, 17), bool)
    mask[2:13, 2:15] = False
    mask[4:11, 4:13] = True
    mask[7, 8] = False
    return mask


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own arrays, under numpy 2
def test_run_lengths_and_boxes_are_those_of_coco() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    for mask in [*random_masks(200), ring()]:
        ours = Masks.from_array(mask[None])
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        (rle,) = ours.to_rle()
        assert rle == {"size": theirs["size"], "counts": theirs["counts"].decode()}
        assert np.array_equal(decompress(rle["counts"]), ours.runs[0])
        assert ours.areas() == coco.area(theirs)
        x, y, width, height = coco.toBbox(theirs)
        if mask.any():
            assert ours.boxes()[0].tolist() == [x, y, x + width, y + height]
    long = Masks.from_array(np.repeat(ring(), 4000, axis=1)[None])  # differences of many letters
    assert coco.decode(long.to_rle()[0]).astype(bool).tolist() == long.decode(0).tolist()


def test_there_and_back() -> None:
    for mask in random_masks(50):
        masks = Masks.from_array(np.stack([mask, ~mask]))
        assert np.array_equal(masks.to_array(), np.stack([mask, ~mask]))
        assert masks[1:] == Masks.from_array(~mask[None])
        assert masks[[1, 0]] == Masks.merge([masks[1:], masks[:1]], mask.shape)
        assert len(masks[[]]) == 0
        assert masks != masks[[1, 0]]
    assert Masks((), (4, 5)).to_array().shape == (0, 4, 5)
    assert Masks.from_array([[[0, 1], [1, 1]]]) == Masks.from_array([[[False, True], [True, True]]])


def test_empty_runs_change_nothing() -> None:
    runs = Masks.from_array([[[1, 0, 1]]]).runs[0]
    assert runs.tolist() == [0, 1, 1, 1]
    assert Masks((np.array([0, 1, 0, 0, 1, 1, 0]),), (1, 3)).runs[0].tolist() == [0, 1, 1, 1]


def test_polygons_cover_the_mask_exactly() -> None:
    for mask in [*random_masks(150), ring(), np.pad(ring(), 3)]:
        (polygons,) = Masks.from_array(mask[None]).to_polygons()
        corners = [np.array(one).reshape(-1, 2) for one in polygons]
        assert np.array_equal(fill(corners, mask.shape), mask)
        areas = [_area(one) for one in corners]
        assert sum(areas) == mask.sum()  # nothing twice, no holes
        assert all(area > 0 for area in areas)


def _area(corners: np.ndarray) -> float:
    following = np.roll(corners, -1, axis=0)
    return float((corners[:, 0] * following[:, 1] - following[:, 0] * corners[:, 1]).sum() / 2)


def test_filling_asks_where_centres_lie() -> None:
    """Against the crossing rule, pixel by pixel, also for what leaves the picture and crosses itself."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        corners = rng.random((rng.integers(3, 7), 2)) * 30 - 6
        found = fill([corners], (14, 18))
        for y in range(14):
            for x in range(18):
                inside = False
                for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                    if (y0 > y + 0.5) != (y1 > y + 0.5):
                        inside ^= x0 + (y + 0.5 - y0) / (y1 - y0) * (x1 - x0) <= x + 0.5
                assert found[y, x] == inside


def test_over_boxes_is_the_share_of_each_part() -> None:
    """Against sums over pixels; boxes with fractional edges, beyond the picture, without width."""
    mask = ring()
    boxes = np.float32([[1.25, 2.5, 12.75, 9.5], [-4, -4, 9, 30], [3, 3, 3, 9], [0, 0, 17, 15]])
    found = Masks.from_array(np.stack([mask] * 4)).over(boxes, 4)
    for row, (x1, y1, x2, y2) in enumerate(np.clip(boxes, 0, [17, 15, 17, 15]).tolist()):
        x2 = max(x2, x1 + 1e-4)
        for p in range(4):
            for q in range(4):
                top, low = (y1 + (y2 - y1) * (p + i) / 4 for i in (0, 1))
                left, right = (x1 + (x2 - x1) * (q + i) / 4 for i in (0, 1))
                total = 0.0
                for y, x in np.argwhere(mask):
                    high = max(min(low, y + 1) - max(top, y), 0)
                    total += high * max(min(right, x + 1) - max(left, x), 0)
                assert found[row, p, q] == pytest.approx(
                    total / ((low - top) * (right - left)), abs=1e-3 if row == 2 else 1e-6
                )


def test_over_its_own_box_a_rectangle_is_whole() -> None:
    mask = np.zeros((40, 60), bool)
    mask[7:31, 11:54] = True
    masks = Masks.from_array(mask[None])
    assert masks.over(masks.boxes()).tolist() == np.ones((1, PARTS, PARTS)).tolist()
    inner = np.float32([[11.3, 8.9, 50.01, 30.99]])
    assert masks.over(inner).min() == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Masks.from_array(np.zeros((3, 4), bool)), "shape (3, 4)"),
        (lambda: Masks.from_array(np.full((1, 2, 2), 0.3)), "masks > 0.5"),
        (lambda: Masks((np.array([3, 2]),), (2, 3)), "make 5 pixels, the picture has 6"),
        (lambda: Masks((np.array([-1, 7]),), (2, 3)), "mask 0"),
        (lambda: decompress("a b"), "' '"),
        (lambda: decompress("o"), "middle of a number"),
        (lambda: decompress("o" * 30), "'o'"),
    ],
)
def test_what_is_no_mask(make, words: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_run_lengths_compress_like_any_numbers() -> None:
    runs = np.array([0, 5, 1, 70000, 2, 3, 10**9])
    assert decompress(compress(runs)).tolist() == runs.tolist()


def detections() -> Detections:
    masks = Masks.from_array(np.stack([np.eye(10, dtype=bool), np.tri(10, dtype=bool)]))
    return Detections(
        masks.boxes(), ("cat", "cup"), [0.9, 0.2], [3, 7], image_size=(10, 10), masks=masks
    )


def test_detections_carry_masks() -> None:
    found = detections()
    assert found[found.scores > 0.5].masks == found.masks[:1]
    assert Detections.merge([found, Detections.empty((10, 10))]).masks == found.masks
    bare = Detections(found.boxes, found.labels, found.scores, found.regions, (10, 10))
    assert found != bare
    arrays: Any = found.masks.to_array()
    assert found == Detections(*(getattr(bare, name) for name in FIELDS), masks=arrays)
    assert Detections.merge([found, bare]).masks is None
    assert found.to_dicts()[1]["mask"] == found.masks.to_rle()[1]
    assert "mask" not in bare.to_dicts()[0]
    with pytest.raises(InputError, match=r"got 1 masks .* for 2 boxes"):
        Detections(bare.boxes, ("a", "b"), [1, 1], [0, 1], (10, 10), masks=found.masks[:1])


def test_masks_go_to_supervision_and_back() -> None:
    pytest.importorskip("supervision")
    found = detections()
    there = found.to_supervision()
    assert there.mask.dtype == bool
    back = Detections.from_supervision(there, (10, 10))
    assert back == found
