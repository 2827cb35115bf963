"""The pyramid against the same from torch's own modules; the 3 x 3 convolution against the direct sum."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fo1.models import winograd
from fo1.models.pyramid import SimplePyramid


class PlainNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def plain_pyramid(own: SimplePyramid, channels: int, width: int) -> nn.Module:
    """Return the pyramid as it is published, with the weights of ours."""
    half, quarter = channels // 2, channels // 4
    plain = nn.Module()
    plain.resample = nn.ModuleList(
        [
            nn.Sequential(
                nn.ConvTranspose2d(channels, half, 2, stride=2),
                PlainNorm(half, eps=1e-6),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, stride=2),
            ),
            nn.ConvTranspose2d(channels, half, 2, stride=2),
            nn.Identity(),
            nn.MaxPool2d(2),
        ]
    )
    plain.smooth = nn.ModuleList(
        nn.Sequential(
            nn.Sequential(nn.Conv2d(inputs, width, 1, bias=False), PlainNorm(width, eps=1e-6)),
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), PlainNorm(width, eps=1e-6)
            ),
        )
        for inputs in (quarter, half, channels, channels)
    )
    plain.load_state_dict(own.state_dict())
    return plain


def make(channels: int, width: int) -> SimplePyramid:
    torch.manual_seed(0)
    pyramid = SimplePyramid(channels, width)
    for parameter in pyramid.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0.5, 0.3)
    return pyramid


@pytest.mark.parametrize("shape", [(1, 16, 5, 7), (3, 16, 2, 2)])
def test_levels_and_gradients_equal_the_published_form(shape: tuple[int, ...]) -> None:
    pyramid = make(16, 12)
    plain = plain_pyramid(pyramid, 16, 12)
    x = torch.randn(shape)
    pairs = zip(plain.resample, plain.smooth, strict=True)  # pyright: ignore[reportArgumentType]
    expected = [smooth(resample(x)) for resample, smooth in pairs]
    levels = pyramid(x)
    for level, other in zip(levels, expected, strict=True):
        assert level.shape == other.shape
        torch.testing.assert_close(level, other, atol=2e-5, rtol=1e-5)
    sum(level.square().sum() for level in levels).backward()
    sum(level.square().sum() for level in expected).backward()
    mine, others = dict(pyramid.named_parameters()), dict(plain.named_parameters())
    assert mine.keys() == others.keys()
    for name, parameter in mine.items():
        torch.testing.assert_close(parameter.grad, others[name].grad, atol=2e-3, rtol=1e-3)


def test_wide_levels_are_the_same_with_and_without_a_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(winograd, "LEAST_CELLS", 100)
    pyramid = make(128, winograd.LEAST_CHANNELS)
    x = torch.randn(1, 128, 6, 7)
    direct = pyramid(x)
    with torch.inference_mode():
        for level, other in zip(pyramid(x), direct, strict=True):
            torch.testing.assert_close(level, other.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (4, 4), (9, 6), (17, 23)])
@pytest.mark.parametrize("strip", [1, winograd.STRIP_ELEMENTS])
def test_fewer_multiplications_give_the_direct_sum(
    size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "STRIP_ELEMENTS", strip)
    cells = torch.randn(2, *size, 6, dtype=torch.float64)
    weight = torch.randn(5, 6, 3, 3, dtype=torch.float64)
    expected = F.conv2d(cells.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(winograd.convolve(cells, weight), expected, atol=1e-12, rtol=1e-12)


def test_rounding_in_float32_is_small() -> None:
    torch.manual_seed(0)
    cells, weight = torch.randn(1, 32, 32, 256), torch.randn(256, 256, 3, 3) / 48
    exact = F.conv2d(cells.permute(0, 3, 1, 2).double(), weight.double(), padding=1)
    error = winograd.convolve(cells, weight) - exact.permute(0, 2, 3, 1)
    assert float(error.std() / exact.std()) < 1e-5


def test_it_is_used_where_it_pays_and_nothing_is_learned() -> None:
    large = torch.zeros(1, 64, 64, winograd.LEAST_CHANNELS)
    weight = torch.zeros(winograd.LEAST_CHANNELS, winograd.LEAST_CHANNELS, 3, 3)
    assert not winograd.pays(large, weight)  # a backward pass may follow
    with torch.inference_mode():
        assert winograd.pays(large, weight)
        assert not winograd.pays(large[:, :8], weight)
        assert not winograd.pays(large, weight[:8])
        assert not winograd.pays(large.bfloat16(), weight.bfloat16())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not winograd.pays(large, weight)
