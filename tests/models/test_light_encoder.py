"""The light encoder's pooled features: what stands where, with and without contrasts."""

import pytest
import torch

from fo1.models.configuration import LightEncoderConfig
from fo1.models.efficientnet import cell_offset
from fo1.models.light_encoder import LightEncoder
from fo1.models.pooling import pool_contrasts

BINS = 7


@pytest.fixture(scope="module")
def pair() -> tuple[LightEncoder, LightEncoder]:
    """Two encoders of the same random weights: means alone, and contrasts before them."""
    torch.manual_seed(0)
    plain = LightEncoder(LightEncoderConfig(sides=(96, 160))).eval()
    torch.manual_seed(0)
    return plain, LightEncoder(LightEncoderConfig(sides=(96, 160), contrasts=True)).eval()


@torch.no_grad()
def test_contrasts_stand_before_the_means_and_change_nothing_else(pair) -> None:
    plain, both = pair
    pixels = torch.randn(1, 3, 120, 160, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[0.0, 0, 160, 120], [8, 16, 40, 48], [100, 20, 150, 110]])
    maps = both(pixels)
    means, wide = plain.pool_raw(maps, boxes, BINS), both.pool_raw(maps, boxes, BINS)
    finer = plain.feature_width - plain.head_width
    assert both.feature_width == plain.feature_width + 3 * finer
    torch.testing.assert_close(wide[:, 3 * finer :], means, atol=0, rtol=0)
    for one, other in zip(
        plain.evidence(plain.finish(means)), both.evidence(both.finish(wide)), strict=True
    ):
        torch.testing.assert_close(one, other, atol=0, rtol=0)

    # Each box by hand, on the size that was chosen for it.
    size = maps[-1]
    for row, box in enumerate(boxes):
        choice = int(both.choose_side(box[None], size))
        views = maps[4 * choice : 4 * choice + 3]
        # the coarsest map of this size tells it: its sides times 32, to the cell
        frame = torch.tensor([views[0].shape[3], views[0].shape[2]]) * both.strides[0]
        own = box[None] * (frame / size).repeat(2)
        by_hand = [
            pool_contrasts(m[0], own - cell_offset(s), s, BINS)
            for m, s in zip(views, both.strides, strict=False)
        ]
        torch.testing.assert_close(wide[row, : 3 * finer], torch.cat(by_hand, 1)[0])


def test_contrasts_are_kept_by_the_config() -> None:
    assert LightEncoderConfig.from_dict(LightEncoderConfig(contrasts=True).to_dict()).contrasts
    assert not LightEncoderConfig().contrasts
