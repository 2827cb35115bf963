"""How long each property is tried: a few fixed examples in the suite, a share of the time on request.

    FO1_FUZZ_SECONDS=3900 python -m pytest tests/fuzz -s

spends N seconds, evenly over the properties selected, on rounds of new random examples.
"""

import functools
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings

SECONDS = float(os.environ.get("FO1_FUZZ_SECONDS", "0"))
ROUND = 10
"""A round of a long run has so many times the examples of the suite."""


@dataclass
class Effort:
    """What one property was put through."""

    name: str
    examples: int = 0
    seconds: float = 0.0
    failures: int = 0

    def __str__(self) -> str:
        return f"{self.name:<72} {self.examples:>9} {self.seconds:>8.1f} {self.failures:>3}"


EFFORTS: list[Effort] = []
"""Of the properties that were collected, later of those that are selected."""

HEADS = f"{'property':<72} {'examples':>9} {'seconds':>8} {'failures':>3}"


def share() -> float:
    """Return the seconds that one property may take; 0 in the suite."""
    return SECONDS / max(len(EFFORTS), 1)


def select(names: Collection[str]) -> None:
    """Share the time among these tests alone."""
    EFFORTS[:] = [effort for effort in EFFORTS if effort.name in names]


def assert_one_line(error: Exception) -> None:
    """Assert that an error is one line of readable length."""
    assert len(str(error).splitlines()) == 1
    assert len(str(error)) < 600


def fuzz(*strategies: Any, examples: int = 40, **named: Any) -> Callable[[Any], Any]:
    """Return a decorator that makes a property of a test; arguments are those of `given`.

    Args:
        strategies: as for `given`.
        examples: how many the suite tries, the same every time.
        named: as for `given`.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        effort = Effort(f"{test.__module__.split('.')[-1]}.{test.__name__}")
        EFFORTS.append(effort)

        @functools.wraps(test)
        def counted(*args: Any, **kwargs: Any) -> None:
            effort.examples += 1
            test(*args, **kwargs)

        many = settings(
            max_examples=examples * ROUND if SECONDS else examples,
            derandomize=not SECONDS,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        run = many(given(*strategies, **named)(counted))

        @functools.wraps(run)
        def timed(*args: Any, **kwargs: Any) -> None:
            start = time.monotonic()
            try:
                run(*args, **kwargs)
                while time.monotonic() - start < share():
                    run(*args, **kwargs)
            except BaseException:
                effort.failures += 1
                if SECONDS:
                    traceback.print_exc(file=sys.stdout)  # the rest of the run takes its time
                raise
            finally:
                effort.seconds += time.monotonic() - start
                if SECONDS:
                    sys.stdout.write(f"\n{effort}")

        return timed

    return decorate
