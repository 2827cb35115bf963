"""EfficientNet-Lite: shapes at any size, folded norms, padding and where a cell looks."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fo1.models.efficientnet import (
    BATCH_NORM_EPSILON,
    EfficientNetLite,
    EfficientNetLiteConfig,
    SameConv,
    StageConfig,
    cell_offset,
    fold_batch_norm,
)

TINY = EfficientNetLiteConfig(
    stem_channels=8,
    stages=(
        StageConfig(repeats=1, kernel=3, stride=1, expansion=1, channels=4),
        StageConfig(repeats=2, kernel=3, stride=2, expansion=2, channels=6, is_level=True),
        StageConfig(repeats=1, kernel=5, stride=2, expansion=2, channels=8, is_level=True),
        StageConfig(repeats=1, kernel=5, stride=2, expansion=2, channels=10, is_level=True),
        StageConfig(repeats=1, kernel=3, stride=2, expansion=2, channels=12),
    ),
    head_channels=16,
    num_classes=5,
)


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 50), (1, 7)])
def test_map_sides_are_the_picture_side_over_the_stride_rounded_up(size: tuple[int, int]) -> None:
    model = EfficientNetLite(TINY)
    maps = model(torch.randn(2, 3, *size))
    assert model.config.levels == ((4, 6), (8, 8), (16, 10), (32, 16))
    for feature_map, (stride, channels) in zip(maps, model.config.levels, strict=True):
        assert feature_map.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))
    assert model.logits(torch.randn(2, 3, *size)).shape == (2, 5)


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 50), (1, 7)])
def test_maps_are_the_same_where_nothing_is_learned(size: tuple[int, int]) -> None:
    """The border is then cleared behind the expansion, whose bias would fill it."""
    torch.manual_seed(0)
    model, pixels = EfficientNetLite(TINY), torch.randn(2, 3, *size)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    expected = [level.detach() for level in model(pixels)]
    with torch.inference_mode():
        torch.testing.assert_close(list(model(pixels)), expected)


def test_default_is_lite0() -> None:
    model = EfficientNetLite()
    assert model.config.levels == ((4, 24), (8, 40), (16, 112), (32, 1280))
    assert model.classifier.weight.shape == (1000, 1280)
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_631_000
    assert [tuple(maps.shape[1:]) for maps in model(torch.zeros(1, 3, 32, 40))] == [
        (24, 8, 10),
        (40, 4, 5),
        (112, 2, 3),
        (1280, 1, 2),
    ]


def test_folded_convolution_equals_convolution_then_batch_norm() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, bias=False)
    norm = nn.BatchNorm2d(6, eps=BATCH_NORM_EPSILON).eval()
    for value in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(value)
    nn.init.uniform_(norm.running_var, 0.1, 2.0)
    maps = torch.randn(2, 4, 9, 8)
    weight, bias = fold_batch_norm(
        conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var
    )
    torch.testing.assert_close(F.conv2d(maps, weight, bias), norm(conv(maps)))


@pytest.mark.parametrize(
    ("size", "kernel", "before"), [(8, 3, 0), (7, 3, 1), (8, 5, 1), (7, 5, 2), (2, 5, 1)]
)
def test_odd_pixel_of_the_padding_goes_to_the_bottom_right(
    size: int, kernel: int, before: int
) -> None:
    conv = SameConv(1, 1, kernel=kernel, stride=2)
    nn.init.zeros_(conv.bias)
    pixels = torch.zeros(1, 1, size, size, requires_grad=True)
    output = conv(pixels)
    assert output.shape[-2:] == (-(-size // 2),) * 2
    (gradient,) = torch.autograd.grad(output[0, 0, 0, 0], pixels)
    kept = conv.weight.detach()[0, 0, before:, before:][:size, :size]
    torch.testing.assert_close(gradient[0, 0, : kept.shape[0], : kept.shape[1]], kept)


def test_cell_offset_is_where_a_cell_looks() -> None:
    """With equal positive weights the gradient's centre of mass is the centre of the view."""
    model = EfficientNetLite(TINY).double()
    for name, parameter in model.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 0.01)
    pixels = torch.full((1, 3, 256, 256), 0.5, dtype=torch.float64, requires_grad=True)
    centres = torch.arange(256, dtype=torch.float64) + 0.5
    for feature_map, (stride, _) in zip(model(pixels), model.config.levels, strict=True):
        cell = feature_map.shape[-1] // 2 - 1
        (gradient,) = torch.autograd.grad(feature_map[0, 0, cell, cell], pixels, retain_graph=True)
        mass = gradient[0].sum(dim=(0, 1))
        seen = float((mass * centres).sum() / mass.sum())
        assert seen == pytest.approx((cell + 0.5) * stride + cell_offset(stride), abs=1e-6)


def test_training_mode_changes_nothing() -> None:
    torch.manual_seed(0)
    model = EfficientNetLite(TINY)
    pixels = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model.train().logits(pixels), model.eval().logits(pixels))
