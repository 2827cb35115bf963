"""Tags: how texts name regions, and how texts from people are kept from doing so by accident.

Two placeholders stand for vectors and never meet the vocabulary: `<image>` and `<regionfeat>`.
A box costs two positions: its index token `<regionN>` and one `<regionfeat>`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from fo1.errors import QueryError

IMAGE_PLACEHOLDER: Final = "<image>"
REGION_PLACEHOLDER: Final = "<regionfeat>"
GROUND_OPEN: Final = "<ground>"
GROUND_CLOSE: Final = "</ground>"
OBJECTS_OPEN: Final = "<objects>"
OBJECTS_CLOSE: Final = "</objects>"
THINK_OPEN: Final = "<think>"
THINK_CLOSE: Final = "</think>"
ANSWER_OPEN: Final = "<answer>"
ANSWER_CLOSE: Final = "</answer>"
NONE_TEXT: Final = "None"
"""Written between the objects tags when a phrase matches no region."""
_REGION = re.compile(r"<region([0-9]{1,18})>", re.IGNORECASE | re.ASCII)
_PLACED = re.compile(rf"<region([0-9]{{1,18}})>{REGION_PLACEHOLDER}")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Behind a tag, or where one will stand, a tokenizer's NFC joins it with ">" and the tag is lost.
_OVERLAY = re.compile("(?<![\\w=])\u0338")
_OPENING = re.compile(r"<(?=[^\s0-9=])")
# A turn may hold region, ground and thinking tags; these alone would break the sequence.
_STRUCTURE = re.compile(r"<(image|regionfeat|\|[^<>\s]*\|)>", re.IGNORECASE)


def region_token(region: int) -> str:
    """Return the index token of a region.

    Example:
        >>> region_token(3)
        '<region3>'
    """
    if region < 0:
        raise QueryError(f"region {region} is negative; regions count from 0")
    return f"<region{region:d}>"


def regions_in(text: str) -> tuple[int, ...]:
    """Return the regions that a text names, in order, repeats included.

    Example:
        >>> regions_in("is <region3> on <region1> or <region3>?")
        (3, 1, 3)
    """
    return tuple(int(number) for number in _REGION.findall(text))


def placed_regions(prompt: str) -> tuple[int, ...]:
    """Return the region of every `<regionN><regionfeat>` pair of a prompt, in order.

    Example:
        >>> placed_regions("<region0><regionfeat><region1><regionfeat> is <region1> red?")
        (0, 1)
    """
    return tuple(int(number) for number in _PLACED.findall(prompt))


def renumber(text: str, numbers: Mapping[int, int]) -> str:
    """Return a text in which every region is called by its new number; without one, in plain words.

    Example:
        >>> renumber("<region0> on <region7>", {0: 100, 1: 101})
        '<region100> on region 7'
    """

    def new(match: re.Match[str]) -> str:
        number = numbers.get(int(match[1]))
        return f"region {int(match[1])}" if number is None else region_token(number)

    return _REGION.sub(new, text)


def neutralise(text: str, *, keep_regions: bool = False) -> str:
    r"""Return text from a person in which nothing acts as markup, so it stays what it says.

    `<tag>` becomes `\u2039tag\u203a` (angle quotation marks) whatever the tag is, and a `<` that
    might open one becomes `\u2039`. A `<` before a space, a digit or `=` is a comparison and stays.
    Half a surrogate pair, which no tokenizer takes, becomes `\ufffd`.

    Args:
        text: what the person wrote.
        keep_regions: leave references such as `<region3>` in place, in their canonical spelling.

    Example:
        >>> print(ascii(neutralise("is x < 3 in <image>?")))
        'is x < 3 in \u2039image\u203a?'
    """
    if keep_regions:
        pieces = _REGION.split(text)  # text, number, text, number, ..., text
        return "".join(
            region_token(int(piece)) if place % 2 else neutralise(piece)
            for place, piece in enumerate(pieces)
        )
    return _OPENING.sub("\u2039", _without_tags(_readable(text)))


def check_regions(regions: Iterable[int], num_regions: int) -> tuple[int, ...]:
    """Return the regions as plain ints, each known to exist.

    Raises:
        QueryError: an index is negative or not below `num_regions`.
    """
    checked = tuple(int(region) for region in regions)
    for region in checked:
        if not 0 <= region < num_regions:
            have = f"regions 0 to {num_regions - 1}" if num_regions else "no regions"
            raise QueryError(f"region {region} does not exist; this picture has {have}")
    return checked


def guard(text: str) -> str:
    """Return a text for a turn, in which placeholders and chat tokens are harmless; other tags stay."""
    return _STRUCTURE.sub("\u2039\\1\u203a", _readable(text))


def _without_tags(text: str) -> str:
    """Return text in which angle brackets that enclose something without spaces are quotation marks."""
    shown, opened = list(text), list[int]()
    for place, letter in enumerate(text):
        if letter.isspace():
            opened.clear()
        elif letter == "<":
            opened.append(place)
        elif letter == ">" and opened:
            shown[opened.pop()], shown[place] = "\u2039", "\u203a"
    return "".join(shown)


def _readable(text: str) -> str:
    """Return text of the same length that any tokenizer takes and that leaves tags around it whole."""
    return _OVERLAY.sub("/", _SURROGATE.sub("\ufffd", text))


def repeat_features(text: str) -> str:
    """Return a text in which every region that it names is followed by its feature's placeholder."""
    return _REGION.sub(rf"<region\1>{REGION_PLACEHOLDER}", text)
