"""Mixture: which record of which source is drawn at each index, without an end.

    draw(seed, index) -> source, record, epoch        a pure function

So training goes on at any index as if it had never stopped, and processes share one mixture without talking. Nothing
is remembered between calls and nothing is stored per record: a source may hold a hundred million.

Which source: a binary tree whose leaves are the sources, built as Huffman's codes are. Every inner node hands the draws
that reach it to its two sides by rounding, number / total each time. A rounding is at most 1/2 off, and in such a tree
an inner node gets at most 2/3 of its parent's draws, so that a source is never more than 2 draws off its share.

Which record: each epoch of a source is one permutation of its records, worked out by number with a Feistel network.

Legend: K sources.
"""

import hashlib
import heapq
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, NamedTuple, TypeAlias

from fo1.data.schema import Record
from fo1.errors import InputError, short_name

BLOCK: Final = 16
"""Draws among which the order of the sources is shuffled, so that of two processes that take turns, with two sources
of one weight, not each sees one source only. It costs at most BLOCK / 4 draws of the bound."""

_ROUNDS = 4
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Records that are drawn with one weight.

    Attributes:
        name: unique in a mixture. The order of the records depends on it.
        records: by number.
        weight: above 0; what counts is its part of the sum of all weights.
    """

    name: str
    records: Sequence[Record]
    weight: float = 1.0


class Draw(NamedTuple):
    """What stands at one index: numbers of source and record, and how often the source was through before."""

    source: int
    record: int
    epoch: int


class Mixture:
    """Sources by weight, every record of a source once in each of its epochs.

    Args:
        sources: K, at least one.
        weights: by name, for all sources; "size" for weights as the numbers of records; None for each source's own.
        shuffle: draw each epoch in an order of its own; otherwise records come as they are stored.

    Attributes:
        sources: as given.
        shares: per name its part of all draws; their sum is 1.

    Raises:
        InputError: no source, one without records, two of one name, or a weight that is missing, not above 0 or for
            a source that does not exist.

    Example:
        >>> from fo1.data.schema import Record
        >>> rows = [Record(key=str(number)) for number in range(3)]
        >>> mixture = Mixture([Source("a", rows, 2.0), Source("b", rows)], shuffle=False)
        >>> [mixture.draw(0, index)[:2] for index in range(6)]
        [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (0, 0)]
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: "Mapping[str, float] | Literal['size'] | None" = None,
        *,
        shuffle: bool = True,
    ) -> None:
        self.sources = tuple(sources)
        self.shuffle = shuffle
        parts = _parts(self.sources, weights)
        total = sum(parts)
        self.shares = {
            source.name: float(part / total)
            for source, part in zip(self.sources, parts, strict=True)
        }
        self._sizes = tuple(len(source.records) for source in self.sources)
        self._tree = _tree(parts)

    def draw(self, seed: int, index: int) -> Draw:
        """Return what is drawn at an index; the same in every process and every order of calls.

        Of the first n draws, a source gets n times its share, give or take 2 draws (2 + `BLOCK` / 4 if shuffled).

        Raises:
            InputError: the index is below 0.
        """
        seed, index = operator.index(seed), operator.index(index)
        if index < 0:
            raise InputError(f"index is {index}; expected 0 or more")
        source, rank = self._turn(seed, index) if self.shuffle else _walk(self._tree, index)
        epoch, place = divmod(rank, self._sizes[source])
        if self.shuffle:
            key = _key(seed, self.sources[source].name, epoch)
            place = permute(place, self._sizes[source], key)
        return Draw(source, place, epoch)

    def record(self, draw: Draw) -> Record:
        """Return the record that a draw means.

        Raises:
            InputError: it cannot be read.
        """
        return self.sources[draw.source].records[draw.record]

    def _turn(self, seed: int, index: int) -> tuple[int, int]:
        """Return the source of a draw and how many it had before, its block shuffled."""
        if isinstance(self._tree, int):
            return self._tree, index
        block, place = divmod(index, BLOCK)
        turns = [_walk(self._tree, block * BLOCK + number) for number in range(BLOCK)]
        order = [source for source, _ in turns]
        key = _key(seed, "", block)
        for last in range(BLOCK - 1, 0, -1):
            other = _scramble(key, last) % (last + 1)
            order[last], order[other] = order[other], order[last]
        source = order[place]
        # Ranks go up in the new order as well, so that an epoch ends before the next begins.
        first = min(rank for other, rank in turns if other == source)
        return source, first + order[:place].count(source)


def permute(number: int, size: int, key: int) -> int:
    """Return where a key's permutation of range(size) puts a number; takes no memory.

    A Feistel network on a grid of a x b cells that just holds `size` numbers: in turn, row and column are moved by an
    amount that depends on the other, which can be undone and so is a permutation of the cells. Cells past `size` are
    permuted on until the number is in range.

    Args:
        number: in range(size).
        size: at least 1.
        key: of 64 bits.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    while True:
        row, column = divmod(number, columns)
        for turn in range(_ROUNDS):
            row = (row + _scramble(key + 2 * turn, column)) % rows
            column = (column + _scramble(key + 2 * turn + 1, row)) % columns
        number = row * columns + column
        if number < size:
            return number


def _key(seed: int, name: str, epoch: int) -> int:
    """Return 64 bits; not `hash`, which differs from process to process."""
    text = f"{seed}\n{epoch}\n{name}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _scramble(key: int, value: int) -> int:
    """Return 64 bits that depend on all bits of two numbers."""
    mixed = (key * 0x9E3779B97F4A7C15 + value + 1) * 0xD1342543DE82EF95 & _MASK
    mixed = (mixed ^ mixed >> 32) * 0xAF251AF3B0F025B5 & _MASK
    mixed = (mixed ^ mixed >> 29) * 0xC2B2AE3D27D4EB4F & _MASK
    return mixed ^ mixed >> 32


@dataclass(frozen=True, slots=True)
class _Split:
    """Inner node: of `total` draws, `first` go to one side and the others to the other."""

    first: int
    total: int
    sides: "tuple[_Node, _Node]"


_Node: TypeAlias = "_Split | int"  # an int is the number of a source


def _tree(parts: Sequence[Fraction]) -> _Node:
    scale = math.lcm(*(part.denominator for part in parts))
    # The second number decides between equal weights, so that nodes are never compared.
    heap: list[tuple[int, int, _Node]] = [
        (int(part * scale), number, number) for number, part in enumerate(parts)
    ]
    heapq.heapify(heap)
    for number in range(len(parts), 2 * len(parts) - 1):
        small, _, first = heapq.heappop(heap)
        large, _, second = heapq.heappop(heap)
        heapq.heappush(heap, (small + large, number, _Split(small, small + large, (first, second))))
    return heap[0][2]


def _walk(node: _Node, index: int) -> tuple[int, int]:
    """Return the source of a draw and how many draws it had before."""
    while isinstance(node, _Split):
        before = _rounded(index, node)
        if _rounded(index + 1, node) > before:
            index, node = before, node.sides[0]
        else:
            index, node = index - before, node.sides[1]
    return node, index


def _rounded(draws: int, node: _Split) -> int:
    return (2 * draws * node.first + node.total) // (2 * node.total)


def _parts(
    sources: Sequence[Source], weights: "Mapping[str, float] | Literal['size'] | None"
) -> list[Fraction]:
    names = [source.name for source in sources]
    if not sources:
        raise InputError("a mixture has no source; give at least one")
    for source in sources:
        if not len(source.records):
            raise InputError(f"source {_shown(source.name)} has no records; leave it out")
        if names.count(source.name) > 1:
            raise InputError(f"two sources are named {_shown(source.name)}; rename one")
    if weights is None:
        return [_weight(source.name, source.weight) for source in sources]
    if isinstance(weights, str):
        if weights != "size":
            raise InputError(
                f'weights are {_shown(weights)}; expected "size" or a number for each name'
            )
        return [Fraction(len(source.records)) for source in sources]
    known = ", ".join(map(_shown, names))
    for name in weights:
        if name not in names:
            raise InputError(f"a weight is for {_shown(name)}; the sources are: {known}")
    for name in names:
        if name not in weights:
            raise InputError(f"no weight for source {_shown(name)}; give one, or leave it out")
    return [_weight(name, weights[name]) for name in names]


def _weight(name: str, weight: float) -> Fraction:
    try:
        value = math.nan if isinstance(weight, bool) else float(weight)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(
            f"the weight of {_shown(name)} is {short_name(repr(weight), 40)}; "
            "give a number above 0, or leave the source out"
        )
    return Fraction(repr(value))  # 0.7 as 7/10, not as the nearest binary fraction


def _shown(name: object) -> str:
    return repr(short_name(str(name), 60))
