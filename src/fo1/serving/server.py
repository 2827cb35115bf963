"""A server's life: bind, load, serve, and at the signal to end take no more, answer what is inside, and go."""

import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from fo1.errors import InputError
from fo1.pipeline import FO1
from fo1.serving.app import create_app, served_name
from fo1.serving.batching import Batcher
from fo1.serving.limits import Limits
from fo1.serving.metrics import Metrics
from fo1.serving.remote import Remote
from fo1.serving.service import Service
from fo1.serving.worker import Worker

LOG = logging.getLogger(__name__)
_GRACE = 5  # seconds that idle connections are waited for, when all is answered
_FETCH = 10  # seconds that a picture from the web may take
_IDLE = 75  # seconds that a connection may be silent between two requests


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that has an address, and refuses connections until it is served.

    Raises:
        InputError: the address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot listen at {host} port {port} ({reason}); give another --host or --port"
        ) from error
    return sock


def create_service(
    model: FO1,
    limits: Limits,
    *,
    keys: tuple[str, ...] = (),
    remote: bool = False,
) -> Service:
    """Return the service of a model in this process.

    Args:
        model: that answers.
        limits: of the server.
        keys: of clients; empty for none.
        remote: whether pictures are fetched from the web.
    """
    metrics = Metrics()
    worker = Worker(model, limits.cache_bytes)
    batcher = Batcher(worker, limits, metrics)
    gauge = metrics.gauge
    gauge("fo1_waiting", "Jobs that no batch has taken yet.", lambda: batcher.waiting)
    gauge("fo1_scenes_bytes", "What kept scenes take.", lambda: worker.cache.num_bytes)
    memory = model.engine.memory
    gauge("fo1_memory_bytes", "What the engine keeps of them.", lambda: memory.num_bytes)
    gauge("fo1_scene_hits_total", "Scenes that were kept.", lambda: worker.hits, "counter")
    gauge("fo1_scene_misses_total", "Scenes that were made.", lambda: worker.misses, "counter")
    return Service(
        name=served_name(model.name),
        answerer=batcher,
        limits=limits,
        metrics=metrics,
        remote=Remote(limits.bytes, min(_FETCH, limits.seconds)) if remote else None,
        keys=keys,
    )


def url_of(sock: socket.socket) -> str:
    """Return where clients find what is served at a socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """Drains before it ends: what comes after the signal is told so, what came before is answered.

    Args:
        service: what is served.
        ready: called once requests are taken.
    """

    def __init__(self, service: Service, ready: Callable[[], None]) -> None:
        self._gate = create_app(service)
        self._ready = ready
        config = uvicorn.Config(
            self._gate,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, end at the second."""
        if self._gate.draining:
            self.should_exit = self.force_exit = True
        LOG.info("draining: %d inside (%s)", self._gate.inside, signal.Signals(sig).name)
        self._gate.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end: when it was said and nobody is inside."""
        if self._gate.draining and not self._gate.inside:
            self.should_exit = True
        return await super().on_tick(counter)
