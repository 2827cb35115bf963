"""What a server counts, in the text format that Prometheus reads.

Source: https://prometheus.io/docs/instrumenting/exposition_formats (version 0.0.4).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)
SIZES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(slots=True)
class Histogram:
    """How often a value was at most each bound."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        """Return its lines; `labels` end in a comma unless there are none."""
        so_far = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            so_far += count
            yield f'{name}_bucket{{{labels}le="{bound}"}} {so_far}'
        own = f"{{{labels.rstrip(',')}}}" if labels else ""
        yield f"{name}_sum{own} {self.total:.6f}"
        yield f"{name}_count{own} {so_far}"


class Metrics:
    """Counts of one server; one event loop changes them."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.request_seconds: dict[str, Histogram] = {}
        self.batches = Histogram(SIZES)
        self.queue_seconds = Histogram(SECONDS)
        self.left = 0
        self._gauges: dict[str, tuple[str, str, Callable[[], float]]] = {}

    def gauge(self, name: str, about: str, read: Callable[[], float], kind: str = "gauge") -> None:
        """Show a value that is read whenever it is asked for."""
        self._gauges[name] = about, kind, read

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        key = route, status
        self.requests[key] = self.requests.get(key, 0) + 1
        self.request_seconds.setdefault(route, Histogram(SECONDS)).add(seconds)

    def text(self) -> str:
        """Return all of it."""
        return "\n".join([*self._lines(), ""])

    def _lines(self) -> Iterator[str]:
        yield from _head("fo1_requests_total", "counter", "Requests that were answered.")
        for (route, status), count in sorted(self.requests.items()):
            yield f'fo1_requests_total{{route="{route}",status="{status}"}} {count}'
        yield from _head("fo1_request_seconds", "histogram", "From the first byte to the last.")
        for route, times in sorted(self.request_seconds.items()):
            yield from times.lines("fo1_request_seconds", f'route="{route}",')
        yield from _head("fo1_queue_seconds", "histogram", "That a job waited for its batch.")
        yield from self.queue_seconds.lines("fo1_queue_seconds")
        yield from _head("fo1_batch_jobs", "histogram", "Jobs that were answered together.")
        yield from self.batches.lines("fo1_batch_jobs")
        yield from _head("fo1_clients_left_total", "counter", "Clients that left unanswered.")
        yield f"fo1_clients_left_total {self.left}"
        for name, (about, kind, read) in self._gauges.items():
            yield from _head(name, kind, about)
            yield f"{name} {read():g}"


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
