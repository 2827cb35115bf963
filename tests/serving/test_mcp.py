"""The tools for agents: the handshake, what a call brings, and complaints that an agent can read."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fo1.pipeline import FO1
from fo1.serving import mcp
from tests.serving.conftest import BOXES


def talk(model: FO1, *messages: Any) -> list[dict[str, Any]]:
    lines = "".join(f"{m if isinstance(m, str) else json.dumps(m)}\n" for m in messages)
    out = io.StringIO()
    mcp.run(lambda: model, io.StringIO(lines), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def call(model: FO1, name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    (answer,) = talk(model, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    return answer


def test_the_handshake_needs_no_model() -> None:
    def never() -> FO1:
        raise AssertionError

    out = io.StringIO()
    messages = [
        {"id": 0, "method": "initialize", "params": {"protocolVersion": "2025-03-26"}},
        {"method": "notifications/initialized"},
        {"id": "a", "method": "tools/list"},
        {"id": 2, "method": "ping"},
        {"id": 3, "method": "initialize", "params": {"protocolVersion": "1999-01-01"}},
    ]
    mcp.run(never, io.StringIO("\n".join(map(json.dumps, messages))), out)
    first, second, third, fourth = map(json.loads, out.getvalue().splitlines())
    assert first["result"]["protocolVersion"] == "2025-03-26"
    assert first["result"]["capabilities"] == {"tools": {}}
    assert (second["id"], third) == ("a", {"jsonrpc": "2.0", "id": 2, "result": {}})
    assert [tool["name"] for tool in second["result"]["tools"]] == ["detect", "count", "read"]
    assert fourth["result"]["protocolVersion"] == mcp.VERSIONS[0]


def test_what_calls_bring(loaded: FO1, picture: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture.save(path)
    scene = loaded.encode(picture, BOXES)
    found = scene.detect(["cat"])
    result = call(loaded, "detect", image=str(path), names=["cat"], boxes=BOXES)["result"]
    assert result["structuredContent"]["detections"] == found.to_dicts()
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    assert len(result["content"]) == (2 if len(found) else 1)
    for part in result["content"][1:]:
        drawn = Image.open(io.BytesIO(base64.b64decode(part["data"])))
        assert (drawn.format, drawn.size) == ("JPEG", picture.size)
    result = call(loaded, "count", image=str(path), names=["cat"], boxes=BOXES)["result"]
    assert result["structuredContent"]["count"] == scene.count("cat").count
    result = call(loaded, "read", image=str(path), boxes=BOXES)["result"]
    assert [said["box"] for said in result["structuredContent"]["texts"]] == BOXES
    result = call(loaded, "read", image=str(path))["result"]
    assert len(result["structuredContent"]["texts"]) <= 10


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"image": "nowhere.png", "names": ["cat"]},
        {"image": 7, "names": ["cat"]},
        {"image": "a.png", "names": []},
        {"image": "a.png", "names": "cat"},
        {"image": "a.png", "names": [7]},
        {"image": "a.png", "names": ["cat"], "boxes": "all"},
        {"image": "a.png", "names": ["cat"], "colour": "red"},
        {"image": "http://127.0.0.1/a.png", "names": ["cat"]},
    ],
)
def test_an_agent_is_told_what_is_wrong(
    loaded: FO1, picture: Image.Image, tmp_path: Path, monkeypatch, arguments: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    picture.save("a.png")
    result = call(loaded, "detect", **arguments)["result"]
    assert result["isError"]
    assert "\n" not in result["content"][0]["text"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", -32700),
        ("[" * 100_000, -32700),
        ("[]", -32600),
        ('{"id": 1}', -32600),
        ('{"id": 1, "method": "prompts/list"}', -32601),
        ('{"id": 1, "method": "tools/call", "params": [1]}', -32602),
        ('{"id": 1, "method": "tools/call", "params": {"name": "rm"}}', -32602),
        ('{"id": 1, "method": "tools/call", "params": {"name": "read", "arguments": 1}}', -32602),
    ],
)
def test_messages_that_are_none(loaded: FO1, line: str, code: int) -> None:
    broken, good = talk(loaded, line, {"id": 9, "method": "ping"})
    assert broken["error"]["code"] == code
    assert good["id"] == 9


def test_a_call_that_fails_inside_ends_no_other(loaded: FO1, picture: Image.Image) -> None:
    out = io.StringIO()
    lines = [
        {
            "id": 1,
            "method": "tools/call",
            "params": {"name": "detect", "arguments": {"image": "a"}},
        },
        {"id": 2, "method": "ping"},
    ]

    def broken() -> FO1:
        raise ZeroDivisionError("secret")

    mcp.run(broken, io.StringIO("".join(f"{json.dumps(line)}\n" for line in lines)), out)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first["error"]["code"] == -32603
    assert "secret" not in first["error"]["message"]
    assert second == {"jsonrpc": "2.0", "id": 2, "result": {}}


def test_answers_to_nothing_are_passed_over(loaded: FO1) -> None:
    assert talk(loaded, {"id": 1, "result": {}}, "", "  ") == []
