"""Chat completions in OpenAI's shape, with one part more: the boxes of the picture before it."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from fo1.serving.schema import Body, Found, WithRegions

Role: TypeAlias = Literal["system", "developer", "user", "assistant"]


class TextPart(Body):
    """Words."""

    type: Literal["text"]
    text: str


class ImageURL(Body):
    """Where a picture is; `detail` changes nothing."""

    url: str = Field(min_length=1, json_schema_extra={"format": "picture"})
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Body):
    """A picture, without regions unless a boxes part follows."""

    type: Literal["image_url"]
    image_url: ImageURL


class BoxesPart(WithRegions):
    """Regions of the picture before it: the boxes given, or those that a proposer finds."""

    type: Literal["boxes"]


Part: TypeAlias = Annotated[TextPart | ImagePart | BoxesPart, Field(discriminator="type")]


class Message(Body):
    """What somebody said; an answer may come back as it was sent, with null for what OpenAI's others hold."""

    role: Role
    content: str | Annotated[list[Part], Field(fail_fast=True)]
    name: str | None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None


class StreamOptions(Body):
    """How an answer is streamed."""

    include_usage: bool | None = None


class ChatBody(Body):
    """A chat whose next message is wanted. Answers are greedy: what steers sampling changes nothing.

    What may be null alone is not to be had here.
    """

    model: str
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: Literal[1] | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = None
    user: str | None = None
    stop: None = None
    tools: None = None
    tool_choice: None = None
    response_format: None = None
    logprobs: None = None

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
