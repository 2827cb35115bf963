"""Detectors as proposers: frames, ranks, union, weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from fo1.errors import CheckpointError
from fo1.models.nanodet import STRIDES, DenseDetections, NanoDet
from fo1.models.ssd import FRAME, SSDMobileNetV2
from fo1.proposals import get_proposer
from fo1.proposals.base import take_turns
from fo1.proposals.combining import UnionProposer
from fo1.proposals.detector import (
    NanoDetProposer,
    SSDProposer,
    read_weights,
)
from fo1.results import Proposals


class CellsThatAreLit(nn.Module):
    """A dense detector that fires where the picture is bright, with boxes as large as a cell."""

    def forward(self, pixels: Tensor) -> DenseDetections:
        light = pixels.mean(1, keepdim=True).clamp(0, 1)
        maps = [functional.avg_pool2d(light, stride) for stride in STRIDES]
        sides = [
            torch.full_like(m, s / 2).repeat(1, 4, 1, 1) for m, s in zip(maps, STRIDES, strict=True)
        ]
        return DenseDetections(tuple(maps), tuple(sides))


class OneLitBox(nn.Module):
    """A detector that reports the box around all bright pixels of the frame."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = torch.nonzero(pixels[0].mean(0) > 0, as_tuple=True)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        return torch.tensor([[box]], dtype=torch.float32), torch.tensor([[[0.2, 0.7]]])


def lit(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), box)
    return image


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((832, 416), (512, 128, 576, 192)),
        ((416, 832), (128, 512, 192, 576)),
        ((416, 416), (32, 96, 64, 128)),
    ],
)
def test_dense_boxes_are_in_pixels_of_a_picture_of_any_shape(size, box) -> None:
    proposals = NanoDetProposer(CellsThatAreLit()).propose(lit(size, box))
    best = proposals.boxes[proposals.scores > 0.99]
    x1, y1, x2, y2 = box
    assert len(best) > 0
    assert (best >= np.float32([x1, y1, x1, y1]) - 0.01).all()
    assert (best <= np.float32([x2, y2, x2, y2]) + 0.01).all()
    assert best[:, :2].min(0) == pytest.approx([x1, y1], abs=0.01)
    assert best[:, 2:].max(0) == pytest.approx([x2, y2], abs=0.01)


@pytest.mark.parametrize("size", [(600, 300), (300, 900), (150, 75)])
def test_stretched_boxes_are_in_pixels_of_a_picture_of_any_shape(size) -> None:
    width, height = size
    box = (width // 5, height // 3, width // 2, height - height // 5)
    proposals = SSDProposer(OneLitBox()).propose(lit(size, box))
    tolerance = max(size) / FRAME + 0.01
    np.testing.assert_allclose(proposals.boxes, [box], atol=tolerance)
    assert proposals.scores.tolist() == pytest.approx([0.7])


@pytest.mark.parametrize("size", [(97, 33), (1, 40), (5000, 20)])
@pytest.mark.parametrize("limit", [1, 30])
def test_random_weights_give_a_ranked_list_within_the_picture(size, limit) -> None:
    torch.manual_seed(0)
    image = Image.effect_noise(size, 80).convert("RGB")
    for proposer in (
        NanoDetProposer(NanoDet(width=4, neck_channels=8), limit),
        SSDProposer(SSDMobileNetV2(), limit),
    ):
        found = proposer.propose(image)
        assert 1 <= len(found) <= limit
        assert found.source == proposer.name
        assert (found.boxes >= 0).all()
        assert (found.boxes <= np.float32(size * 2)).all()
        assert (np.diff(found.scores) <= 0).all()
        assert found == proposer.propose(image)


class Fixed:
    def __init__(self, name: str, rows: list[list[float]], scores: list[float]) -> None:
        self.name = name
        self.found = Proposals(np.float32(rows).reshape(-1, 4), np.float32(scores), name)

    def propose(self, image: Image.Image) -> Proposals:
        return self.found


def test_union_takes_turns_and_drops_copies() -> None:
    boxes = [[10.0 * i, 0, 10.0 * i + 9, 9] for i in range(6)]
    first = Fixed("a", [boxes[0], boxes[1], boxes[2]], [0.3, 0.2, 0.1])
    second = Fixed("b", [boxes[3], boxes[0], boxes[4], boxes[5]], [0.9, 0.8, 0.7, 0.6])
    union = UnionProposer([first, second])
    found = union.propose(Image.new("RGB", (60, 9)))
    assert found.boxes.tolist() == [boxes[i] for i in (0, 3, 1, 2, 4, 5)]
    assert found.scores.tolist() == pytest.approx([0.3, 0.9, 0.2, 0.1, 0.7, 0.6])
    assert union.name == found.source == "a+b"
    assert len(UnionProposer([first, second], limit=2).propose(Image.new("RGB", (60, 9)))) == 2


def test_turns_of_lists_of_different_lengths() -> None:
    parts = [Fixed("", [[n, 0, n, 0] for n in row], [0.5] * len(row)).found for row in ([1, 2], [])]
    parts.append(Fixed("", [[n, 0, n, 0] for n in (7, 8, 9)], [0.5] * 3).found)
    assert take_turns(parts).boxes[:, 0].tolist() == [1, 7, 2, 8, 9]


def test_weights_are_read_from_a_folder_in_half_precision(tmp_path) -> None:
    torch.manual_seed(0)
    for name, model in (("nanodet", NanoDet()), ("ssd", SSDMobileNetV2())):
        state = {key: value.half().contiguous() for key, value in model.state_dict().items()}
        save_file(state, tmp_path / f"{name}.safetensors")
        loaded = read_weights(type(model)(), tmp_path, name).state_dict()
        assert all(torch.equal(loaded[key], state[key].float()) for key in state)
        assert get_proposer(name, weights=tmp_path).name == name
    assert get_proposer(weights=tmp_path).name == "nanodet+ssd"
    with pytest.raises(CheckpointError, match=r"nanodet.safetensors is of another model"):
        read_weights(SSDMobileNetV2(), tmp_path, "nanodet")


def test_missing_and_damaged_weights_name_the_cure(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"ssd.safetensors .No such file.*convert_detectors"):
        get_proposer("ssd", weights=tmp_path)
    (tmp_path / "ssd.safetensors").write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=r"ssd.safetensors is damaged; recipes/nano"):
        get_proposer("ssd", weights=tmp_path)


def test_packaged_weights_propose_on_a_picture() -> None:
    found = get_proposer().propose(lit((320, 200), (60, 40, 180, 160)))
    assert len(found) == 100
    overlaps = np.minimum(found.boxes[:, 2:], [180, 160]) - np.maximum(found.boxes[:, :2], [60, 40])
    shared = np.prod(np.maximum(overlaps, 0), 1)
    union = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], 1) + 120 * 120 - shared
    assert (shared / union)[:20].max() > 0.7
