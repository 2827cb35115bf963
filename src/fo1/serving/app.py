"""The routes: typed bodies to jobs, what they bring to JSON."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi import Request as HTTPRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

import fo1
from fo1.errors import FO1Error
from fo1.serving import schema
from fo1.serving.chat import completion, events, read_chat
from fo1.serving.chat_schema import ChatBody, Completion
from fo1.serving.gate import Gate
from fo1.serving.metrics import CONTENT_TYPE
from fo1.serving.pictures import PictureReader
from fo1.serving.refusals import Refusal, as_refusal, invalid
from fo1.serving.service import Service
from fo1.serving.verbs import add_verbs

LOG = logging.getLogger(__name__)


def create_app(service: Service) -> Gate:
    """Return the application, inside its gate."""
    pictures = PictureReader(service.limits, service.remote)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.answerer.close()
        pictures.close()

    app = FastAPI(
        title="FO1",
        version=fo1.__version__,
        description="Find, count, describe and discuss the things in pictures.",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_errors(app)
    add_verbs(app, service, pictures)
    _add_chat(app, service, pictures)
    gate = Gate(app, service.limits, service.metrics, service.keys)
    _add_state(app, service, gate)
    gate.routes = frozenset(getattr(route, "path", "") for route in app.routes)
    return gate


def _add_chat(app: FastAPI, service: Service, pictures: PictureReader) -> None:
    @app.post(
        "/v1/chat/completions",
        tags=["chat"],
        operation_id="chat",
        response_model=Completion,
        responses={**schema.ERRORS, 200: {"content": {"text/event-stream": {}}}},
    )
    async def chat(body: ChatBody) -> Any:
        """Say what comes next in a chat about pictures; `stream` for server-sent events."""
        if body.model != service.name:
            told = f"there is no model '{body.model[:100]}'; ask '{service.name}'"
            raise Refusal(404, "model_not_found", told)
        async with service.in_time():
            job = await read_chat(body, pictures, service.limits)
            answered = await service.answerer.submit(job)
        whole = completion(service.name, answered)
        if not body.stream:
            return whole
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        # All events are known by now, so they go out in one piece.
        stream = "".join(events(whole, include_usage=usage))
        return Response(
            stream, media_type="text/event-stream", headers={"cache-control": "no-cache"}
        )


def _add_state(app: FastAPI, service: Service, gate: Gate) -> None:
    begun = int(time.time())
    gauge = service.metrics.gauge
    gauge("fo1_inside", "Requests that are read, wait or are computed.", lambda: gate.inside)
    gauge("fo1_inside_bytes", "What their bodies take.", lambda: gate.bytes_inside)

    @app.get("/health", tags=["state"], responses={503: {"model": schema.Health}})
    async def health(response: Response) -> schema.Health:
        """Say whether requests are taken."""
        if gate.draining:
            response.status_code = 503
        return schema.Health(status="draining" if gate.draining else "ok", model=service.name)

    @app.get("/metrics", tags=["state"], response_class=PlainTextResponse, responses=schema.ERRORS)
    async def metrics() -> PlainTextResponse:
        """Count, in Prometheus' text format."""
        return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/v1/models", tags=["state"], responses=schema.ERRORS)
    async def models() -> schema.Models:
        """List the model that answers."""
        return schema.Models(data=[schema.Model(id=service.name, created=begun)])


def _add_errors(app: FastAPI) -> None:
    """Let every error be told in one shape."""

    def told(refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body, refusal.status, headers=refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def misfit(_: HTTPRequest, error: RequestValidationError) -> Response:
        # Of several readings that fail, the one that got furthest is likely the one that was meant.
        return told(invalid(max(error.errors(), key=lambda problem: len(problem["loc"]))))

    @app.exception_handler(FO1Error)
    async def refused(_: HTTPRequest, error: FO1Error) -> Response:
        refusal = as_refusal(error)
        if refusal.status == 500:
            LOG.error("a request failed", exc_info=error)
        return told(refusal)

    @app.exception_handler(Exception)
    async def failed(_: HTTPRequest, error: Exception) -> Response:
        return told(as_refusal(error))  # and raised again, to the gate, which logs it

    @app.exception_handler(HTTPException)
    async def lost(_: HTTPRequest, error: HTTPException) -> Response:
        if error.status_code == 404:
            return told(Refusal(404, "not_found", "there is no such path; see /openapi.json"))
        if error.status_code == 405:
            refusal = Refusal(405, "not_allowed", "this path has another method; see /openapi.json")
            return JSONResponse(refusal.body, 405, headers=error.headers)
        if error.status_code == 400:
            return told(Refusal(400, "invalid_body", "the body cannot be read; send a JSON object"))
        return told(Refusal(error.status_code, "refused", str(error.detail)))


def served_name(name: str) -> str:
    """Return what clients call a model: its own name or hub id, of a folder the last part alone."""
    return Path(name).resolve().name if Path(name).is_dir() else name
