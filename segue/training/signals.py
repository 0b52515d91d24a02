"""Being asked to stop: where a step is being made SIGTERM and SIGINT are noted, so that it can be
finished and saved first; everywhere else, and when they come again, they end the run where it is.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from segue.errors import Interrupted

Handlers = dict[int, Any]


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """The list fills with the first SIGTERM or SIGINT; a second one acts at once, as without us."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        _restore(previous)

    previous: Handlers = {}
    _install(note, previous)
    try:
        yield received
    finally:
        _restore(previous)


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """SIGTERM and SIGINT raise Interrupted where they arrive, unless `stop_signals` notes them."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number, at_once=True)

    previous: Handlers = {}
    _install(stop, previous)
    try:
        yield
    finally:
        _restore(previous)


def _install(handler: Callable[[int, FrameType | None], None], previous: Handlers) -> None:
    """Handle both signals; what did so before goes into `previous` at once, because one may arrive
    at once.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.getsignal(number)
        try:
            signal.signal(number, handler)
        except ValueError:  # not the main thread: signals are somebody else's business
            previous.clear()
            return


def _restore(handlers: Handlers) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
