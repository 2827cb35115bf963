"""From a chat in OpenAI's shape to a `Job`, and from its reply back, whole or as a stream of chunks."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from fo1.errors import BoxError, ImageError, QueryError
from fo1.geometry import check_boxes
from fo1.pipeline import Reply
from fo1.pipeline.json_row import json_boxes, json_seconds
from fo1.serving.chat_schema import (
    BoxesPart,
    ChatBody,
    Choice,
    Completion,
    Grounded,
    ImagePart,
    Part,
    Picture,
    Said,
    Usage,
)
from fo1.serving.jobs import Answered, Job, Shown, Talk
from fo1.serving.limits import Limits
from fo1.serving.pictures import PictureReader, Upload
from fo1.serving.schema import Found

_PIECE = re.compile(r"\s*\S+|\s+")


async def read_chat(body: ChatBody, pictures: PictureReader, limits: Limits) -> Job:
    """Return the job of a chat.

    Raises:
        ImageError: a picture cannot be read, or there are too many.
        BoxError: boxes are malformed, belong to no picture, or are too many.
        QueryError: there is too much text.
    """
    _check(body, limits)
    pixels = 0
    shown: list[Shown] = []
    messages: list[dict[str, Any]] = []
    for message in body.messages:
        role = "system" if message.role == "developer" else message.role
        content: Any = message.content
        if not isinstance(content, str):
            parts, content = content, []
            for part, boxes in _with_boxes(parts):
                if isinstance(part, ImagePart):
                    upload = await pictures.read(part.image_url.url)
                    pixels += upload.pixels
                    if pixels > limits.pixels:
                        raise ImageError(
                            f"the chat's pictures have more than {limits.pixels} pixels together; "
                            "shrink them"
                        )
                    content.append({"type": "image", "image": len(shown)})
                    shown.append(_shown(upload, boxes))
                else:
                    content.append(part.model_dump())
        messages.append({"role": role, "content": content})
    return Job(tuple(shown), Talk(messages, body.most_tokens))


def completion(name: str, answered: Answered) -> Completion:
    """Return what a chat's job brought, in OpenAI's shape."""
    reply = answered.result
    assert isinstance(reply, Reply)
    read, written = reply.prompt_tokens, reply.new_tokens
    return Completion(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=name,
        choices=[
            Choice(
                message=Said(content=reply.answer.text),
                finish_reason="stop" if reply.complete else "length",
            )
        ],
        usage=Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written),
        fo1=Grounded(
            text=str(reply),
            pictures=[
                Picture(
                    width=scene.image_size[1],
                    height=scene.image_size[0],
                    proposer=scene.proposer,
                    regions=json_boxes(scene),
                    detections=[Found.model_validate(one) for one in found.to_dicts()],
                )
                for scene, found in zip(answered.scenes, reply.detections, strict=True)
            ],
            problems=list(reply.answer.problems),
            seconds=json_seconds(answered.seconds),
        ),
    )


def events(whole: Completion, *, include_usage: bool) -> Iterator[str]:
    """Return an answer as server-sent events, word by word; `fo1` comes with the last word's end.

    Answers are written in passes of several tokens, and many together, so they are sent when they are whole.
    """
    kept = {"id": whole.id, "object": "chat.completion.chunk", "created": whole.created}
    kept |= {"model": whole.model}
    (choice,) = whole.choices

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        usage = {"usage": None} if include_usage else {}
        return f"data: {json.dumps({**kept, 'choices': choices, **usage, **more})}\n\n"

    def delta(reason: str | None = None, **given: str) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": given, "finish_reason": reason, "logprobs": None}]

    yield event(delta(role="assistant", content=""))
    for piece in _PIECE.findall(choice.message.content):
        yield event(delta(content=piece))
    yield event(delta(choice.finish_reason), fo1=whole.fo1.model_dump())
    if include_usage:
        yield event([], usage=whole.usage.model_dump())
    yield "data: [DONE]\n\n"


def _check(body: ChatBody, limits: Limits) -> None:
    parts = [part for m in body.messages if not isinstance(m.content, str) for part in m.content]
    images = sum(isinstance(part, ImagePart) for part in parts)
    if images > limits.pictures:
        raise ImageError(f"the chat has {images} pictures; send at most {limits.pictures}")
    given = [part.boxes for part in parts if isinstance(part, BoxesPart) and part.boxes]
    boxes = sum(map(len, given))
    if boxes > limits.boxes:
        raise BoxError(f"the chat has {boxes} boxes; send at most {limits.boxes}")
    for own in given:
        check_boxes(own, None)
    texts = [m.content for m in body.messages if isinstance(m.content, str)]
    texts += [part.text for part in parts if not isinstance(part, ImagePart | BoxesPart)]
    length = sum(map(len, texts))
    if length > limits.characters:
        raise QueryError(
            f"the chat's texts have {length} characters; send at most {limits.characters}"
        )


def _with_boxes(parts: list[Part]) -> Iterator[tuple[Part, BoxesPart | None]]:
    """Return each part that is no boxes part, a picture with the one behind it.

    Raises:
        BoxError: one follows no picture.
    """
    before: Part | None = None
    for place, part in enumerate(parts):
        if isinstance(part, BoxesPart):
            if not isinstance(before, ImagePart):
                raise BoxError(
                    "a boxes part belongs right behind its image_url part; move it there"
                )
        else:
            follower = parts[place + 1] if place + 1 < len(parts) else None
            yield part, follower if isinstance(follower, BoxesPart) else None
        before = part


def _shown(upload: Upload, boxes: BoxesPart | None) -> Shown:
    return Shown(upload, ()) if boxes is None else Shown(upload, boxes.boxes, boxes.proposer)
