"""Text that goes into the model: questions per task, region markup, chat layout. Strings only.

Two placeholders stand for vectors and never meet the vocabulary: `<image>` and `<regionfeat>`.
A box costs two positions: its index token `<regionN>` and one `<regionfeat>`.

Source: om-ai-lab/VLM-FO1, vlm_fo1/task_templates.py (wording) and vlm_fo1/mm_utils.py (layout).
"""

import re
from collections.abc import Iterable, Sequence
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

_REGION = re.compile(r"<region([0-9]{1,18})>", re.IGNORECASE)
_TAG = re.compile(r"<([^<>\s]*)>")
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


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a chat.

    Args:
        role: who speaks.
        text: the message; placeholders and chat tokens in it are made harmless.
        num_regions: None when the message holds no picture, else how many boxes the picture has.
    """

    role: Role
    text: str
    num_regions: int | None = None


def region_token(region: int) -> str:
    """Return the index token of a region.

    Example:
        >>> region_token(3)
        '<region3>'
    """
    if region < 0:
        raise QueryError(f"region {region} is negative; regions count from 0")
    return f"<region{region:d}>"


def region_list(num_regions: int) -> str:
    """Return index token and feature placeholder for each of the regions, without spaces.

    Example:
        >>> region_list(2)
        '<region0><regionfeat><region1><regionfeat>'
    """
    return "".join(f"{region_token(region)}{REGION_PLACEHOLDER}" for region in range(num_regions))


def regions_in(text: str) -> tuple[int, ...]:
    """Return the regions that a text names, in order, repeats included.

    Example:
        >>> regions_in("is <region3> on <region1> or <region3>?")
        (3, 1, 3)
    """
    return tuple(int(number) for number in _REGION.findall(text))


def neutralise(text: str, *, keep_regions: bool = False) -> str:
    r"""Return text from a person in which nothing acts as markup, so it stays what it says.

    `<tag>` becomes `\u2039tag\u203a` (angle quotation marks) whatever the tag is, and a `<` that
    might open one becomes `\u2039`. A `<` before a space, a digit or `=` is a comparison and stays.

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
    return _OPENING.sub("\u2039", _TAG.sub("\u2039\\1\u203a", text))


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


def ask(text: str, *, num_regions: int | None = None) -> str:
    """Return a free question; `<region3>` in it names a region, all other markup is harmless.

    Args:
        text: the question; line breaks inside stay.
        num_regions: how many regions the picture has; None leaves references unchecked.

    Raises:
        QueryError: the question is empty or names a region that does not exist.
    """
    _need_text(text, "question")
    if num_regions is not None:
        check_regions((int(number) for number in _REGION.findall(text)), num_regions)
    return neutralise(text.strip(), keep_regions=True)


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


def image_block(num_regions: int) -> str:
    """Return the picture part of a user turn: vision markers, then the region line if any."""
    image = f"{VISION_START}{IMAGE_PLACEHOLDER}{VISION_END}\n"
    return f"{image}{region_list(num_regions)}\n" if num_regions else image


def build_prompt(*turns: Turn, system: str | None = SYSTEM_TEXT, open_answer: bool = True) -> str:
    """Return the chat as one string with `<image>` and `<regionfeat>` placeholders.

    Parity: newlines stand exactly where the published weights saw them. Unlike the reference, the
    system turn does not depend on the words of the question.

    Args:
        turns: messages, oldest first.
        system: text of the system turn; None leaves the turn out.
        open_answer: end with the header of the assistant's turn, ready for generation.
    """
    prompt = "" if system is None else _turn("system", _guard(system))
    for turn in turns:
        picture = "" if turn.num_regions is None else image_block(turn.num_regions)
        prompt += _turn(turn.role, picture + _guard(turn.text))
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
    guarded = _guard(text)
    if repeat_features:
        guarded = _REGION.sub(rf"<region\1>{REGION_PLACEHOLDER}", guarded)
    return f"{guarded}{TURN_END}\n{TURN_START}assistant\n"


def query_branch(query: str) -> str:
    """Return a query behind a scene's prefix: the opened list that the score head reads.

    Example:
        >>> query_branch("cat")
        '<ground>cat</ground><objects>'
    """
    return f"{GROUND_OPEN}{query}{GROUND_CLOSE}{OBJECTS_OPEN}"


def _turn(role: str, content: str) -> str:
    return f"{TURN_START}{role}\n{content}{TURN_END}\n"


def _guard(text: str) -> str:
    return _STRUCTURE.sub("\u2039\\1\u203a", text)


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
