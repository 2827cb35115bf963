"""Which names a picture's boxes tell everything about, where some of its annotations could not be used."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from fo1.data.schema import TrueObject


class Known(NamedTuple):
    """Names as a `Record` lists them."""

    looked_for: tuple[str, ...]
    partial: tuple[str, ...]


def known_names(
    vocabulary: Iterable[str], objects: Iterable[TrueObject], doubtful: Collection[str]
) -> Known:
    """Return what is known of the names that were looked for in a picture.

    A name that lost a box is no longer known to be complete: it is partial where a box is left, and else nothing is
    said of it, for the picture may well hold it.

    Args:
        vocabulary: all names that were looked for.
        objects: that could be used.
        doubtful: names of those that could not.
    """
    there = {name for one in objects for name in one.names}
    vocabulary = tuple(vocabulary)
    return Known(
        tuple(name for name in vocabulary if name not in doubtful),
        tuple(name for name in vocabulary if name in doubtful and name in there),
    )
