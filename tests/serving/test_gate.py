"""The gate, by messages of ASGI: room, bodies, clients that leave, draining."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from fo1.serving.gate import Gate
from fo1.serving.jobs import Answered, Job
from tests.serving.conftest import BOXES, gate_of


class Slow:
    """An answerer that takes until it is told."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.cancelled = 0
        self.go = asyncio.Event()

    async def submit(self, job: Job) -> Answered:
        self.jobs.append(job)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise RuntimeError("nothing to say")

    def close(self) -> None:
        pass


class Call:
    """One request, its messages given by hand."""

    def __init__(self, gate: Gate, path: str = "/v1/ground", method: str = "POST", **headers: str):
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        pairs = {"content-type": "application/json", **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in pairs.items()],
        }

        async def send(message: Any) -> None:
            self.sent.append(message)

        self.task = asyncio.ensure_future(gate(scope, self.messages.get, send))

    def body(self, *pieces: bytes, more: bool = False) -> "Call":
        for place, piece in enumerate(pieces):
            last = place == len(pieces) - 1
            self.messages.put_nowait(
                {"type": "http.request", "body": piece, "more_body": more or not last}
            )
        return self

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def end(self) -> tuple[int, str]:
        await asyncio.wait_for(self.task, 10)
        body = b"".join(message.get("body", b"") for message in self.sent[1:])
        return self.sent[0]["status"], json.loads(body)["error"]["code"]

    def header(self, name: str) -> str | None:
        found = dict(self.sent[0]["headers"]).get(name.encode())
        return None if found is None else found.decode()


@pytest.fixture
def good(image: str) -> bytes:
    return json.dumps({"image": image, "boxes": BOXES}).encode()


async def until(what: Iterable[Any] | Any) -> None:
    for _ in range(500):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def test_a_client_that_leaves_is_forgotten(good: bytes) -> None:
    async def run() -> None:
        slow = Slow()
        gate = gate_of(slow)
        call = Call(gate).body(good)
        await until(lambda: slow.jobs)
        assert gate.inside == 1
        call.leave()
        await asyncio.wait_for(call.task, 10)
        assert (slow.cancelled, gate.inside, gate.metrics.left, call.sent) == (1, 0, 1, [])
        half = Call(gate).body(good[:9], more=True)
        half.leave()
        await asyncio.wait_for(half.task, 10)
        assert (len(slow.jobs), gate.inside, gate.metrics.left) == (1, 0, 2)

    asyncio.run(run())


def test_the_deadline(good: bytes) -> None:
    async def run() -> None:
        slow = Slow()
        gate = gate_of(slow, seconds=1)
        late = Call(gate).body(good)
        trickling = Call(gate).body(good[:9], more=True)
        assert await late.end() == (504, "deadline")
        assert await trickling.end() == (408, "slow_body")
        assert (slow.cancelled, gate.inside, gate.bytes_inside) == (1, 0, 0)

    asyncio.run(run())


def test_the_house_is_bounded(good: bytes) -> None:
    async def run() -> None:
        slow = Slow()
        gate = gate_of(slow, waiting=2, bytes=100_000, waiting_bytes=150_000)
        first = Call(gate, content_length=str(len(good))).body(good)
        await until(lambda: slow.jobs)
        # Without a length it may be as long as any, and both do not fit.
        second = Call(gate, content_length="90000").body(b"", more=True)
        await until(lambda: gate.inside == 2)
        assert gate.bytes_inside == len(good) + 90_000
        third = Call(gate).body(good)
        assert await third.end() == (429, "queue_full")
        assert third.header("retry-after") == "1"
        second.leave()
        await until(lambda: gate.inside == 1)
        fourth = Call(gate, content_length="100001").body(b"x")
        assert await fourth.end() == (413, "too_large")
        assert fourth.header("connection") == "close"
        first.leave()
        await first.task
        assert gate.bytes_inside == 0

    asyncio.run(run())


def test_bytes_alone_fill_the_house(good: bytes) -> None:
    async def run() -> None:
        gate = gate_of(Slow(), bytes=100_000, waiting_bytes=150_000)
        first = Call(gate, content_length="100000").body(b"", more=True)
        await until(lambda: gate.inside == 1)
        assert await Call(gate).body(good).end() == (429, "queue_full")
        first.leave()
        await first.task

    asyncio.run(run())


def test_draining_answers_those_inside_alone(good: bytes) -> None:
    async def run() -> None:
        slow = Slow()
        gate = gate_of(slow)
        inside = Call(gate).body(good)
        await until(lambda: slow.jobs)
        gate.draining = True
        late = Call(gate).body(good)
        assert await late.end() == (503, "draining")
        assert late.header("connection") == "close"
        health = Call(gate, "/health", "GET")
        await health.task
        assert health.sent[0]["status"] == 503
        slow.go.set()
        assert await inside.end() == (500, "internal")  # what it would have been told otherwise
        assert inside.header("connection") == "close"

    asyncio.run(run())
