"""The gate: who may come in, how much they may bring, how long they may stay. Around the whole application."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fo1.serving.batching import busy
from fo1.serving.limits import Limits
from fo1.serving.metrics import Metrics
from fo1.serving.refusals import Refusal, as_refusal

LOG = logging.getLogger(__name__)
OPEN = "/health"
"""The one path that needs no key and is answered while the server drains."""

_LINGER = (
    2.0  # seconds for which a refused body is still taken, so that its sender reads the refusal
)


class Gate:
    """Lets requests in, in order: key, room, body, time. Those inside are counted and all answered.

    A body is taken whole before it is looked at, and bodies together are bounded. When the client leaves,
    the application's task is cancelled.

    Args:
        app: behind the gate.
        limits: of the server.
        metrics: what is counted.
        keys: one of which a client must have; empty for no keys.

    Attributes:
        routes: paths that are counted by name, all others together.
        draining: whether no more are let in.
        inside: requests that were let in and have no whole answer yet.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        metrics: Metrics,
        keys: Sequence[str] = (),
    ) -> None:
        self.app = app
        self.limits = limits
        self.metrics = metrics
        self.routes: frozenset[str] = frozenset()
        self.draining = False
        self.inside = 0
        self.bytes_inside = 0
        self._keys = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        out = _Out(send, lambda: self.draining)
        try:
            await self._let_in(scope, receive, out)
        except Exception as error:
            refusal = as_refusal(error)
            if refusal.status == 500:
                LOG.exception("%r failed", scope["path"])
            await out.refuse(refusal)
        if out.status is not None:
            route = scope["path"] if scope["path"] in self.routes else "other"
            self.metrics.answered(route, out.status, time.perf_counter() - begun)

    async def _let_in(self, scope: Scope, receive: Receive, out: "_Out") -> None:
        headers = dict(scope["headers"])
        try:
            if scope["path"] != OPEN:
                self._check_key(headers)
            if scope["method"] != "POST":
                await self.app(scope, receive, out)
                return
            taken = self._room(headers)
        except Refusal:
            if b"expect" not in headers:
                await _discard(receive)
            raise
        self.inside += 1
        self.bytes_inside += taken
        try:
            body = await self._body(receive)
            if body is None:
                self.metrics.left += 1
                return
            await self._run(scope, receive, out, body)
        finally:
            self.inside -= 1
            self.bytes_inside -= taken

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        if not self._keys:
            return
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        own = hashlib.sha256(key.strip()).digest()
        # All are compared, so that time tells nothing of how many there are.
        if kind.lower() != b"bearer" or not any([hmac.compare_digest(own, k) for k in self._keys]):
            raise Refusal(401, "invalid_api_key", "send your key: Authorization: Bearer KEY")

    def _room(self, headers: dict[bytes, bytes]) -> int:
        """Return the bytes that a request's body may have, which there is room for."""
        if self.draining:
            raise draining()
        length = headers.get(b"content-length", b"")
        # Without a length the body may have as many bytes as any.
        size = int(length) if length.isdigit() and len(length) < 20 else self.limits.bytes
        if size > self.limits.bytes:
            raise self._too_large()
        full = self.bytes_inside + size > self.limits.waiting_bytes
        if self.inside >= self.limits.waiting or (full and self.inside):
            raise busy()
        return size

    def _too_large(self) -> Refusal:
        most = self.limits.bytes
        return Refusal(
            413, "too_large", f"the body is larger than {most} bytes; send less", close=True
        )

    async def _body(self, receive: Receive) -> bytes | None:
        """Return a request's body; None if its sender left."""
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self.limits.bytes:
                        body.clear()
                        await _discard(receive)
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            told = f"the body did not come in {self.limits.seconds} s; send it faster"
            raise Refusal(408, "slow_body", told, close=True) from error

    async def _run(self, scope: Scope, receive: Receive, out: "_Out", body: bytes) -> None:
        """Let the application answer, as long as its client is there."""
        left = asyncio.Event()
        first = [body]

        async def replay() -> Message:
            if first:
                return {"type": "http.request", "body": first.pop(), "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        work = asyncio.ensure_future(self.app(scope, replay, out))
        watcher = asyncio.ensure_future(watch())
        try:
            # Answers have their own deadline; what is left of this is for a client that reads slowly.
            await asyncio.wait(
                {work, watcher}, timeout=2 * self.limits.seconds, return_when="FIRST_COMPLETED"
            )
            left.set()
            if not work.done() and not out.complete:
                self.metrics.left += 1
                work.cancel()
            await asyncio.wait({work})
        finally:
            work.cancel()
            watcher.cancel()
        if not work.cancelled():
            work.result()


class _Out:
    """Sends an answer, and knows how far it is."""

    def __init__(self, send: Send, draining: Any) -> None:
        self._send = send
        self._draining = draining
        self.status: int | None = None
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._draining() and (b"connection", b"close") not in message["headers"]:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        elif message["type"] == "http.response.body":
            self.complete = not message.get("more_body", False)
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal unless an answer has begun."""
        if self.status is not None:
            return
        body = json.dumps(refusal.body).encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **refusal.headers,
        }
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await self({"type": "http.response.body", "body": body})


def draining() -> Refusal:
    """Return what is told once the server is to end."""
    told = "the server is ending; ask another, or this one when it is back"
    return Refusal(503, "draining", told, retry_after=5, close=True)


async def _discard(receive: Receive) -> None:
    """Take what still comes of a body that nobody reads, for a while."""
    try:
        async with asyncio.timeout(_LINGER):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
