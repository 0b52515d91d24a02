"""What a person sees: lines on standard error that cannot do anything, and no more than is
wanted.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from segue.run import console as module
from segue.run.console import Console


def test_lines_go_to_standard_error_and_move_no_cursor(capsys):
    Console().say("[bold]\x1b[2J done")
    out, err = capsys.readouterr()
    assert out == "" and err == "[bold]\\x1b[2J done\n"


def test_a_quiet_console_and_other_processes_say_nothing(capsys, monkeypatch):
    Console(quiet=True).say("x")
    console = Console()
    monkeypatch.setattr(module.processes, "rank", lambda: 1)
    console.say("x")
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 10.0, 40.0, 50.0, 80.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with Console().progress("reading") as tick:
        for done in (1, 2, 3, 4):
            tick(done, 8)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["reading: 2/8, about 120 s left", "reading: 4/8, about 80 s left"]


@pytest.mark.parametrize(("best", "star"), [(None, " *"), (0.2, " *"), (0.3, "")])
def test_an_evaluation_is_a_line_and_the_best_so_far_has_a_star(capsys, best, star):
    progress = SimpleNamespace(epoch=2, steps=10, best=best)
    stage = SimpleNamespace(
        learner=SimpleNamespace(progress=progress),
        training=SimpleNamespace(evaluate_every_steps=None),
        metric="mask_ap",
        epochs=5,
    )
    metrics = {"box_ap": 0.5, "box_ap50": 0.75, "mask_ap": 0.25}
    with Console().stage("masks") as reporter:
        reporter.on_evaluated(stage, metrics)
    line = capsys.readouterr().err
    assert line.startswith(
        f"masks  epoch 3/5  mask_ap 0.250  box_ap 0.500  box_ap50 0.750{star}  0 s"
    )
