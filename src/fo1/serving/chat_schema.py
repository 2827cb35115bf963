"""Chat completions in OpenAI's shape, with one part more: the boxes of the picture before it."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Field, model_validator

from fo1.serving.schema import Body, Found, WithRegions

Role: TypeAlias = Literal["system", "developer", "user", "assistant"]


class _Lenient(Body):
    """A body in which null stands for what is left out, as in what OpenAI's client writes."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None}


class TextPart(Body):
    """Words."""

    type: Literal["text"]
    text: str


class ImageURL(_Lenient):
    """Where a picture is; `detail` changes nothing."""

    url: str = Field(min_length=1, json_schema_extra={"format": "picture"})
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Body):
    """A picture, without regions unless a boxes part follows."""

    type: Literal["image_url"]
    image_url: ImageURL


class BoxesPart(WithRegions):
    """Regions of the picture before it: the boxes given, or those that a proposer finds."""

    type: Literal["boxes"]


Part: TypeAlias = Annotated[TextPart | ImagePart | BoxesPart, Field(discriminator="type")]


class Message(_Lenient):
    """What somebody said."""

    role: Role
    content: str | list[Part]
    name: str | None = None


class StreamOptions(_Lenient):
    """How an answer is streamed."""

    include_usage: bool = False


class ChatBody(_Lenient):
    """A chat whose next message is wanted. Answers are greedy: what steers sampling changes nothing."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: Literal[1] = 1
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    user: str | None = None

    @property
    def most_tokens(self) -> int | None:
        """The longest answer that is wanted."""
        given = (self.max_tokens, self.max_completion_tokens)
        return min((one for one in given if one is not None), default=None)


class Said(BaseModel):
    """The answer; its markup names regions, which count on from picture to picture."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The one answer."""

    index: Literal[0] = 0
    message: Said
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Usage(BaseModel):
    """Tokens; those of pictures and regions count."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Picture(BaseModel):
    """A picture of the chat: its regions, and those named in the answer, under its own numbers."""

    width: int
    height: int
    proposer: str
    regions: list[list[float]]
    detections: list[Found]


class Grounded(BaseModel):
    """What OpenAI's shape has no place for: the answer as plain text, and where what it names lies."""

    text: str
    pictures: list[Picture]
    problems: list[str]
    seconds: dict[str, float]


class Completion(BaseModel):
    """An answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    fo1: Grounded
