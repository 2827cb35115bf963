"""Text that goes into the model: questions per task, region markup, chat layout. Strings only.

Two placeholders stand for vectors and never meet the vocabulary: `<image>` and `<regionfeat>`.
A box costs two positions: its index token `<regionN>` and one `<regionfeat>`.

Source: om-ai-lab/VLM-FO1, vlm_fo1/task_templates.py (wording) and vlm_fo1/mm_utils.py (layout).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

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
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"
VISION_START: Final = "<|vision_start|>"
VISION_END: Final = "<|vision_end|>"
SYSTEM_TEXT: Final = "You are a helpful assistant."
NONE_TEXT: Final = "None"
"""Written between the objects tags when a phrase matches no region."""

Detail: TypeAlias = Literal["brief", "detailed"]
Role: TypeAlias = Literal["user", "assistant"]

_DETECT = "Please detect {} in this image. Answer the question with object indexes."
_COUNT = (
    "How many {} are there in this image? Count each instance of the target object. "
    "Locate them with object indexes and then answer the question with the number of objects."
)
_READ = "Please provide the ocr results of {} in the image."
_DESCRIBE: Final[dict[Detail, str]] = {
    "brief": "Provide a brief description for {}.",
    "detailed": "Provide a detailed description for {}.",
}
_GROUND = (
    "Briefly describe this image and detect all mentioned objects. "
    "Answer with grounded object indexes."
)
_SIMILAR = (
    "Using the provided object {} as a reference, identify all other objects of the same category "
    "in this image. Respond with object indexes."
)

_REASON = (
    "First thinks about the reasoning process in the mind and then provides the user with the answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
    "respectively, i.e., <think> reasoning process here </think><answer> answer here </answer>. "
    "Please give a detailed reasoning process process and provide image regions that can help you "
    "answer the question better. {}"
)  # parity: word for word, slips included, as the published weights were trained on it

_REGION = re.compile(r"<region([0-9]{1,18})>", re.IGNORECASE)
_PLACED = re.compile(rf"<region([0-9]{{1,18}})>{REGION_PLACEHOLDER}")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Behind a tag, or where one will stand, a tokenizer's NFC joins it with ">" and the tag is lost.
_OVERLAY = re.compile("(?<![\\w=])\u0338")
_OPENING = re.compile(r"<(?=[^\s0-9=])")
# A turn may hold region, ground and thinking tags; these alone would break the sequence.
_STRUCTURE = re.compile(r"<(image|regionfeat|\|[^<>\s]*\|)>", re.IGNORECASE)


class Task(StrEnum):
    """What is asked of a picture; the values are the verbs of the API and the command line."""

    DETECT = "detect"
    REFER = "refer"
    COUNT = "count"
    DESCRIBE = "describe"
    READ = "read"
    GROUND = "ground"
    SIMILAR = "similar"
    ASK = "ask"


QUERY_TASKS: Final = (Task.DETECT, Task.REFER, Task.COUNT)
"""Tasks whose queries are matched with regions."""

REGION_TASKS: Final = (Task.DESCRIBE, Task.READ)
"""Tasks that say something about single regions."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a message, with the regions that follow it."""

    num_regions: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a chat.

    Args:
        role: who speaks.
        parts: texts and pictures in the order in which they stand in the message. Placeholders and
            chat tokens in a text are made harmless.
    """

    role: Role
    parts: tuple[str | Picture, ...]


def region_token(region: int) -> str:
    """Return the index token of a region.

    Example:
        >>> region_token(3)
        '<region3>'
    """
    if region < 0:
        raise QueryError(f"region {region} is negative; regions count from 0")
    return f"<region{region:d}>"


def region_list(num_regions: int, first: int = 0) -> str:
    """Return index token and feature placeholder for each of the regions, without spaces.

    Example:
        >>> region_list(2, first=3)
        '<region3><regionfeat><region4><regionfeat>'
    """
    regions = range(first, first + num_regions)
    return "".join(f"{region_token(region)}{REGION_PLACEHOLDER}" for region in regions)


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


def detect(names: Sequence[str]) -> str:
    """Return the detection question; several names are joined by a comma and a space.

    Repeated names are asked once. A single string counts as one name. The published templates have
    one slot; the comma form for several names is that of the reference's recorded runs.

    Raises:
        QueryError: no names, or an empty one.

    Example:
        >>> detect(["cat", "coffee cup"])
        'Please detect cat, coffee cup in this image. Answer the question with object indexes.'
    """
    given = [names] if isinstance(names, str) else list(names)
    if not given:
        raise QueryError("no names to detect; give at least one, for example detect(['cat'])")
    return _DETECT.format(", ".join(dict.fromkeys(clean_name(name) for name in given)))


def refer(expression: str) -> str:
    """Return the question for a referring expression; the wording is that of detection."""
    return _DETECT.format(clean_name(expression))


def count(noun: str) -> str:
    """Return the counting question."""
    return _COUNT.format(clean_name(noun))


def describe(regions: Iterable[int], detail: Detail = "brief") -> str:
    """Return the question for a description of the regions.

    Raises:
        QueryError: no regions, a negative one, or an unknown detail.
    """
    if detail not in _DESCRIBE:
        raise QueryError(f"detail is {detail!r}; give 'brief' or 'detailed'")
    return _DESCRIBE[detail].format(_region_names(regions))


def read(regions: Iterable[int]) -> str:
    """Return the question for the text written in the regions."""
    return _READ.format(_region_names(regions))


def ground() -> str:
    """Return the question for a description of the picture whose phrases name regions."""
    return _GROUND


def similar(region: int) -> str:
    """Return the question for all other regions of the same category as this one."""
    return _SIMILAR.format(region_token(region))


def ask(text: str, *, num_regions: int | None = None, think: bool = False) -> str:
    """Return a free question; `<region3>` in it names a region, all other markup is harmless.

    Args:
        text: the question; line breaks inside stay.
        num_regions: how many regions the picture has; None leaves references unchecked.
        think: have the model reason about regions before it answers.

    Raises:
        QueryError: the question is empty or names a region that does not exist.
    """
    _need_text(text, "question")
    if num_regions is not None:
        check_regions((int(number) for number in _REGION.findall(text)), num_regions)
    question = neutralise(text.strip(), keep_regions=True)
    return _REASON.format(question) if think else question


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


def clean_name(name: str) -> str:
    """Return a name on one line, spaces collapsed and markup made harmless.

    Labels in answers are compared with this form, not with what the caller typed.

    Raises:
        QueryError: not a string, or nothing but spaces.
    """
    _need_text(name, "query")
    return neutralise(" ".join(name.split()))


def image_block(num_regions: int, first: int = 0) -> str:
    """Return a picture of a user turn: vision markers, then the region line if any.

    Args:
        num_regions: how many boxes the picture has.
        first: number of the first; regions count on from picture to picture of a chat.
    """
    image = f"{VISION_START}{IMAGE_PLACEHOLDER}{VISION_END}\n"
    return f"{image}{region_list(num_regions, first)}\n" if num_regions else image


def build_prompt(
    *turns: Turn,
    system: str | None = SYSTEM_TEXT,
    open_answer: bool = True,
    repeat_features: bool = False,
) -> str:
    """Return the chat as one string with `<image>` and `<regionfeat>` placeholders.

    Parity: newlines stand exactly where the published weights saw them. Unlike the reference, the
    system turn does not depend on the words of the question.

    Args:
        turns: messages, oldest first.
        system: text of the system turn; None leaves the turn out.
        open_answer: end with the header of the assistant's turn, ready for generation.
        repeat_features: follow every region that a user's text names by its feature once more.
    """
    prompt = "" if system is None else _turn("system", _guard(system))
    first = 0
    for turn in turns:
        content = ""
        for part in turn.parts:
            if isinstance(part, Picture):
                content += image_block(part.num_regions, first)
                first += part.num_regions
            else:
                content += _text(part, repeat_features and turn.role == "user")
        prompt += _turn(turn.role, content)
    return f"{prompt}{TURN_START}assistant\n" if open_answer else prompt


def scene_prefix(num_regions: int, *, picture: bool = True) -> str:
    """Return the opening of a chat up to the question: what all questions about one scene share.

    `scene_prefix(n) + question_branch(text)` equals `build_prompt` of one turn with a picture.

    Args:
        num_regions: how many boxes the picture has.
        picture: False leaves out the picture and keeps the regions.
    """
    block = image_block(num_regions) if picture else f"{region_list(num_regions)}\n"
    return f"{_turn('system', SYSTEM_TEXT)}{TURN_START}user\n{block}"


def question_branch(text: str, *, repeat_features: bool = False) -> str:
    """Return a question behind a scene's prefix, ready for the answer.

    Args:
        text: the question; placeholders and chat tokens in it are made harmless.
        repeat_features: follow every region that the question names by its feature once more.
    """
    return f"{_text(text, repeat_features)}{TURN_END}\n{TURN_START}assistant\n"


def query_branch(query: str) -> str:
    """Return a query behind a scene's prefix: the opened list that the score head reads.

    Example:
        >>> query_branch("cat")
        '<ground>cat</ground><objects>'
    """
    return f"{GROUND_OPEN}{query}{GROUND_CLOSE}{OBJECTS_OPEN}"


def _turn(role: str, content: str) -> str:
    return f"{TURN_START}{role}\n{content}{TURN_END}\n"


def _text(text: str, repeat_features: bool) -> str:
    guarded = _guard(text)
    return _REGION.sub(rf"<region\1>{REGION_PLACEHOLDER}", guarded) if repeat_features else guarded


def _guard(text: str) -> str:
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


def _region_names(regions: Iterable[int]) -> str:
    names = [region_token(region) for region in dict.fromkeys(regions)]
    if not names:
        raise QueryError("no regions given; name at least one, for example regions=[0]")
    return ", ".join(names)


def _need_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise QueryError(f"the {what} is a {type(text).__name__}, need a string")
    if not text.strip():
        raise QueryError(f"the {what} is empty; give a word or a phrase")
