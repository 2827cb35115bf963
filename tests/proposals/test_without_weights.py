"""Selective search and the grid."""

import builtins

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fo1.errors import MissingExtraError
from fo1.geometry import box_iou
from fo1.proposals import get_proposer


def scene(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGB", size, (30, 90, 30))
    ImageDraw.Draw(image).ellipse(box, fill=(220, 40, 40))
    return image


@pytest.mark.parametrize("size", [(900, 500), (320, 400)])
def test_selective_search_finds_a_blob_and_repeats_itself(size) -> None:
    pytest.importorskip("cv2.ximgproc")
    box = (60, 80, 260, 300)
    proposer = get_proposer("selective-search")
    first, second = (proposer.propose(scene(size, box)) for _ in range(2))
    assert box_iou(np.float32([box]), first.boxes).max() > 0.9
    assert first == second
    assert first.source == "selective-search"
    assert (np.diff(first.scores) <= 0).all()
    assert 1 <= len(first) <= 100


def test_selective_search_without_opencv_names_the_install(monkeypatch) -> None:
    real = builtins.__import__

    def blocked(name, *rest):
        if name.startswith("cv2"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(MissingExtraError, match=r"pip install 'fo1\[opencv\]'"):
        get_proposer("selective-search")


def test_grid_covers_the_picture_from_coarse_to_fine() -> None:
    found = get_proposer("grid", limit=300).propose(Image.new("RGB", (300, 150)))
    assert found.boxes[0].tolist() == [0, 0, 300, 150]
    assert (np.diff(found.scores) <= 0).all()
    assert found.boxes.min(0).tolist()[:2] == [0, 0]
    smallest = found.boxes[found.scores == 0.25]
    for x, y in np.random.default_rng(0).uniform([0, 0], [300, 150], (200, 2)):
        inside = (smallest[:, :2] <= [x, y]).all(1) & (smallest[:, 2:] >= [x, y]).all(1)
        assert inside.any()
