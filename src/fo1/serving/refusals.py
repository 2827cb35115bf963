"""Refusals: what a client is told when it gets no answer, in the shape of OpenAI's errors."""

from typing import Any

from fo1.errors import BoxError, CheckpointError, FO1Error, ImageError, QueryError, short_name

_TYPES = {401: "authentication_error", 429: "rate_limit_error"}
_CODES = {ImageError: "invalid_image", BoxError: "invalid_boxes", QueryError: "invalid_query"}


class Refusal(FO1Error):
    """Raised when a request gets no answer.

    Args:
        status: of HTTP.
        code: for programs.
        message: one line with the cure.
        retry_after: seconds after which the same request may be answered; None where it will not.
        close: whether the connection is of no more use.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        retry_after: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.close = close

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that the client gets."""
        usual = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status, usual)
        message = " ".join(str(self).split())
        return {"error": {"message": message, "type": kind, "param": None, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.close:
            headers["connection"] = "close"
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers


def as_refusal(error: BaseException) -> Refusal:
    """Return what the client is told of an error; only what it did itself is told in full."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, FO1Error) and not isinstance(error, CheckpointError):
        code = next((name for kind, name in _CODES.items() if isinstance(error, kind)), "invalid")
        return Refusal(400, code, str(error))
    return Refusal(500, "internal", "the server failed at this request; its log tells why")


def invalid(problem: dict[str, Any]) -> Refusal:
    """Return the refusal of a body that does not fit its schema; `problem` is one of pydantic's."""
    steps = [str(step) for step in problem["loc"] if step != "body"]
    place = ".".join(step for step in steps if "[" not in step)  # else the name of a type
    kind, told = problem["type"], str(problem["msg"])
    if kind == "none_required":
        told = "is not to be had here; leave it out"
    elif kind == "missing":
        told = "is missing; add it"
    elif kind == "json_invalid":
        place, told = "", f"the body is no JSON ({problem.get('ctx', {}).get('error', told)})"
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        told = "this is no JSON object; send one, with content-type: application/json"
    else:
        told = told.removeprefix("Value error, ")
    return Refusal(400, "invalid_body", short_name(f"{place}: {told}" if place else told, 500))
