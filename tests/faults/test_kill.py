"""Killed anywhere and started again, a run is the run that was never killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.plan.schema import Plan
from segue.run.folder import RunFolder
from segue.run.notes import read_note
from segue.training import checkpoint
from tests.conftest import Promise, toy_plan, write_plan
from tests.faults import struck
from tests.faults.struck import BETWEEN, Blow
from tests.toy import Stopped

PATIENCE = 240  # seconds a test waits for something to happen in another process


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, "the run ended before it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rows(path: Path) -> int:
    return max(0, path.read_text().count("\n") - 1) if path.exists() else 0


def test_killed_once_in_each_place_it_is_the_run_that_was_never_killed(
    undisturbed: Callable[[int], tuple[Path, dict[str, list[int]]]],
    few: Path,
    tmp_path: Path,
    promise: Promise,
) -> None:
    """Each start goes on from the kill before; between lie opening the run, building models,
    measuring, the report.
    """
    plan, run = struck.three_stages(few, tmp_path, parts=4)
    blows = [
        Blow(BETWEEN, 1, 200_000),
        Blow("step", 2, 9_000),
        Blow("validation", 1, 30_000),
        Blow("saving", 2, 15_000),
        Blow(BETWEEN, 2, 60_000),
        Blow("thaw", 1, 40_000),
        Blow("validation", 1, 50_000),
        Blow(BETWEEN, 2, 90_000),
    ]
    for blow in blows:
        assert (blow, *struck.run(plan, blow))[:2] == (blow, -signal.SIGKILL)
    assert struck.run(plan)[0] == 0
    assert struck.differences(run, undisturbed(4)[0]) == []
    promise("P4", len(blows), "SIGKILLs one after the other")
    promise("P16", len(blows), "SIGKILLs, looking for what they leave behind")


def test_killed_while_its_folder_is_made_a_run_begins_under_the_same_name(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: Promise
) -> None:
    (tmp_path / "toy-7").mkdir()  # not a run, and not to be taken for one
    plan = Plan.model_validate(toy_plan(few, tmp_path))

    def deadly(*_: object, **__: Any) -> None:
        raise Stopped

    for name in ("write_note", "processes.barrier"):
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(f"segue.run.folder.{name}", deadly)
            RunFolder.open(plan, ["a", "b"])
    assert RunFolder.open(plan, ["a", "b"]).path.name == "toy-8"
    assert {path.name for path in tmp_path.iterdir()} == {"toy-7", "toy-8"}
    promise("P4", 2, "kills while the run's folder is made")


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.slow
def test_killed_at_a_random_place_it_is_the_run_that_was_never_killed(
    undisturbed: Callable[[int], tuple[Path, dict[str, list[int]]]],
    few: Path,
    tmp_path: Path,
    parts: int,
    promise: Promise,
) -> None:
    whole, counts = undisturbed(parts)
    rng, trials = random.Random(parts), 10
    for trial in range(trials):
        place = [*struck.PLACES, BETWEEN][trial % 5]
        call = rng.randint(1, len(counts[place]))
        blow = Blow(place, call, int(rng.uniform(0, 0.9) * counts[place][call - 1]))
        plan, run = struck.three_stages(few, tmp_path / str(trial), parts)
        assert (blow, *struck.run(plan, blow))[:2] == (blow, -signal.SIGKILL)
        assert (blow, *struck.run(plan))[:2] == (blow, 0)
        assert (blow, struck.differences(run, whole)) == (blow, [])
    promise("P4", trials, f"SIGKILLs at random places, steps in {parts} parts")
    promise("P16", trials, "SIGKILLs, looking for what they leave behind")


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.slow
def test_the_number_of_data_workers_changes_no_bit(
    undisturbed: Callable[[int], tuple[Path, dict[str, list[int]]]],
    few: Path,
    tmp_path: Path,
    workers: int,
    promise: Promise,
) -> None:
    plan, run = struck.three_stages(few, tmp_path, workers=workers)
    assert struck.run(plan)[0] == 0
    assert struck.differences(run, undisturbed(1)[0]) == []
    promise("P5", 1, f"runs with {workers} workers against one with none")


@pytest.mark.slow
def test_a_signal_to_the_whole_group_does_not_take_the_workers_with_it(
    rendered: Path, tmp_path: Path, promise: Promise
) -> None:
    """As `timeout` and batch systems send it."""
    common = {"workers": 2, "images_per_step": 4, "images_per_forward": 2, "save_every_steps": 2}
    plan = write_plan(
        tmp_path / "plan.yaml", toy_plan(rendered, tmp_path / "runs", detector=common)
    )
    run = tmp_path / "runs" / "toy-1"
    command = [sys.executable, "-W", "ignore", "-m", "segue", "run", str(plan), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: rows(run / "1-detector" / "steps.csv") >= 2, process)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 143 and "Traceback" not in said, said
    assert read_note(run).stages["detector"].state == "interrupted"
    checkpoint.verify(run / "1-detector" / "last")
    promise("P7", 1, "signals to a whole process group")


WRITER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from segue.errors import CheckpointError
from segue.models import ModelSpec
from segue.training import checkpoint

folder, trials = Path(sys.argv[1]), int(sys.argv[2])
spec = ModelSpec(family="rfdetr", size="pico", classes=("a",))
tensors = {"w": torch.randn(4_000_000)}
rng, unreadable, newest = random.Random(0), 0, 0
for trial in range(trials):
    child = os.fork()
    if child == 0:
        for step in range(newest + 1, 10**6):
            card = checkpoint.Card(spec=spec, step=step)
            checkpoint.write(folder / "last", tensors, card, {"s": step}, True)
    time.sleep(rng.uniform(0.1, 0.5))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for name in ("last", "last.previous"):
        if (folder / name).is_dir():
            try:
                checkpoint.read(folder / name)
            except CheckpointError:
                unreadable += 1
    card, said = checkpoint.recover(folder / "last")
    assert card is not None and not said and card.step >= newest, (card, said)
    newest = card.step
print(unreadable, newest)
"""


def other_file_system(folder: Path) -> Path:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == folder.stat().st_dev:
        pytest.skip("no other file system at /dev/shm")
    return Path(tempfile.mkdtemp(dir=shared))


@pytest.mark.parametrize(
    ("trials", "apart"),
    [
        (10, False),
        pytest.param(50, False, marks=pytest.mark.slow),
        pytest.param(50, True, marks=pytest.mark.slow),
    ],
)
def test_no_kill_while_saving_leaves_an_unreadable_checkpoint(
    tmp_path: Path, trials: int, apart: bool, promise: Promise
) -> None:
    """apart: temporary files lie on another file system, from which nothing can be put in its place
    in one step.
    """
    temporary = other_file_system(tmp_path) if apart else Path(tempfile.mkdtemp(dir=tmp_path))
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WRITER, str(tmp_path / "run"), str(trials)],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert out.returncode == 0, out.stderr
    unreadable, newest = map(int, out.stdout.split())
    assert unreadable == 0
    assert newest > trials  # it did write in between
    temporary.rmdir()  # nothing was left there
    promise(
        "P1",
        trials,
        "SIGKILLs while saving" + (", temporary files on another file system" if apart else ""),
    )
