"""Questions: what is written to the model for each task.

Source: om-ai-lab/VLM-FO1, vlm_fo1/task_templates.py (wording).
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from fo1.errors import QueryError
from fo1.tags import check_regions, neutralise, region_token, regions_in

NAME_LENGTH: Final = 1_000
"""Characters of a name, an expression or a phrase."""
QUESTION_LENGTH: Final = 10_000
"""Characters of a question."""
Detail: TypeAlias = Literal["brief", "detailed"]
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
    given = as_queries(names)
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
        QueryError: the question is empty, too long or names a region that does not exist.
    """
    _need_text(text, "question", QUESTION_LENGTH)
    if num_regions is not None:
        check_regions(regions_in(text), num_regions)
    question = neutralise(text.strip(), keep_regions=True)
    return _REASON.format(question) if think else question


def as_queries(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return one string or several as a tuple; what is neither is told when it is read."""
    if isinstance(names, str) or not isinstance(names, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        return (names,)
    return tuple(names)


def clean_name(name: str) -> str:
    """Return a name on one line, spaces collapsed and markup made harmless.

    Labels in answers are compared with this form, not with what the caller typed.

    Raises:
        QueryError: not a string, nothing but spaces, or too long.
    """
    _need_text(name, "query", NAME_LENGTH)
    return one_line(name)


def one_line(text: str) -> str:
    """Return what `clean_name` makes of a text, for one that a model wrote: it may be empty, and of any length."""
    return neutralise(" ".join(text.split()))


def _region_names(regions: Iterable[int]) -> str:
    names = [region_token(region) for region in dict.fromkeys(regions)]
    if not names:
        raise QueryError("no regions given; name at least one, for example regions=[0]")
    return ", ".join(names)


def _need_text(text: object, what: str, most: int) -> None:
    if not isinstance(text, str):
        raise QueryError(f"the {what} is a {type(text).__name__}, need a string")
    if not text.strip():
        raise QueryError(f"the {what} is empty; give a word or a phrase")
    if len(text) > most:
        raise QueryError(f"the {what} has {len(text):,} characters; give at most {most:,}")
