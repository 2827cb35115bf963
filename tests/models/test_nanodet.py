"""NanoDet: wiring, decoding against a loop, and the packaged weights against the original graph."""

import pytest
import torch
from torch import Tensor

from fo1.models.nanodet import STRIDES, DenseDetections, Head, NanoDet, decode
from fo1.proposals.detector import DETECTOR_PREFIX, read_weights


def tiny(seed: int = 0) -> NanoDet:
    torch.manual_seed(seed)
    return NanoDet(num_classes=3, width=4, neck_channels=8, num_bins=5).eval()


def pattern(side: int) -> Tensor:
    """A picture-like wave that can be written down in one line: (1, 3, side, side)."""
    y, x = torch.arange(side)[:, None], torch.arange(side)[None, :]
    c = torch.arange(1, 4)[:, None, None]
    edges = torch.sign(torch.sin(0.11 * x + 0.07 * y))
    return (1.5 * torch.sin(0.05 * c * y) * torch.cos(0.03 * c * x) + 0.5 * edges)[None]


@torch.no_grad()
def test_one_map_per_stride_with_classes_and_four_distances() -> None:
    found = tiny()(torch.randn(2, 3, 64, 96))
    for probabilities, distances, stride in zip(*found, STRIDES, strict=True):
        assert probabilities.shape == (2, 3, 64 // stride, 96 // stride)
        assert distances.shape == (2, 4, 64 // stride, 96 // stride)
        assert probabilities.min() >= 0
        assert probabilities.max() <= 1
        assert distances.min() >= 0
        assert distances.max() <= 4 * stride


@torch.no_grad()
def test_published_size() -> None:
    model = NanoDet().eval()
    assert sum(weight.numel() for weight in model.parameters()) == 3_786_068
    assert [tuple(p.shape) for p in model(torch.zeros(1, 3, 416, 416)).probabilities] == [
        (1, 80, 52, 52),
        (1, 80, 26, 26),
        (1, 80, 13, 13),
    ]


@torch.no_grad()
def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    model, pixels = tiny(), torch.randn(3, 3, 64, 64)
    together = decode(model(pixels))
    for row in range(3):
        alone = decode(model(pixels[row : row + 1]))
        torch.testing.assert_close(together[0][row], alone[0][0])
        torch.testing.assert_close(together[1][row], alone[1][0])
    again = decode(model(pixels))
    assert torch.equal(together[0], again[0])
    assert torch.equal(together[1], again[1])


@torch.no_grad()
def test_head_reads_distances_as_the_mean_over_bins() -> None:
    head = Head(channels=4, num_classes=2, num_bins=3).eval()
    features = torch.randn(1, 4, 2, 3)
    probabilities, distances = head(features)
    raw = head.predict(head.conv(features))
    for row in range(2):
        for column in range(3):
            cell = raw[0, :, row, column]
            torch.testing.assert_close(probabilities[0, :, row, column], torch.sigmoid(cell[:2]))
            for side in range(4):
                weights = torch.softmax(cell[2 + 3 * side : 5 + 3 * side], 0)
                expected = weights[1] + 2 * weights[2]
                torch.testing.assert_close(distances[0, side, row, column], expected)


def test_decode_equals_a_loop_over_cells() -> None:
    torch.manual_seed(1)
    grids = [(8, 12), (4, 6), (2, 3)]
    detections = DenseDetections(
        tuple(torch.rand(2, 3, *grid) for grid in grids),
        tuple(torch.rand(2, 4, *grid) * 50 for grid in grids),
    )
    boxes, probabilities = decode(detections)
    for picture in range(2):
        number = 0
        for level, (height, width) in enumerate(grids):
            for row in range(height):
                for column in range(width):
                    x, y = (column + 0.5) * STRIDES[level], (row + 0.5) * STRIDES[level]
                    left, top, right, bottom = detections.distances[level][picture, :, row, column]
                    expected = torch.stack([x - left, y - top, x + right, y + bottom])
                    torch.testing.assert_close(boxes[picture, number], expected)
                    torch.testing.assert_close(
                        probabilities[picture, number],
                        detections.probabilities[level][picture, :, row, column],
                    )
                    number += 1
        assert number == boxes.shape[1] == probabilities.shape[1]


def test_frame_that_is_no_multiple_of_the_last_stride_is_refused() -> None:
    with pytest.raises(ValueError, match=r"64 x 100 px.* 32"):
        tiny()(torch.zeros(1, 3, 64, 100))


@torch.no_grad()
def test_packaged_weights_give_the_numbers_of_the_original_graph() -> None:
    """The expected numbers were read from the packaged TensorFlow.js graph run by TensorFlow."""
    model = read_weights(NanoDet(), None, "nanodet", inside=DETECTOR_PREFIX).eval()
    found = model(pattern(416))
    expected = [
        (158, 47, 0.15958954, [19.9101, 27.4724, 32.7424, 41.4088], 0.004066712),
        (507, 46, 0.19418043, [55.5365, 77.7395, 58.3443, 99.9486], 0.009620732),
        (84, 46, 0.34693810, [203.6544, 202.8588, 203.8099, 210.4882], 0.015977649),
    ]
    for level, (cell, label, best, distances, mean) in enumerate(expected):
        maps = found.probabilities[level][0].flatten(1)
        assert divmod(int(maps.argmax()), maps.shape[1]) == (label, cell)
        assert maps.max().item() == pytest.approx(best, abs=1e-5)
        assert maps.double().mean().item() == pytest.approx(mean, abs=1e-6)
        assert found.distances[level][0].flatten(1)[:, cell].tolist() == pytest.approx(
            distances, abs=2e-3
        )
