"""The routes of the verbs: a picture, its regions and a question in, a row as `fo1 ... --json` writes it out."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from fo1 import tags
from fo1.errors import BoxError, QueryError
from fo1.geometry import check_boxes
from fo1.pipeline import Outcome, Request
from fo1.pipeline.answering import MOST_UNNAMED
from fo1.pipeline.json_row import json_row
from fo1.prompts import REGION_TASKS, Task
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.serving import schema
from fo1.serving.jobs import Job, Shown
from fo1.serving.limits import Limits
from fo1.serving.pictures import PictureReader
from fo1.serving.service import Service


def add_verbs(app: FastAPI, service: Service, pictures: PictureReader) -> None:
    """Add a route for each verb."""

    async def ask(body: schema.PictureBody, task: Task, **asked: Any) -> dict[str, Any]:
        request = Request(task=task, **asked)
        check(body, request, service.limits)
        unnamed = task in REGION_TASKS and request.regions is None
        limit = MOST_UNNAMED if unnamed else DEFAULT_LIMIT
        async with service.in_time():
            upload = await pictures.read(body.image)
            shown = Shown(upload, body.boxes, body.proposer, limit)
            answered = await service.answerer.submit(Job((shown,), request))
        assert isinstance(answered.result, Outcome)
        (scene,) = answered.scenes
        image = f"sha256:{upload.digest}"
        row = json_row(image, task, scene, answered.result, answered.seconds)
        return row | {"model": service.name}

    def verb(task: Task) -> Callable[[Any], Any]:
        return app.post(
            f"/v1/{task}",
            tags=["verbs"],
            operation_id=str(task),
            response_model=schema.ResultRow,
            response_model_exclude_unset=True,
            responses=schema.ERRORS,
        )

    @verb(Task.DETECT)
    async def detect(body: schema.QueryBody) -> Any:
        """Find everything that the queries name."""
        return await ask(body, Task.DETECT, queries=body.queries, threshold=body.threshold)

    @verb(Task.REFER)
    async def refer(body: schema.QueryBody) -> Any:
        """Find the one thing that each expression means."""
        return await ask(body, Task.REFER, queries=body.queries, threshold=body.threshold)

    @verb(Task.COUNT)
    async def count(body: schema.QueryBody) -> Any:
        """Count what the queries name, all together."""
        return await ask(body, Task.COUNT, queries=body.queries, threshold=body.threshold)

    @verb(Task.DESCRIBE)
    async def describe(body: schema.DescribeBody) -> Any:
        """Say what regions show."""
        return await ask(body, Task.DESCRIBE, regions=_tuple(body.regions), detail=body.detail)

    @verb(Task.READ)
    async def read(body: schema.ReadBody) -> Any:
        """Read the text in regions."""
        return await ask(body, Task.READ, regions=_tuple(body.regions))

    @verb(Task.GROUND)
    async def ground(body: schema.GroundBody) -> Any:
        """Describe the picture, with a region for each thing mentioned."""
        return await ask(body, Task.GROUND)

    @verb(Task.SIMILAR)
    async def similar(body: schema.SimilarBody) -> Any:
        """Find the other regions that show what one region shows."""
        return await ask(body, Task.SIMILAR, regions=(body.region,), threshold=body.threshold)

    @verb(Task.ASK)
    async def free(body: schema.AskBody) -> Any:
        """Answer a question; `<region3>` in it names a region."""
        return await ask(body, Task.ASK, queries=(body.question,), think=body.think)


def check(body: schema.PictureBody, request: Request, limits: Limits) -> None:
    """Check a verb's request as far as it can be without the picture, so that it does not wait in vain.

    Raises:
        BoxError: boxes are malformed or too many, or there is a proposer as well.
        QueryError: too much is asked, or of a region that does not exist.
    """
    if body.boxes is not None and body.proposer is not None:
        raise BoxError("got boxes and a proposer; send one of them")
    if body.boxes is not None and len(body.boxes) > limits.boxes:
        raise BoxError(f"got {len(body.boxes)} boxes; send at most {limits.boxes}")
    for what, given in (("queries", request.queries), ("regions", request.regions or ())):
        if len(given) > limits.queries:
            raise QueryError(f"got {len(given)} {what}; send at most {limits.queries} a request")
    if body.boxes is not None:
        check_boxes(body.boxes, None)
        asked = tags.regions_in(request.queries[0]) if request.task is Task.ASK else ()
        tags.check_regions((*(request.regions or ()), *asked), len(body.boxes))


def _tuple(regions: list[int] | None) -> tuple[int, ...] | None:
    return None if regions is None else tuple(regions)
