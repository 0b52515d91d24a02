"""Killed anywhere and started again with the same command, a run is the run that was never killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segue.run_folder import read_note
from segue.training import checkpoint
from tests.conftest import segue, toy_plan, write_plan
from tests.toy import losses, same_tensors

PATIENCE = 240  # seconds a test waits for something to happen in another process


def start(plan: Path) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", "-m", "segue", "run", str(plan), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(happened, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, "the run ended before it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rows(path: Path) -> int:
    return max(0, path.read_text().count("\n") - 1) if path.exists() else 0


def kill_at(plan: Path, steps: Path, count: int, number: int = signal.SIGKILL) -> int:
    """Run until `count` steps are written, then send a signal; returns the exit code."""
    process = start(plan)
    wait_for(lambda: rows(steps) >= count, process)
    process.send_signal(number)
    return process.wait(timeout=60)


def plan_of(data: Path, folder: Path, workers: int) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    common = {"workers": workers, "images_per_step": 4, "images_per_forward": 2, "save_every_steps": 2}
    plan = toy_plan(data, folder / "runs", detector=common, masks={**common, "cache": {"views": 1}})
    return write_plan(folder / "plan.yaml", plan), folder / "runs" / "toy-1"


@pytest.fixture(scope="module")
def uninterrupted(rendered, tmp_path_factory):
    plan, run = plan_of(rendered, tmp_path_factory.mktemp("whole"), 0)
    assert segue("run", plan).returncode == 0
    return run


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.slow
def test_killed_at_three_random_steps_and_resumed_is_bit_equal(uninterrupted, rendered, tmp_path, workers):
    plan, run = plan_of(rendered, tmp_path, workers)
    rng = random.Random(workers + 11)
    for stage, count in (("1-detector", rng.randint(1, 3)), ("1-detector", rng.randint(5, 7)), ("2-masks", 3)):
        assert kill_at(plan, run / stage / "steps.csv", count) == -signal.SIGKILL
    assert segue("run", plan).returncode == 0
    for stage in ("1-detector", "2-masks"):
        assert losses(run / stage) == losses(uninterrupted / stage)
        for kind in ("selected", "last"):
            assert same_tensors(run / stage / kind, uninterrupted / stage / kind)


@pytest.mark.slow
def test_a_run_asked_to_stop_saves_says_so_and_goes_on(uninterrupted, rendered, tmp_path):
    plan, run = plan_of(rendered, tmp_path, 0)
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        assert kill_at(plan, run / "1-detector" / "steps.csv", 1 if code == 143 else 5, number) == code
        assert read_note(run)["stages"]["detector"]["state"] == "interrupted"
        done = checkpoint.verify(run / "1-detector" / "last").step
        assert done == rows(run / "1-detector" / "steps.csv")  # nothing that was trained is lost
    assert segue("run", plan).returncode == 0
    assert losses(run / "2-masks") == losses(uninterrupted / "2-masks")
    assert same_tensors(run / "2-masks" / "last", uninterrupted / "2-masks" / "last")


@pytest.mark.slow
def test_a_signal_to_the_whole_group_does_not_take_the_workers_with_it(rendered, tmp_path):
    """As `timeout` and batch systems send it."""
    plan, run = plan_of(rendered, tmp_path, 2)
    command = [sys.executable, "-W", "ignore", "-m", "segue", "run", str(plan), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: rows(run / "1-detector" / "steps.csv") >= 2, process)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 143 and "Traceback" not in said, said
    assert read_note(run)["stages"]["detector"]["state"] == "interrupted"
    checkpoint.verify(run / "1-detector" / "last")


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
            checkpoint.write(folder / "last", tensors, checkpoint.Card(spec=spec, step=step), {"s": step}, True)
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


@pytest.mark.parametrize("trials", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_no_kill_while_saving_leaves_an_unreadable_checkpoint(tmp_path, trials):
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WRITER, str(tmp_path), str(trials)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert out.returncode == 0, out.stderr
    unreadable, newest = map(int, out.stdout.split())
    assert unreadable == 0
    assert newest > trials  # it did write in between


def test_a_flipped_bit_in_the_newest_checkpoint_is_named_and_the_one_before_is_used(rendered, tmp_path):
    plan, run = plan_of(rendered, tmp_path, 0)
    assert kill_at(plan, run / "1-detector" / "steps.csv", 5) == -signal.SIGKILL
    last = run / "1-detector" / "last"
    data = bytearray((last / "weights.safetensors").read_bytes())
    data[-9] ^= 1
    (last / "weights.safetensors").write_bytes(bytes(data))
    out = segue("run", plan, "--stage", "detector")
    assert out.returncode == 0, out.stderr
    assert f"{last / 'weights.safetensors'}: damaged" in out.stderr and "going back to step 4" in out.stderr
    assert json.loads((run / "run.json").read_text())["stages"]["detector"]["state"] == "complete"
