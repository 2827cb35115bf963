"""Ctrl-C: at once while a picture is worked on, behind its row while that is written."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

_MOMENT = 1.0  # seconds in which further ones mean the same as the first


class Interrupts:
    """Handles Ctrl-C inside a `with`, in the main thread and where nobody else handles it.

    The first raises `KeyboardInterrupt`, but what is `held` is ended first. One that comes later,
    because that takes long, raises wherever it comes.

    Attributes:
        hurried: whether a later one came, so that what was held may be cut.
    """

    def __init__(self) -> None:
        self.hurried = False
        self._first: float | None = None
        self._held = False
        self._mine = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        # Ignored, as in background jobs, it stays so; the handler of a host program stays as well.
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._mine = True
            signal.signal(signal.SIGINT, self._come)
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Put off Ctrl-C until the end of the `with`.

        Raises:
            KeyboardInterrupt: at the end, if one came before or meanwhile.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.check()

    def check(self) -> None:
        """Raise if Ctrl-C came, which a library may have swallowed.

        Raises:
            KeyboardInterrupt: it did.
        """
        if self._first is not None:
            raise KeyboardInterrupt

    def _come(self, _signal: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            if self._held:
                return
        elif now - self._first < _MOMENT:
            return
        else:
            self.hurried = True
        raise KeyboardInterrupt
