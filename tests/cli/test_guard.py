"""From errors to exit codes, with one line."""

from __future__ import annotations

from typing import Any

import pytest

from segue.cli.app import main
from segue.cli.guard import guarded
from segue.errors import DataError, Interrupted, TrainingError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(28, "No space left on device", "runs/x"),
            "No space left on device: 'runs/x'; finished work is kept",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate"),
            "out of memory outside a step; next: lower",
        ),
    ],
)
def test_what_the_machine_cannot_do_is_one_line_and_exit_code_3(
    error: Any, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from segue.cli.commands import demo

    def fails(*_: object):
        raise error

    monkeypatch.setattr(demo, "run_demo", fails)
    assert main(["demo"]) == 3
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ends", "code", "words"),
    [
        (None, 0, ""),
        (1, 1, ""),
        (DataError("a.json", "no image"), 2, "prog: error: a.json: no image\n"),
        (TrainingError("stage a", "nan"), 3, "prog: error: stage a: nan\n"),
        (Interrupted(15), 143, "the same command resumes\n"),
        (KeyboardInterrupt(), 130, ""),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_every_end_of_a_command_is_an_exit_code_and_at_most_one_line(
    ends: Any, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int | None:
        if isinstance(ends, BaseException):
            raise ends
        return ends

    assert guarded(command, "prog") == code
    err = capsys.readouterr().err
    assert err.endswith(words) and err.count("\n") == bool(words)


def test_a_fault_of_ours_still_raises() -> None:
    for fault in (KeyError("x"), RuntimeError("shapes differ")):
        with pytest.raises(type(fault)):
            guarded(lambda fault=fault: (_ for _ in ()).throw(fault), "prog")
