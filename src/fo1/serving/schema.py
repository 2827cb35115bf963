"""Bodies of the verbs' requests and what they bring, as types; bounds are those of `Limits`."""

from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fo1.errors import short_name
from fo1.prompts import Detail, Task
from fo1.proposals import names

# One problem is enough: a body of a million wrong items must not become a million problems.
Box: TypeAlias = Annotated[
    list[float],
    Field(
        min_length=4,
        max_length=4,
        fail_fast=True,
        description="x1, y1, x2, y2 in pixels of the picture",
    ),
]


def _check_named(name: str) -> str:
    """Return the name of a proposer that is part of the package: clients name no folders and no hub ids."""
    if name not in names():
        raise ValueError(f"unknown proposer; choose one of: {', '.join(names())}")
    return name


Proposer: TypeAlias = Annotated[
    str, AfterValidator(_check_named), Field(json_schema_extra={"enum": list(names())})
]
Region: TypeAlias = Annotated[int, Field(ge=0, lt=10**18)]
Query: TypeAlias = Annotated[str, Field(min_length=1)]
Queries: TypeAlias = Annotated[list[Query], Field(min_length=1, fail_fast=True)]
Regions: TypeAlias = Annotated[list[Region], Field(min_length=1, fail_fast=True)]
Threshold: TypeAlias = Annotated[
    float | None,
    Field(ge=0, le=1, description="least score of a detection; the model's own if left out"),
]


class Body(BaseModel):
    """What a client sends; what is not known is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        """Tell the first strange field alone."""
        if isinstance(given, dict):
            fields = cast("dict[str, Any]", given)
            strange = next((key for key in fields if key not in cls.model_fields), None)
            if strange is not None:
                raise ValueError(f"'{short_name(strange, 60)}' is not known here; leave it out")
        return given


class WithRegions(Body):
    """Where a picture's regions come from: boxes, or a proposer, the model's own if neither is given."""

    boxes: Annotated[list[Box], Field(fail_fast=True)] | None = None
    proposer: Proposer | None = None


class PictureBody(WithRegions):
    """A picture and its regions."""

    image: str = Field(
        min_length=1,
        description="a data URL or base64 of a JPEG, PNG, WebP, GIF, BMP or TIFF; "
        "an http(s) URL where the server was started with --remote-pictures",
        json_schema_extra={"format": "picture"},
    )


class GroundBody(PictureBody):
    """The picture alone."""


class QueryBody(PictureBody):
    """Names, or for refer expressions."""

    queries: Queries
    threshold: Threshold = None


class DescribeBody(PictureBody):
    """Regions; up to ten of the boxes if left out."""

    regions: Regions | None = None
    detail: Detail = "brief"


class ReadBody(PictureBody):
    """Regions; up to ten of the boxes if left out."""

    regions: Regions | None = None


class SimilarBody(PictureBody):
    """The region that others are to be like."""

    region: Region
    threshold: Threshold = None


class AskBody(PictureBody):
    """A question, in which `<region3>` names a region."""

    question: Query
    think: bool = False


class Rle(BaseModel):
    """A mask as COCO writes it, compressed."""

    size: list[int]
    counts: str


class Found(BaseModel):
    """One detection; what is not known of it is left out, or null in a chat."""

    label: str
    box: list[float]
    score: float
    region: int
    proposal_score: float | None = None
    model_score: float | None = None
    mask: Rle | None = None


class TextRow(BaseModel):
    """What was said about one region."""

    region: int
    text: str


class ResultRow(BaseModel):
    """What a verb brings: the fields of `fo1 ... --json`.

    `image` is the picture's SHA-256; `seconds` has queue, load, encode, propose and answer.
    """

    image: str
    width: int
    height: int
    model: str
    proposer: str
    task: Task
    regions: list[list[float]]
    detections: list[Found]
    texts: list[TextRow]
    text: str | None
    count: int | None
    problems: list[str]
    seconds: dict[str, float]


class Error(BaseModel):
    """Why there is no answer."""

    message: str
    type: str
    param: None = None
    code: str


class ErrorBody(BaseModel):
    """An error in the shape of OpenAI's."""

    error: Error


class Health(BaseModel):
    """Whether requests are taken."""

    status: Literal["ok", "draining"]
    model: str


class Model(BaseModel):
    """A model that answers."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "fo1"


class Models(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Model]


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "the request cannot be answered as it is"},
    "5XX": {"model": ErrorBody, "description": "the server cannot answer now"},
}
