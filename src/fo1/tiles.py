"""More regions than the vocabulary has index tokens: tiles that share the pictures.

A tile shows the same pictures with a part of their regions, under numbers that count from 0 in the
tile. Region embeddings do not depend on each other, so a tile costs no encoding.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fo1.errors import QueryError
from fo1.tags import renumber


@dataclass(frozen=True, slots=True)
class Tile:
    """Some of the regions of a chat.

    Args:
        regions: number in the chat of each region of the tile, rising.
    """

    regions: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.regions)

    def to_tile(self, text: str) -> str:
        """Return a text of the chat with the tile's own numbers."""
        return renumber(text, {region: own for own, region in enumerate(self.regions)})

    def to_chat(self, text: str) -> str:
        """Return a text of the tile, whose grammar lets it name no other regions, with the chat's numbers."""
        return renumber(text, dict(enumerate(self.regions)))


def split(count: int, most: int, wanted: Iterable[int] = ()) -> tuple[Tile, ...]:
    """Return the fewest tiles, equally filled, that show all regions; without regions one empty tile.

    Args:
        count: how many regions there are.
        most: how many a tile may show.
        wanted: regions that every tile shows, because the question is about them.

    Raises:
        QueryError: more regions are wanted than a tile may show.
    """
    shared = sorted(set(wanted))
    others = [region for region in range(count) if region not in set(shared)]
    room = most - len(shared)
    if room < (1 if others else 0):
        raise QueryError(
            f"{len(shared)} regions are named at once, the model has {most} region tokens; "
            "name fewer, or ask in parts"
        )
    parts = -(-len(others) // room) if others else 1
    base, longer = divmod(len(others), parts)
    tiles: list[Tile] = []
    start = 0
    for part in range(parts):
        stop = start + base + (part < longer)
        tiles.append(Tile(tuple(sorted([*shared, *others[start:stop]]))))
        start = stop
    return tuple(tiles)
