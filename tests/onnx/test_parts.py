"""Parts of the graphs in torch, before they are traced: they equal what the model itself computes."""

from typing import Any

import pytest
import torch

pytest.importorskip("onnx")

from fo1.models import scoring as model_scoring
from fo1.models.families import FAMILIES, TRACINGS
from fo1.models.pooling import pool_regions
from fo1.onnx.encoding_parts import PoolGraph
from fo1.onnx.evidence import evidence_chance, match_evidence
from fo1.onnx.scoring import PrefixTokens

WIDTHS = (7, 4)
NAMED = [[(1, 2), (), (3,)], [(), (), (0, 3)]]


def tables() -> tuple[torch.Tensor, torch.Tensor]:
    evidence = torch.rand(5, sum(WIDTHS), generator=torch.Generator().manual_seed(0))
    classes = torch.zeros(3, sum(WIDTHS))
    for start, source in zip((0, WIDTHS[0]), NAMED, strict=True):
        for row, indices in enumerate(source):
            classes[row, [start + index for index in indices]] = 1
    return evidence, classes


def test_evidence_from_tables() -> None:
    evidence, classes = tables()
    apart = evidence.split(WIDTHS, dim=-1)
    torch.testing.assert_close(
        match_evidence(evidence, classes, WIDTHS), model_scoring.match_evidence(apart, NAMED)
    )
    found = evidence_chance(evidence, classes, WIDTHS, (1.0, 2.0))
    expected = model_scoring.evidence_chance(apart, NAMED, (1.0, 2.0))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_every_tracing_has_a_family() -> None:
    assert TRACINGS.keys() <= FAMILIES.keys()


@pytest.mark.parametrize("grid", [(6, 9), (1, 11), (13, 2), (5, 5)])
@torch.inference_mode()
def test_the_traced_host_is_the_host(nano: Any, grid: tuple[int, int]) -> None:
    """Windows as a mask give what windows as an order give; sides that no window divides included."""
    model, rows, columns = nano.engine.model, *grid
    tracing = TRACINGS[model.config.vlm_config.model_type]
    pixels = torch.randn(1, 3, rows * 28, columns * 28, generator=torch.Generator().manual_seed(1))
    patches = pixels.reshape(3, rows, 2, 14, columns, 2, 14).permute(1, 4, 2, 5, 0, 3, 6)
    patches = patches.unsqueeze(5).expand(-1, -1, -1, -1, -1, 2, -1, -1)
    inputs = {
        "pixel_values": patches.reshape(rows * columns * 4, -1),
        "image_grid_thw": torch.tensor([[1, rows * 2, columns * 2]]),
    }
    theirs = model.family.encode_images(model.vlm, inputs)
    tokens, maps = tracing.encode_image(model.vlm, pixels)
    torch.testing.assert_close(tokens, theirs.tokens[0], atol=1e-3, rtol=1e-3)
    for ours, other in zip(maps, theirs.maps[0].maps, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-3, rtol=1e-3)
    assert tracing.token_grid(model.vlm, pixels) == grid


@pytest.mark.parametrize("grid", [(6, 9), (1, 11), (13, 2)])
def test_positions(nano: Any, grid: tuple[int, int]) -> None:
    engine, count = nano.engine, grid[0] * grid[1]
    tokens = PrefixTokens.of(engine.model, engine.processor)
    image = engine.model.family.image_token_id(engine.model.vlm.config)
    ids = torch.tensor([[*tokens.opening, *[image] * count, *tokens.between, *tokens.closing]])
    thw = torch.tensor([[1, grid[0] * 2, grid[1] * 2]])
    expected = engine.model.family.position_ids(
        engine.model.vlm, ids, torch.ones_like(ids), {"image_grid_thw": thw}
    )[:, 0]
    start = len(tokens.opening)
    tracing = TRACINGS[engine.model.config.vlm_config.model_type]
    positions, following = tracing.image_positions(torch.tensor(grid), start, count)
    assert positions.tolist() == expected[:, start : start + count].tolist()
    assert following.item() == expected[0, start + count].item()


@pytest.mark.parametrize(("height", "width", "stride"), [(12, 20, 8), (1, 3, 32), (7, 7, 3.5)])
def test_pooling_without_asking_the_boxes(height: int, width: int, stride: float) -> None:
    """The whole picture is the largest box, and no bin of it has more samples than the graph takes."""
    maps = torch.rand(5, height, width, generator=torch.Generator().manual_seed(2))
    right, bottom = width * stride, height * stride
    boxes = torch.tensor([[0, 0, right, bottom], [1.0, 2, 3, 2.5], [0.3 * right, 0, right, 9]])
    pooled = PoolGraph(7)(maps, boxes, torch.tensor(1 / stride), torch.tensor(0.5))
    torch.testing.assert_close(pooled, pool_regions(maps, boxes - 0.5, stride, 7))
