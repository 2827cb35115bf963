"""OpenAI's own client against the server, as the README uses it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from fo1.pipeline import FO1
from fo1.serving.limits import Limits
from fo1.serving.server import create_service
from tests.serving.conftest import running

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where nano is served, with a key."""
    monkeypatch.setattr("fo1.pipeline.engine.MAX_NEW_TOKENS", 256)
    with running(create_service(FO1.from_pretrained(), Limits(), keys=("secret",))) as (url, *_):
        yield url


def test_the_readme_s_example(address: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", README, re.S) if "openai" in c]
    code = code.replace("http://127.0.0.1:8000", address).replace("none", "secret")
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(code, names)
    reply = names["reply"]
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content
    (picture,) = reply.fo1["pictures"]
    assert len(picture["regions"]) == 1
    assert reply.usage.total_tokens > 0
    said = capsys.readouterr().out
    assert said.strip()


def test_streams_models_and_errors(address: str, image: str) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="secret", max_retries=0)
    assert [model.id for model in client.models.list()] == ["nano"]
    part = {"type": "image_url", "image_url": {"url": image, "detail": "high"}}
    content: Any = [part, {"type": "text", "text": "what is this?"}]
    messages: Any = [{"role": "user", "content": content}]
    whole = client.chat.completions.create(model="nano", messages=messages)
    pieces = list(client.chat.completions.create(model="nano", messages=messages, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole.choices[0].message.content
    # An answer goes back as it came.
    more = [*messages, whole.choices[0].message, {"role": "user", "content": "why?"}]
    assert client.chat.completions.create(model="nano", messages=more).choices
    with pytest.raises(openai.NotFoundError, match="ask 'nano'"):
        client.chat.completions.create(model="gpt", messages=messages)
    with pytest.raises(openai.BadRequestError, match="add a question"):
        client.chat.completions.create(model="nano", messages=[{"role": "user", "content": " "}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0).models.list()
