"""The time of each property in a long run, and the table at its end."""

import pytest

from tests.fuzz.budget import EFFORTS, HEADS, SECONDS, select, share


def pytest_collection_finish(session: pytest.Session) -> None:
    """Give every selected property the time it is to take, and time to find the smallest example."""
    if SECONDS:
        select({f"{item.path.stem}.{item.name}" for item in session.items})
        for item in session.items:
            item.add_marker(pytest.mark.timeout(2 * share() + 600))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print per property how many examples it met."""
    if SECONDS:
        terminalreporter.section("fuzzing")
        for line in (HEADS, *EFFORTS):
            terminalreporter.write_line(str(line))
