"""The server's life, over sockets: what is inside is answered before it ends."""

import asyncio
import http.client
import json
import signal
import socket
import threading
import time
from typing import Any

import pytest

from fo1.errors import InputError
from fo1.pipeline import FO1, Request
from fo1.prompts import Task
from fo1.serving.jobs import Answered, Job
from fo1.serving.limits import Limits
from fo1.serving.server import bind
from fo1.serving.service import Service
from tests.serving.conftest import BOXES, running


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
def held(loaded: FO1, picture: Any) -> Held:
    """Answers that are held back."""
    scene = loaded.encode(picture, BOXES)
    return Held(Answered((scene,), scene.answer(Request(task=Task.GROUND)), {"queue": 0.0}))


def post(port: int, image: str) -> tuple[int, dict[str, Any]]:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"content-type": "application/json"}
    link.request("POST", "/v1/ground", json.dumps({"image": image, "boxes": BOXES}), headers)
    response = link.getresponse()
    body = json.loads(response.read())
    link.close()
    return response.status, body


def test_those_inside_are_answered_at_the_signal_to_end(held: Held, image: str) -> None:
    answers: list[tuple[int, dict[str, Any]]] = []
    service = Service(name="fake", answerer=held, limits=Limits(seconds=60))
    with running(service) as (url, server, thread):
        port = int(url.rpartition(":")[2])
        clients = [
            threading.Thread(target=lambda: answers.append(post(port, image))) for _ in range(5)
        ]
        for client in clients:
            client.start()
        end = time.monotonic() + 60
        while held.count < 5 and time.monotonic() < end:
            time.sleep(0.01)
        idle = socket.create_connection(("127.0.0.1", port))  # must not hold the end up
        server.handle_exit(signal.SIGTERM, None)
        late = post(port, image)
        assert (late[0], late[1]["error"]["code"]) == (503, "draining")
        assert thread.is_alive()
        held.may.set()
        for client in clients:
            client.join(60)
        assert [status for status, _ in answers] == [200] * 5
        assert all(body["regions"] == BOXES for _, body in answers)
        thread.join(60)
        assert not thread.is_alive()
        idle.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_an_address_that_cannot_be_had() -> None:
    taken = bind("127.0.0.1", 0)
    taken.listen()
    port = taken.getsockname()[1]
    for host, number in (("127.0.0.1", port), ("no.such.host.invalid", 0), ("203.0.113.9", 0)):
        with pytest.raises(InputError, match="give another --host or --port"):
            bind(host, number)
    taken.close()
