"""Being asked to stop: SIGTERM and SIGINT are noted, so that a step can be finished and saved first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """The list fills with the first SIGTERM or SIGINT; a second one acts at once, as without us."""
    received: list[int] = []
    previous: dict[int, object] = {}

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        for known, handler in previous.items():
            signal.signal(known, handler)  # type: ignore[arg-type]

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            previous[number] = signal.signal(number, note)
        except ValueError:  # not the main thread: signals are somebody else's business
            break
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
