"""The server's life, over sockets: what is inside is answered before it ends."""

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from fo1.errors import InputError
from fo1.serving import server as serving
from fo1.serving.jobs import Answered, Job
from fo1.serving.limits import Limits
from fo1.serving.server import bind, serve
from fo1.serving.service import Service
from tests.serving.conftest import BOXES


class Held:
    """An answerer that answers what a tiny model said before, once it may."""

    def __init__(self, answered: Answered) -> None:
        self.answered = answered
        self.may = threading.Event()
        self.count = 0

    async def submit(self, job: Job) -> Answered:
        self.count += 1
        while not self.may.is_set():
            await asyncio.sleep(0.01)
        return self.answered

    def close(self) -> None:
        pass


@pytest.fixture
def running(loaded: Any, picture: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server in a thread whose answers are held back, and how to tell it to end."""
    from fo1.pipeline import Request
    from fo1.prompts import Task

    scene = loaded.encode(picture, BOXES)
    outcome = scene.answer(Request(task=Task.GROUND))
    held = Held(Answered((scene,), outcome, {"queue": 0.0}))
    made: list[Any] = []
    plain = serving._Server.__init__

    def spy(self: Any, *given: Any) -> None:
        plain(self, *given)
        made.append(self)

    monkeypatch.setattr(serving._Server, "__init__", spy)
    sock = bind("127.0.0.1", 0)
    ready = threading.Event()
    service = Service(name="fake", answerer=held, limits=Limits(seconds=20))
    thread = threading.Thread(target=serve, args=(service, sock, lambda _: ready.set()))
    thread.start()
    assert ready.wait(10)
    port = sock.getsockname()[1]
    yield SimpleNamespace(held=held, thread=thread, port=port, server=made[0])
    held.may.set()
    made[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def post(port: int, image: str) -> tuple[int, dict[str, Any]]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"content-type": "application/json"}
    link.request("POST", "/v1/ground", json.dumps({"image": image, "boxes": BOXES}), headers)
    response = link.getresponse()
    body = json.loads(response.read())
    link.close()
    return response.status, body


def test_those_inside_are_answered_at_the_signal_to_end(running: Any, image: str) -> None:
    answers: list[tuple[int, dict[str, Any]]] = []
    clients = [
        threading.Thread(target=lambda: answers.append(post(running.port, image))) for _ in range(5)
    ]
    for client in clients:
        client.start()
    end = time.monotonic() + 15
    while running.held.count < 5 and time.monotonic() < end:
        time.sleep(0.01)
    idle = socket.create_connection(("127.0.0.1", running.port))  # must not hold the end up
    running.server.handle_exit(signal.SIGTERM, None)
    late = post(running.port, image)
    assert (late[0], late[1]["error"]["code"]) == (503, "draining")
    assert running.thread.is_alive()
    running.held.may.set()
    for client in clients:
        client.join(20)
    assert [status for status, _ in answers] == [200] * 5
    assert all(body["regions"] == BOXES for _, body in answers)
    running.thread.join(20)
    assert not running.thread.is_alive()
    idle.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", running.port))


def test_an_address_that_cannot_be_had() -> None:
    taken = bind("127.0.0.1", 0)
    taken.listen()
    port = taken.getsockname()[1]
    for host, number in (("127.0.0.1", port), ("no.such.host.invalid", 0), ("203.0.113.9", 0)):
        with pytest.raises(InputError, match="give another --host or --port"):
            bind(host, number)
    taken.close()
