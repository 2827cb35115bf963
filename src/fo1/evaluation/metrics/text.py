"""How alike two short texts are, by their words or their characters."""

import re
import unicodedata

import numpy as np

_TOKEN = re.compile(
    r"""(?x)
    (?:mrs?|ms|dr|st|jr|sr)\.(?=\s) | (?:[^\W\d_]\.){2,} |   # Mr.  p.m.
    can(?=not\b) | gon(?=na\b) | \w+(?=n't\b) |              # can not, gon na, is n't
    (?:n't|'(?:s|m|d|re|ve|ll))\b | '\d+s\b |                # 's  '90s
    \d+(?:[.,:]\d+)+ | \w+(?:[-/]\w+)* | [^\w\s]             # 3:00  two-tone"""
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_DROPPED = re.compile(r"""[-.?!,:;'"`_\u2010-\u2026]+""")


def clean_category(name: str) -> str:
    """Return the name of a category as an answer is compared with it: `_` and `:` become spaces.

    Source: CircleRadon/Osprey, osprey/eval/lvis_paco_eval.py.

    Example:
        >>> clean_category("dog:front_leg")
        'dog front leg'
    """
    return name.replace("_", " ").replace(":", " ")


def clean_answer(text: str) -> str:
    """Return an answer without `.`, `,` and what is outside its first colons.

    Of "category: cup: red" the part "cup" counts, as in the published script.

    Source: CircleRadon/Osprey, osprey/eval/lvis_paco_eval.py.

    Example:
        >>> clean_answer("The category is: coffee cup.")
        'coffee cup'
    """
    said = text.split(":")[1] if ":" in text else text
    return said.replace(".", " ").replace(",", " ").strip()


def word_iou(answer: str, truth: str) -> float:
    """Return the words that two texts share over all their words, whatever their case and order.

    Example:
        >>> word_iou("a red Cup", "red cup")
        0.6666666666666666
    """
    said, due = set(answer.lower().split()), set(truth.lower().split())
    return len(said & due) / len(said | due) if said | due else 0.0


def plain_characters(text: str) -> str:
    """Return letters and digits alone, in lower case; a text without any keeps what it has.

    Example:
        >>> plain_characters("St. Mary's"), plain_characters("- & -")
        ('stmarys', '-&-')
    """
    folded = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return "".join(c for c in folded if c.isalnum()) or folded


def edit_distance(text: str, other: str) -> int:
    """Return how many characters must be put in, taken out or replaced to make one from the other.

    Example:
        >>> edit_distance("kitten", "sitting")
        3
    """
    short, long = sorted((text, other), key=len)
    codes = np.array([ord(c) for c in long], np.int64)
    steps = np.arange(len(long) + 1)
    row = steps
    for number, character in enumerate(short, start=1):
        kept = row[:-1] + (codes != ord(character))
        best = np.concatenate([[number], np.minimum(kept, row[1:] + 1)])
        # Taking out one character after the other costs 1 each: a running minimum along the row.
        row = np.minimum.accumulate(best - steps) + steps
    return int(row[-1])


def edit_similarity(text: str, other: str) -> float:
    """Return 1 - edit distance / length of the longer text (1-NED); 1 for two empty texts."""
    longest = max(len(text), len(other))
    return 1 - edit_distance(text, other) / longest if longest else 1.0


def tokens(sentence: str) -> tuple[str, ...]:
    """Return the words of a caption nearly as the COCO caption scorer has them.

    In lower case, split as in the Penn Treebank: 's and n't apart, hyphens within words stay,
    punctuation is left out. That scorer leaves brackets in, so they stay here as well.

    Source: salaniz/pycocoevalcap, tokenizer/ptbtokenizer.py (which punctuation is left out).

    Example:
        >>> tokens("The man's two-tone shirt isn't red.")
        ('the', 'man', "'s", 'two-tone', 'shirt', 'is', "n't", 'red')
    """
    found: list[str] = _TOKEN.findall(sentence.lower().replace("\u2019", "'"))
    return tuple(_BRACKETS.get(token, token) for token in found if not _DROPPED.fullmatch(token))
