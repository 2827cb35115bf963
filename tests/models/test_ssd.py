"""SSD: anchors, decoding against a loop, and the packaged weights against the original model."""

import math

import pytest
import torch

from fo1.models.ssd import FRAME, GRIDS, Predictor, SSDMobileNetV2, anchor_boxes, decode
from fo1.proposals.detector import read_weights

from .test_nanodet import pattern


@torch.no_grad()
def test_one_row_per_anchor_and_published_size() -> None:
    model = SSDMobileNetV2().eval()
    pixels = torch.randn(2, 3, FRAME, FRAME)
    boxes, probabilities = model(pixels)
    assert boxes.shape == (2, 1917, 4)
    assert probabilities.shape == (2, 1917, 23)
    assert [tuple(m.shape[-2:]) for m in model.maps(pixels)] == [(g, g) for g in GRIDS]
    assert sum(weight.numel() for weight in model.parameters()) == 4_951_996
    again = model(pixels)
    assert torch.equal(boxes, again[0])
    assert torch.equal(probabilities, again[1])


def test_anchors_of_the_finest_and_the_coarsest_map() -> None:
    anchors = torch.tensor(anchor_boxes())
    assert anchors.shape == (1917, 4)
    first = [(0.1, 0.1), (0.2 * 2**0.5, 0.2 / 2**0.5), (0.2 / 2**0.5, 0.2 * 2**0.5)]
    for row, (width, height) in enumerate(first):
        assert anchors[row].tolist() == pytest.approx([0.5 / 19, 0.5 / 19, width, height])
    # The second cell lies to the right of the first.
    assert anchors[3, :2].tolist() == pytest.approx([1.5 / 19, 0.5 / 19])
    last = anchors[-6:]
    assert (last[:, :2] == 0.5).all()
    assert last[0, 2:].tolist() == pytest.approx([0.95, 0.95])
    assert last[-1, 2:].tolist() == pytest.approx([0.95**0.5] * 2)
    assert (last[:, 2] / last[:, 3]).tolist() == pytest.approx([1, 2, 1 / 2, 3, 1 / 3, 1])


def test_decode_equals_a_loop_over_anchors() -> None:
    torch.manual_seed(0)
    encodings, anchors = torch.randn(2, 7, 4), torch.rand(7, 4) + 0.1
    boxes = decode(encodings, anchors)
    for picture in range(2):
        for number, (cx, cy, width, height) in enumerate(anchors.tolist()):
            ty, tx, th, tw = encodings[picture, number].tolist()
            x, y = cx + tx * width / 10, cy + ty * height / 10
            w, h = width * math.exp(tw / 5), height * math.exp(th / 5)
            corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            expected = [value * 300 for value in corners]
            assert boxes[picture, number].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-2)


@torch.no_grad()
def test_predictor_lists_cells_row_by_row_and_anchors_within_a_cell() -> None:
    predictor = Predictor(inputs=5, num_anchors=2, num_logits=3)
    features = torch.randn(1, 5, 2, 3)
    boxes, logits = predictor(features)
    maps, classes = predictor.boxes(features), predictor.classes(features)
    number = 0
    for row in range(2):
        for column in range(3):
            for anchor in range(2):
                four = slice(4 * anchor, 4 * anchor + 4)
                three = slice(3 * anchor, 3 * anchor + 3)
                assert torch.equal(boxes[0, number], maps[0, four, row, column])
                assert torch.equal(logits[0, number], classes[0, three, row, column])
                number += 1


def test_another_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=r"320 x 300 px, not 300 x 300"):
        SSDMobileNetV2()(torch.zeros(1, 3, 320, 300))


@torch.no_grad()
def test_packaged_weights_give_the_numbers_of_the_original_model() -> None:
    """The expected numbers were read from the packaged model run by LiteRT."""
    model = read_weights(SSDMobileNetV2(), None, "ssd").eval()
    encodings, logits = model.raw(pattern(300) / 2)
    expected = [
        (1080, 3, -3.1094828, [1.2074, 1.3769, -6.2496, -5.7215]),
        (1644, 3, -3.8085294, [-0.1218, 1.2397, -2.2741, 1.1798]),
        (1784, 3, -3.2260776, [-0.9398, -0.1063, 1.5377, 0.1561]),
        (1862, 17, -1.9562042, [0.0273, -0.0671, 1.6129, 1.6034]),
        (1909, 3, -2.738232, [-1.7369, 0.0316, -1.7422, 0.2668]),
        (1916, 17, -1.8477728, [0.0761, 0.0529, 0.0545, -0.0319]),
    ]
    for row, label, logit, four in expected:
        assert logits[0, row, 1:].argmax().item() == label
        assert logits[0, row, 1 + label].item() == pytest.approx(logit, abs=1e-4)
        assert encodings[0, row].tolist() == pytest.approx(four, abs=2e-4)
    assert logits.double().mean().item() == pytest.approx(-5.8385936, abs=1e-5)
    assert encodings.double().mean().item() == pytest.approx(-0.0449613, abs=1e-5)
