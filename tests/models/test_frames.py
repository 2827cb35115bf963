"""Frames: where the pixels of a picture end up, and boxes there and back."""

import numpy as np
import pytest
from PIL import Image

from fo1.models.frames import letterbox, stretch

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
SIZES = [(640, 320), (320, 640), (100, 100), (333, 77), (2000, 3), (1, 1)]


@pytest.mark.parametrize("place", [letterbox, stretch])
@pytest.mark.parametrize("size", SIZES)
def test_boxes_return_from_the_frame_and_stay_inside_it(place, size) -> None:
    width, height = size
    pixels, placement = place(Image.new("RGB", size), 64, MEAN, STD)
    boxes = np.float32([[0, 0, width, height], [0.2 * width, 0.1 * height, 0.5 * width, height]])
    inside = placement.to_frame(boxes)
    assert pixels.shape == (1, 3, 64, 64)
    assert inside.min() >= 0
    assert inside.max() <= 64
    np.testing.assert_allclose(placement.to_picture(inside), boxes, rtol=1e-4, atol=1e-3 * width)


@pytest.mark.parametrize("place", [letterbox, stretch])
@pytest.mark.parametrize("size", [(640, 320), (320, 640)])
def test_a_lit_square_is_found_where_its_box_says(place, size) -> None:
    box = (80, 160, 160, 280)
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), box)
    pixels, placement = place(image, 64, (0.0,) * 3, (255.0,) * 3)
    x1, y1, x2, y2 = placement.to_frame(np.float32([box]))[0].round().astype(int)
    lit = np.zeros((64, 64), bool)
    lit[y1:y2, x1:x2] = True
    np.testing.assert_array_equal(pixels[0, 0].numpy() > 0.5, lit)


def test_letterbox_keeps_the_aspect_ratio_and_centres() -> None:
    _, placement = letterbox(Image.new("RGB", (400, 200)), 64, MEAN, STD)
    assert placement.scale == (0.16, 0.16)
    assert placement.offset == (0, 16)


def test_bars_are_black_before_normalisation_and_colours_keep_their_order() -> None:
    image = Image.new("RGB", (64, 32), (200, 50, 10))
    pixels, _ = letterbox(image, 64, MEAN, STD)
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([-100 / 50, -110 / 60, -120 / 70])
    assert pixels[0, :, 32, 32].tolist() == pytest.approx([100 / 50, -60 / 60, -110 / 70])
