"""Maps of vision towers of one size: of a picture squashed to it, or of tiles put together again.

Legend: B pictures, n tiles, C channels, h w cells of a tile, T tokens of one, D width of the language model.
"""

from collections.abc import Sequence

from torch import Tensor

from fo1.models.families.base import HostFeatures
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


def tiled_features(
    layers: Sequence[Tensor], tokens: Tensor, tilings: Tensor, stride: int
) -> HostFeatures:
    """Return what a tower says of pictures whose tiles follow each other.

    Args:
        layers: as in `tiled_maps`, of all pictures.
        tokens: (n, T, D) of their tiles.
        tilings: (B, 2) rows and columns.
        stride: pixels per cell.
    """
    counts = tile_counts(tilings)
    pictures = zip(*(layer.split(counts) for layer in layers), strict=True)
    return HostFeatures(
        tokens=tuple(own.flatten(0, 1) for own in tokens.split(counts)),
        maps=tuple(
            tiled_maps(own, tiling, stride)
            for own, tiling in zip(pictures, tilings.tolist(), strict=True)
        ),
    )


def tiled_frames(tilings: Tensor, side: int) -> list[tuple[int, int]]:
    """Return (width, height) in pixels of pictures that fill tiles (B, 2) of one side."""
    return [(columns * side, rows * side) for rows, columns in tilings.tolist()]


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
