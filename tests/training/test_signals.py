"""The first signal is noted, the second ends the run; afterwards everything is as it was."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from segue.errors import Interrupted
from segue.training.signals import stop_signals, stopping_at_once


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_of_a_step_is_noted_and_the_second_acts(number):
    before = signal.getsignal(number)
    with stopping_at_once():
        with stop_signals() as received:
            send(number)
            assert received == [number]
            with pytest.raises(Interrupted) as stopped:
                send(number)
        assert stopped.value.at_once and stopped.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_between_steps_a_signal_ends_the_run_where_it_is():
    with pytest.raises(Interrupted, match="what was saved is whole"), stopping_at_once():
        send(signal.SIGTERM)


def test_in_another_thread_signals_are_left_alone():
    outcome: list[object] = []

    def work() -> None:
        with stop_signals() as received:
            outcome.append(received)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [[]] and signal.getsignal(signal.SIGTERM) is before
