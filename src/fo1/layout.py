"""The layout of a chat: turns, pictures and their regions as one string with placeholders.

Source: om-ai-lab/VLM-FO1, vlm_fo1/mm_utils.py.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from fo1.tags import (
    GROUND_CLOSE,
    GROUND_OPEN,
    IMAGE_PLACEHOLDER,
    OBJECTS_OPEN,
    REGION_PLACEHOLDER,
    guard,
    region_token,
)
from fo1.tags import (
    repeat_features as with_features,
)

TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"
VISION_START: Final = "<|vision_start|>"
VISION_END: Final = "<|vision_end|>"
SYSTEM_TEXT: Final = "You are a helpful assistant."
Role: TypeAlias = Literal["user", "assistant"]


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


def region_list(num_regions: int, first: int = 0) -> str:
    """Return index token and feature placeholder for each of the regions, without spaces.

    Example:
        >>> region_list(2, first=3)
        '<region3><regionfeat><region4><regionfeat>'
    """
    regions = range(first, first + num_regions)
    return "".join(f"{region_token(region)}{REGION_PLACEHOLDER}" for region in regions)


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
    prompt = "" if system is None else _turn("system", guard(system))
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


def scene_prefix(*num_regions: int) -> str:
    """Return the opening of a chat up to the question: what all questions about one scene share.

    `scene_prefix(n) + question_branch(text)` equals `build_prompt` of one turn with a picture.

    Args:
        num_regions: per picture how many boxes it has; none for a chat without pictures.
    """
    firsts = [sum(num_regions[:place]) for place in range(len(num_regions))]
    blocks = [image_block(count, first) for count, first in zip(num_regions, firsts, strict=True)]
    return f"{_turn('system', SYSTEM_TEXT)}{TURN_START}user\n{''.join(blocks)}"


def question_branch(text: str, *, repeat_features: bool = False) -> str:
    """Return a question behind a scene's prefix, ready for the answer.

    Args:
        text: the question; placeholders and chat tokens in it are made harmless.
        repeat_features: follow every region that the question names by its feature once more.
    """
    return f"{_text(text, repeat_features)}{TURN_END}\n{TURN_START}assistant\n"


def answer_turn(text: str) -> str:
    """Return an answer behind a question branch, with what ends it; region and grounding tags stay.

    Args:
        text: the answer; placeholders and chat tokens in it are made harmless.
    """
    return f"{guard(text)}{TURN_END}"


def query_branch(query: str) -> str:
    """Return a query behind a scene's prefix: the opened list that the score head reads.

    Example:
        >>> query_branch("cat")
        '<ground>cat</ground><objects>'
    """
    return f"{GROUND_OPEN}{query}{GROUND_CLOSE}{OBJECTS_OPEN}"


def _turn(role: str, content: str) -> str:
    return f"{TURN_START}{role}\n{content}{TURN_END}\n"


def _text(text: str, repeat: bool) -> str:
    return with_features(guard(text)) if repeat else guard(text)
