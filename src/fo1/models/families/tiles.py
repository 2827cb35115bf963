"""Maps of vision towers of one size: of a picture squashed to it, or of tiles put together again.

Legend: n tiles, C channels, h w cells of a tile.
"""

from collections.abc import Sequence

from torch import Tensor

from fo1.models.region_encoder import HostMaps


def tower_maps(
    hidden_states: Sequence[Tensor], blocks: Sequence[int], first: int, grid: tuple[int, int]
) -> list[Tensor]:
    """Return (n, C, h, w) of each block.

    Args:
        hidden_states: what goes into the first block, then what leaves each, (n, first + h w, C).
        blocks: first is 0.
        first: how many tokens stand before those of the patches.
        grid: (h, w).
    """
    return [
        hidden_states[block + 1][:, first:].transpose(1, 2).unflatten(-1, grid) for block in blocks
    ]


def tiled_maps(
    layers: Sequence[Tensor],
    tiling: tuple[int, int],
    stride: int,
    frame: tuple[int, int] | None = None,
    origin: tuple[int, int] = (0, 0),
) -> HostMaps:
    """Return the maps of one picture.

    Args:
        layers: (n, C, h, w) each: tiles row by row, then the whole picture where there are several.
        tiling: (rows, columns) of the tiles.
        stride: pixels per cell.
        frame: (width, height) of the picture in pixels of the maps; None where it fills the tiles.
        origin: (x, y) of its corner.
    """
    rows, columns = tiling
    height, width = (side * stride for side in layers[0].shape[-2:])
    count = rows * columns
    overview = None
    if count > 1:
        overview = HostMaps(tuple(own[count] for own in layers), (width, height))
    return HostMaps(
        maps=tuple(_stitch(own[:count], tiling) for own in layers),
        frame=frame or (columns * width, rows * height),
        origin=origin,
        overview=overview,
    )


def tile_counts(tilings: Tensor) -> list[int]:
    """Return how many tiles there are of each picture; beside several, one more shows it whole.

    Args:
        tilings: (B, 2) rows and columns.
    """
    return [count + (count > 1) for count in tilings.prod(-1).tolist()]


def _stitch(tiles: Tensor, tiling: tuple[int, int]) -> Tensor:
    """Return (C, rows h, columns w) from (rows columns, C, h, w)."""
    placed = tiles.unflatten(0, tiling).permute(2, 0, 3, 1, 4)  # (C, rows, h, columns, w)
    return placed.flatten(3).flatten(1, 2)
