"""`fo1 mcp`: detect, count and read as tools for agents, by the Model Context Protocol over standard input and output.

One JSON-RPC message a line; needs no package but fo1. The agent's program starts it, so it reads what that user may
read, and nothing but pictures.

Source: https://modelcontextprotocol.io/specification/2025-06-18 (lifecycle, tools, stdio).
"""

import base64
import functools
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO, cast

from fo1 import __version__
from fo1.errors import FO1Error, InputError
from fo1.imaging import load_image
from fo1.pipeline import FO1, Outcome, Request, Scene
from fo1.pipeline.answering import MOST_UNNAMED
from fo1.pipeline.json_row import json_boxes
from fo1.prompts import Task
from fo1.proposals.base import DEFAULT_LIMIT
from fo1.visualize import draw

VERSIONS: Final = ("2025-06-18", "2025-03-26", "2024-11-05")
"""Of the protocol, newest first."""

_PARSE, _INVALID, _UNKNOWN, _PARAMS, _INTERNAL = -32700, -32600, -32601, -32602, -32603
_IMAGE = {"type": "string", "description": "path of a picture file, or a data URL"}
_BOXES = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
    "description": "regions, [x1, y1, x2, y2] in pixels; found by the model if left out",
}
_NAMES = {
    "type": "array",
    "items": {"type": "string"},
    "minItems": 1,
    "description": "names of things, for example cup",
}
_ABOUT: Final = {
    Task.DETECT: "Find things by name in a picture: a box, a score and a region number each; none if there is none.",
    Task.COUNT: "Count things by name in a picture, and say where they are.",
    Task.READ: "Read the text in regions of a picture.",
}
TOOLS: Final = [
    {
        "name": str(task),
        "description": about,
        "inputSchema": {
            "type": "object",
            "properties": {
                "image": _IMAGE,
                **({} if task is Task.READ else {"names": _NAMES}),
                "boxes": _BOXES,
            },
            "required": ["image"] if task is Task.READ else ["image", "names"],
            "additionalProperties": False,
        },
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }
    for task, about in _ABOUT.items()
]


class _Refused(Exception):
    """A message that is answered with an error of JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def run(load: Callable[[], FO1], messages: TextIO, out: TextIO) -> None:
    """Answer messages until there are no more.

    Args:
        load: makes the model; called when the first tool is.
        messages: one a line.
        out: answers go here, one a line.
    """
    model = functools.cache(load)
    for line in messages:
        if line.strip() and (answer := respond(model, line)) is not None:
            out.write(f"{json.dumps(answer)}\n")
            out.flush()


def respond(load: Callable[[], FO1], line: str) -> dict[str, Any] | None:
    """Return the answer to one message; None to one that wants none."""
    number: Any = None
    try:
        message = _read(line)
        number = message.get("id")
        result = _result(load, message["method"], message.get("params") or {})
    except _Refused as error:
        told = {"code": error.code, "message": str(error)}
        return {"jsonrpc": "2.0", "id": number, "error": told}
    except Exception as error:  # one call that fails must not end the others
        told = {"code": _INTERNAL, "message": f"{type(error).__name__}; please report it"}
        return {"jsonrpc": "2.0", "id": number, "error": told}
    return None if number is None else {"jsonrpc": "2.0", "id": number, "result": result}


def _read(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Refused(_PARSE, "the line is no JSON; send one message a line") from error
    if not isinstance(message, dict):
        raise _Refused(_INVALID, "the message is no object; send one of JSON-RPC 2.0")
    found = cast("dict[str, Any]", message)
    if "method" not in found and ("result" in found or "error" in found):
        return {"method": "notifications/answer"}
    if not isinstance(found.get("method"), str):
        raise _Refused(_INVALID, "the message has no method; send one of JSON-RPC 2.0")
    return found


def _result(load: Callable[[], FO1], method: str, params: Any) -> dict[str, Any]:
    if method.startswith("notifications/") or method == "ping":
        return {}
    if not isinstance(params, dict):
        raise _Refused(_PARAMS, "params are no object; send named ones")
    given = cast("dict[str, Any]", params)
    if method == "initialize":
        asked = given.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in VERSIONS else VERSIONS[0],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "fo1", "version": __version__},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method != "tools/call":
        raise _Refused(_UNKNOWN, f"there is no method '{method[:100]}'; this is a server of tools")
    name, arguments = given.get("name"), given.get("arguments", {})
    tool = next((tool for tool in TOOLS if tool["name"] == name), None)
    if tool is None or not isinstance(arguments, dict):
        names = ", ".join(str(tool["name"]) for tool in TOOLS)
        raise _Refused(_PARAMS, f"there is no such tool, or no arguments; call one of: {names}")
    try:
        return _call(load(), Task(str(name)), cast("dict[str, Any]", arguments))
    except FO1Error as error:  # for the agent to read and do better
        return {"content": [_text(str(error))], "isError": True}


def _call(model: FO1, task: Task, arguments: Mapping[str, Any]) -> dict[str, Any]:
    known = {"image", "boxes"} | (set() if task is Task.READ else {"names"})
    if strange := sorted(map(str, arguments.keys() - known)):
        raise InputError(f"{task} does not know '{strange[0]}'; give {', '.join(sorted(known))}")
    image, names = arguments.get("image"), arguments.get("names", [])
    if not isinstance(image, str) or not isinstance(names, list):
        raise InputError("image is a path or a data URL, names is a list; give both like that")
    request = Request(task=task, queries=() if task is Task.READ else tuple(names))
    picture = load_image(image)
    limit = MOST_UNNAMED if task is Task.READ else DEFAULT_LIMIT
    scene = model.encode(picture, arguments.get("boxes"), limit=limit)
    outcome = scene.answer(request)
    told = _told(task, scene, outcome)
    content = [_text(json.dumps(told))]
    if len(outcome.detections):
        content.append(_picture(draw(picture, outcome.detections)))
    return {"content": content, "structuredContent": told}


def _told(task: Task, scene: Scene, outcome: Outcome) -> dict[str, Any]:
    """Return what was found, as JSON."""
    height, width = scene.image_size
    told: dict[str, Any] = {"width": width, "height": height}
    if task is Task.READ:
        boxes = json_boxes(scene)
        told["texts"] = [{"box": boxes[said.region], "text": said.text} for said in outcome.texts]
    else:
        told["detections"] = outcome.detections.to_dicts()
    if outcome.count is not None:
        told["count"] = outcome.count
    return told | {"problems": list(outcome.problems)}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _picture(picture: Any) -> dict[str, Any]:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    data = base64.b64encode(out.getvalue()).decode()
    return {"type": "image", "data": data, "mimeType": "image/jpeg"}
