"""Generated text to values: groundings, counts, texts of regions. Never raises on any text.

The form to read is `<ground>label</ground><objects><region1><region4></objects>`, possibly inside
a running sentence. What cannot be read is told in `problems`, one line each.

Source: om-ai-lab/VLM-FO1, vlm_fo1/mm_utils.py (the form). There regions become a set and an unknown
one raises; here the order is kept and an unknown one is reported.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from fo1.results import Answer, Citation, Grounding, RegionText
from fo1.tags import ANSWER_CLOSE, ANSWER_OPEN, NONE_TEXT, THINK_CLOSE, THINK_OPEN

# The paper's figures write <object> and <Region0>, the released code <objects> and <region0>.
# Runs are possessive (*+), so that damaged text is read in linear time.
_REGION = re.compile(r"<region([0-9]+)>", re.IGNORECASE | re.ASCII)
_RUN = r"(?:(?!</?(?:ground|objects?)>).)*+"  # anything up to the next label or list tag
_PAIR = re.compile(
    rf"(?:<ground>(?P<label>{_RUN})(?:(?P<label_end></ground>)[\s:]*+)?)?"
    rf"<objects?>(?P<list>{_RUN})(?P<list_end></objects?>)?",
    re.IGNORECASE | re.DOTALL,
)
_STRAY = re.compile(
    rf"<ground>(?P<label>{_RUN})(?:</ground>)?|</ground>|</objects?>", re.IGNORECASE | re.DOTALL
)
_LIST = re.compile(rf"<objects?>{_RUN}(?:</objects?>)?", re.IGNORECASE | re.DOTALL)
_CHAT = re.compile(r"<\|[^<>|\s]*\|>")
_MARKUP = re.compile(
    rf"</?(?:ground|objects?|think|answer)>|<region(?:[0-9]+|feat)>|{_CHAT.pattern}", re.IGNORECASE
)
_SPACES = re.compile(r"\s+")
_BEFORE_STOP = re.compile(r"\s+([.,;:!?])")

_INTEGER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+")
_WORDS: tuple[str, ...] = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)
_WORD = re.compile(rf"(?<![\w-])({'|'.join(_WORDS)})(?![\w-])", re.IGNORECASE)
_NOTHING = re.compile(r"^\W*(?:no|none)\W*$|\bthere (?:is|are) (?:no|none)\b", re.IGNORECASE)
_MAX_DIGITS = 9


def parse_answer(text: str, num_regions: int) -> Answer:
    """Return what could be read out of a generated answer.

    Equal labels are merged; regions keep the order of first appearance and appear once a label.
    A label with an empty or "None" object list gives a grounding without regions. Objects
    without a label get the phrase "". Groundings inside the thought do not count, citations do.

    Args:
        text: as generated, with the special tokens kept.
        num_regions: how many regions the picture had; others are reported, never returned.

    Example:
        >>> parse_answer("<ground>cat</ground><objects><region2><region9></objects>", 5)
        ... # doctest: +NORMALIZE_WHITESPACE
        Answer(text='<ground>cat</ground><objects><region2><region9></objects>',
               answer='<ground>cat</ground><objects><region2><region9></objects>',
               groundings=(Grounding(phrase='cat', regions=(2,)),),
               problems=('region 9 does not exist; the picture has 5',), thought=None,
               citations=(Citation(region=2, start=29, end=38, part='answer', phrase='cat'),))
    """
    problems: list[str] = []
    thought, answer = _split_thought(_CHAT.sub("", text), problems)
    found: dict[str, dict[int, None]] = {}
    for phrase, regions in _read_pairs(answer, num_regions, problems):
        found.setdefault(phrase, {}).update(dict.fromkeys(regions))
    _check_rest(answer, num_regions, problems)
    return Answer(
        text=text,
        answer=answer,
        groundings=tuple(Grounding(phrase, tuple(regions)) for phrase, regions in found.items()),
        problems=tuple(dict.fromkeys(problems)),
        thought=thought,
        citations=tuple(_read_citations(text, num_regions)),
    )


def parse_count(text: str) -> int | None:
    """Return the number that a counting answer states, or None when it states none.

    Region tokens and grounded pairs are dropped first. The first integer counts; without digits the
    first word from zero to twenty; "none", "no" or "there are no ..." is 0.

    Example:
        >>> parse_count("<ground>cat</ground><objects><region12></objects> There are 3 cats.")
        3
    """
    plain = _CHAT.sub("", _split_thought(text, [])[1])
    # A label may hold a digit ("number 7 shirt"), so it is read only when nothing else has one.
    for candidate in (_REGION.sub(" ", _PAIR.sub(" ", plain)), _REGION.sub(" ", plain)):
        if number := _INTEGER.search(candidate):
            digits = number[0].replace(",", "")
            return int(digits) if len(digits) <= _MAX_DIGITS else None
        if _NOTHING.search(candidate):
            return 0
        if word := _WORD.search(candidate):
            return _WORDS.index(word[1].lower())
    return None


def parse_region_texts(
    text: str, regions: Iterable[int]
) -> tuple[tuple[RegionText, ...], tuple[str, ...]]:
    """Return the text said about each of the regions asked, and a line per problem.

    Three forms are read: pairs (`<ground>STOP</ground><objects><region3></objects>`), tokens
    followed by their text (`<region3>: STOP <region4>: EXIT`), and plain text, which belongs to the
    only region or, line by line, to as many regions as there are lines. Order is that of `regions`.

    Example:
        >>> parse_region_texts("<region4>: EXIT <region3>: STOP", [3, 4])[0]
        (RegionText(region=3, text='STOP'), RegionText(region=4, text='EXIT'))
    """
    asked = tuple(dict.fromkeys(regions))
    problems: list[str] = []
    answer = _split_thought(_CHAT.sub("", text), problems)[1]
    said: dict[int, list[str]] = {}
    for region, words in _region_pieces(answer, asked):
        if region not in asked:
            problems.append(f"text for region {region}, which was not asked")
        elif words:
            said.setdefault(region, []).append(words)
    problems += [f"no text for region {region}" for region in asked if region not in said]
    texts = tuple(RegionText(region, " ".join(said[region])) for region in asked if region in said)
    return texts, tuple(dict.fromkeys(problems))


def plain_text(text: str) -> str:
    """Return the answer for people: no thought, tags, object lists or region tokens.

    Example:
        >>> plain_text("A <ground>cat</ground><objects><region2></objects> sleeps.")
        'A cat sleeps.'
    """
    answer = _split_thought(_CHAT.sub("", text), [])[1]
    # An object list leaves a space behind, so that neighbouring labels stay apart.
    words = _MARKUP.sub(" ", _LIST.sub(" ", answer))
    return _BEFORE_STOP.sub(r"\1", _SPACES.sub(" ", words)).strip()


def _read_pairs(
    answer: str, num_regions: int, problems: list[str]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (phrase, regions) of every object list, in order; add what is wrong to `problems`."""
    for pair in _PAIR.finditer(answer):
        phrase = _label(pair["label"] or "")
        tokens = _REGION.findall(pair["list"])
        regions = tuple(
            region for token in tokens if (region := _known(token, num_regions)) is not None
        )
        rest = " ".join(_REGION.sub(" ", pair["list"]).replace(",", " ").split())
        if not phrase:
            problems.append("objects without a label")
        elif not pair["label_end"]:
            problems.append(f"label '{_short(phrase)}' is not closed")
        if not pair["list_end"]:
            problems.append(f"objects of '{_short(phrase)}' are not closed")
        if rest and (tokens or rest.strip(".").lower() != NONE_TEXT.lower()):
            problems.append(f"objects of '{_short(phrase)}' hold other text: '{_short(rest)}'")
        if phrase or regions:
            yield phrase, regions


def _read_citations(text: str, num_regions: int) -> Iterator[Citation]:
    """Yield every mention of an existing region, in order, with its place in the text."""
    start, end = _thought_span(text)
    bounds = (0, max(start, 0), max(end, 0), len(text))  # no list reaches out of the thought
    lists = [
        (pair.start("list"), pair.end("list"), _label(_CHAT.sub("", pair["label"] or "")))
        for low, high in pairwise(bounds)
        for pair in _PAIR.finditer(text, low, high)
    ]
    waiting = iter(lists)
    opened, closed, phrase = next(waiting, (len(text), len(text), ""))
    for mention in _REGION.finditer(text):
        while mention.start() >= closed and closed < len(text):
            opened, closed, phrase = next(waiting, (len(text), len(text), ""))
        region = _known(mention[1], num_regions)
        if region is not None:
            yield Citation(
                region,
                mention.start(),
                mention.end(),
                "thought" if start <= mention.start() < end else "answer",
                phrase if mention.start() >= opened else None,
            )


def _thought_span(text: str) -> tuple[int, int]:
    """Return where the thought begins and ends, by the rules of `_split_thought`."""
    opened = text.find(THINK_OPEN)
    closed = text.find(THINK_CLOSE, max(opened, 0))
    if closed < 0 <= opened:
        closed = text.find(ANSWER_OPEN, opened)
        return opened, len(text) if closed < 0 else closed
    return max(opened, 0), closed


def _check_rest(answer: str, num_regions: int, problems: list[str]) -> None:
    """Add regions that do not exist and tags that belong to no pair to `problems`."""
    for region in _REGION.findall(answer):
        if _known(region, num_regions) is None:
            shown = region if len(region) <= _MAX_DIGITS else f"{region[:_MAX_DIGITS]}..."
            problems.append(f"region {shown} does not exist; the picture has {num_regions}")
    for stray in _STRAY.finditer(_PAIR.sub(" ", answer)):
        if stray["label"] is None:
            problems.append(f"{stray[0].lower()} closes nothing")
        else:
            problems.append(f"label '{_short(_label(stray['label']))}' has no objects")


def _known(digits: str, num_regions: int) -> int | None:
    region = int(digits) if len(digits) <= _MAX_DIGITS else num_regions
    return region if region < num_regions else None


def _label(text: str) -> str:
    return " ".join(_REGION.sub(" ", text).split())


def _split_thought(text: str, problems: list[str]) -> tuple[str | None, str]:
    """Return (thought or None, answer), both stripped, without the four tags around them."""
    thought: str | None = None
    answer = text
    before, opened, after = text.partition(THINK_OPEN)
    if opened:
        inside, closed, rest = after.partition(THINK_CLOSE)
        if not closed:
            problems.append("<think> is not closed")
            # Without an end mark, an answer tag is the only sign that the thought is over.
            inside, tag, rest = after.partition(ANSWER_OPEN)
            rest = tag + rest
        thought, answer = inside.strip(), before + rest
    elif THINK_CLOSE in text:
        # Some chat layouts put the opening tag into the prompt.
        inside, _, answer = text.partition(THINK_CLOSE)
        thought = inside.strip()
    _, opened, inside = answer.partition(ANSWER_OPEN)
    if opened:
        answer, closed, _ = inside.partition(ANSWER_CLOSE)
        if not closed:
            problems.append("<answer> is not closed")
    return thought, answer.replace(ANSWER_OPEN, "").replace(ANSWER_CLOSE, "").strip()


def _region_pieces(answer: str, asked: tuple[int, ...]) -> Iterator[tuple[int, str]]:
    """Yield (region, its text) in the order of the answer."""
    pairs = parse_answer(answer, num_regions=10**_MAX_DIGITS).groundings
    if any(pair.phrase and pair.regions for pair in pairs):
        for pair in pairs:
            for region in pair.regions:
                yield region, pair.phrase
        return
    pieces = _REGION.split(answer)  # text, number, text, number, ..., text
    lines = [line for line in map(plain_text, answer.splitlines()) if line]
    if len(pieces) > 1 and len(asked) != 1:
        for number, words in zip(pieces[1::2], pieces[2::2], strict=True):
            if len(number) <= _MAX_DIGITS:
                yield int(number), plain_text(words).strip(" :-,;")
    elif len(asked) == 1:
        yield asked[0], plain_text(answer).strip(" :-")
    elif len(lines) == len(asked):
        yield from zip(asked, lines, strict=True)


def _short(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
