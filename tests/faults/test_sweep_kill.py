"""A sweep typed in a terminal, and what reaches its members when it is stopped or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segue.sweep.runner import LOG
from segue.training import checkpoint
from tests.broken_families import starved
from tests.conftest import ROOT
from tests.faults.test_kill import rows, wait_for
from tests.sweep.test_runner import toy_sweep

SLOW = starved.__name__  # imported here, so that its card may be read here


def start(data: Path, folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A sweep in a session of its own, when its first member has begun to train; and that member's
    stage.
    """
    (folder / "slow").touch()
    plan = toy_sweep(data, folder)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "segue",
        "sweep",
        str(plan),
        f"model.family={SLOW},rfdetr",
    ]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stage = folder / "runs" / "toy-sweep-1" / f"family={SLOW}" / "toy-1" / "1-detector"
    wait_for(lambda: rows(stage / "steps.csv") >= 1, process)
    return process, stage


@pytest.mark.slow
def test_ctrl_c_reaches_members_once_so_that_they_save(rendered: Path, tmp_path: Path) -> None:
    process, stage = start(rendered, tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in said, said
    assert "interrupted" in said and "the same command resumes" in said
    assert checkpoint.verify(stage / "last").step == rows(stage / "steps.csv") < 8


@pytest.mark.slow
def test_members_of_a_sweep_that_is_killed_save_and_stop(rendered: Path, tmp_path: Path) -> None:
    process, stage = start(rendered, tmp_path)
    process.kill()
    process.wait(timeout=60)
    log, deadline = stage.parent.parent / LOG, time.monotonic() + 60
    while "everything is saved" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "everything is saved" in log.read_text()
    assert checkpoint.verify(stage / "last").step == rows(stage / "steps.csv") < 8
