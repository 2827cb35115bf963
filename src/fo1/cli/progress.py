"""How far a run over several pictures has come: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self, TextIO

from tqdm import tqdm

_SECONDS = 10.0  # between two lines
_BAR = "{{n_fmt}}/{{total_fmt}} {unit} |{{bar}}| {{elapsed}}<{{remaining}}, {{rate_fmt}}{{postfix}}"


class Progress:
    """Tells how far a run has come; says nothing about a single picture.

    Args:
        total: pictures in the run.
        err: where it is told.
        unit: what is counted.
    """

    def __init__(self, total: int, err: TextIO, unit: str = "pictures") -> None:
        self.total, self.done, self.failed, self.unit = total, 0, 0, unit
        self._skipped = 0
        self._err = err
        self._bar: tqdm | None = None
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> Self:
        if self.total > 1 and self._err.isatty():
            self._bar = tqdm(
                total=self.total,
                file=self._err,
                unit="",
                bar_format=_BAR.format(unit=self.unit),
                dynamic_ncols=True,
            )
        elif self.total > 1:
            self._err.write(f"fo1: {self.total} {self.unit}\n")
            self._err.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self.total > 1:
            self._tell("")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away while something else is written."""
        if self._bar is not None:
            self._bar.clear()
        yield
        if self._bar is not None:
            self._bar.refresh()

    def skip(self, count: int) -> None:
        """Count what was done in an earlier run; it says nothing about how fast this one is."""
        self.done += count
        self._skipped += count
        if self._bar is not None:
            self._bar.initial += count
            self._bar.update(count)

    def step(self, *, failed: bool) -> None:
        """Count one more picture."""
        self.done += 1
        self.failed += failed
        if self._bar is not None:
            if self.failed:
                self._bar.set_postfix_str(f"{self.failed} failed", refresh=False)
            self._bar.update()
        elif 1 < self.total != self.done and time.monotonic() - self._told >= _SECONDS:
            rate = (self.done - self._skipped) / (time.monotonic() - self._begun)
            left = tqdm.format_interval((self.total - self.done) / rate)
            self._tell(f", {rate:.2g} per second, {left} left")

    def _tell(self, more: str) -> None:
        self._told = time.monotonic()
        failed = f", {self.failed} failed" if self.failed else ""
        passed = tqdm.format_interval(self._told - self._begun)
        self._err.write(
            f"fo1: {self.done} of {self.total} {self.unit}{failed}, {passed} passed{more}\n"
        )
        self._err.flush()
