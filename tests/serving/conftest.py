"""A server in this process around the tiny model, with a client that needs no network."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
from PIL import Image

from tests import tiny

HERE = find_spec("fastapi") is not None
"""Whether the extra `serve` is installed, without which nothing here is collected."""
if HERE:
    from starlette.testclient import TestClient

    from fo1.pipeline import FO1
    from fo1.serving.app import create_app
    from fo1.serving.gate import Gate
    from fo1.serving.limits import Limits
    from fo1.serving.server import Server, bind, create_service, url_of
    from fo1.serving.service import Service

collect_ignore_glob = [] if HERE else ["test_*.py"]
collect_ignore = [
    file
    for package, file in (
        ("openai", "test_openai_client.py"),
        ("schemathesis", "test_schema_fuzz.py"),
    )
    if find_spec(package) is None
]
BOXES = [[0.0, 0.0, 40.0, 40.0], [30.0, 30.0, 80.0, 100.0]]


def file_of(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the file of a picture."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def data_url(data: bytes) -> str:
    """Return bytes as clients send them."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """What is asked about."""
    return tiny.picture(140, 112)


@pytest.fixture(scope="session")
def image(picture: Image.Image) -> str:
    """The same as a data URL."""
    return data_url(file_of(picture))


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody write long."""
    monkeypatch.setattr("fo1.pipeline.engine.MAX_NEW_TOKENS", 6)


@pytest.fixture
def served(loaded: FO1) -> Iterator[Callable[..., TestClient]]:
    """Make a server and return its client; keyword arguments are those of `create_service` and of `Limits`."""
    with ExitStack() as stack:

        def make(*, keys: tuple[str, ...] = (), remote: bool = False, **limits: int) -> TestClient:
            service = create_service(loaded, Limits(**limits), keys=keys, remote=remote)
            client = TestClient(create_app(service), raise_server_exceptions=False)
            return stack.enter_context(client)

        yield make


@pytest.fixture
def client(served: Callable[..., TestClient]) -> TestClient:
    """A server with the usual limits."""
    return served()


def gate_of(answerer: Any, **limits: int) -> Gate:
    """Return an application in front of something else that answers."""
    return create_app(Service(name="fake", answerer=answerer, limits=Limits(**limits)))


@contextmanager
def running(service: Service) -> Iterator[tuple[str, Server, threading.Thread]]:
    """Serve over sockets, in a thread; give the address, the server and the thread."""
    sock = bind("127.0.0.1", 0)
    url, ready = url_of(sock), threading.Event()
    server = Server(service, ready.set)
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    try:
        assert ready.wait(60)
        yield url, server, thread
    finally:
        server.should_exit = True
        thread.join(60)
        sock.close()
    assert not thread.is_alive()
