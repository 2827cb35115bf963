"""Qwen2.5-VL for graph exporters: windows are a mask here, not an order, so no position depends on the picture."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision


class Qwen2_5_VLTracing:
    """Traced passes of `Qwen2_5_VLForConditionalGeneration` with its own layers."""

    def encode_image(self, vlm: Any, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return tokens (I, D) and the maps (C, H, W) of the full-attention blocks."""
        vision, config = vlm.base_model.visual, vlm.config.vision_config
        rows, columns = self.token_grid(vlm, pixels)
        merge = config.spatial_merge_size
        hidden = vision.patch_embed(self._patches(pixels, config, rows, columns))
        row, column = self._places(rows, columns, merge)
        rotary = vision.rotary_pos_emb(hidden, torch.stack([row, column], dim=-1))
        cells = config.window_size // config.patch_size  # along one side of a window
        mask = _same(row // cells) & _same(column // cells)
        maps = []
        for number, block in enumerate(vision.blocks):
            whole = number in config.fullatt_block_indexes
            seen = _attend(block.attn, block.norm1(hidden), rotary, None if whole else mask)
            hidden = hidden + seen
            hidden = hidden + block.mlp(block.norm2(hidden))
            if whole:
                blocks = hidden.reshape(rows, columns, merge, merge, -1)
                maps.append(
                    blocks.permute(4, 0, 2, 1, 3).reshape(-1, rows * merge, columns * merge)
                )
        return vision.merger(hidden), tuple(maps)

    def token_grid(self, vlm: Any, pixels: Tensor) -> tuple[int, int]:
        """Return rows and columns of the picture's tokens."""
        config = vlm.config.vision_config
        side = config.patch_size * config.spatial_merge_size
        return pixels.shape[-2] // side, pixels.shape[-1] // side

    def image_positions(self, grid: Tensor, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Return positions (3, I): time, row, column; and that of the next token."""
        index = torch.arange(count)
        places = [torch.zeros_like(index), index // grid[1], index % grid[1]]
        return torch.stack(places) + start, grid.max() + start

    def _patches(self, pixels: Tensor, config: Any, rows: int, columns: int) -> Tensor:
        """Return (patches, values), block by block of those that are merged."""
        merge, patch, frames = (
            config.spatial_merge_size,
            config.patch_size,
            config.temporal_patch_size,
        )
        cut = pixels.reshape(-1, rows, merge, patch, columns, merge, patch)
        # (C, rows, m, p, columns, m, p) -> (rows, columns, m, m, C, p, p); a still is repeated in time
        cut = cut.permute(1, 4, 2, 5, 0, 3, 6).unsqueeze(5)
        cut = cut.expand(-1, -1, -1, -1, -1, frames, -1, -1)
        return cut.reshape(rows * columns * merge**2, -1)

    def _places(self, rows: int, columns: int, merge: int) -> tuple[Tensor, Tensor]:
        """Return row and column (patches,) of each patch, block by block."""
        row = torch.arange(rows * merge)[:, None].expand(-1, columns * merge)
        column = torch.arange(columns * merge)[None].expand(rows * merge, -1)
        shape = (rows, merge, columns, merge)
        return (
            row.reshape(shape).transpose(1, 2).flatten(),
            column.reshape(shape).transpose(1, 2).flatten(),
        )


def _same(group: Tensor) -> Tensor:
    return group[:, None] == group[None, :]


def _attend(
    attention: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor | None
) -> Tensor:
    """Return (patches, width) from the weights of one attention layer; who sees whom is a mask."""
    split = attention.qkv(hidden).reshape(hidden.shape[0], 3, attention.num_heads, -1)
    queries, keys, values = split.permute(1, 0, 2, 3).unbind(0)
    queries, keys = apply_rotary_pos_emb_vision(queries, keys, *rotary)
    seen = F.scaled_dot_product_attention(
        *(one.transpose(0, 1)[None] for one in (queries, keys, values)),
        attn_mask=mask,
        scale=attention.scaling,
    )
    return attention.proj(seen[0].transpose(0, 1).flatten(1))
