"""Workers that hang or die while they read an image: the image is named, and nothing hangs with
them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.data.pipeline import loader, samples
from segue.errors import DataError
from segue.run.notes import read_note
from segue.training import checkpoint
from tests.conftest import Promise
from tests.toy import detector_only, losses, run


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[str], Callable[[], object]], None]:
    """Let something happen when an image of one of these names is read."""
    read = samples.read_image

    def set_to(names: set[str], happens: Any) -> None:
        def reading(record: Any, channels: Any):
            if record.image.name in names:
                happens()
            return read(record, channels)

        monkeypatch.setattr(samples, "read_image", reading)
        monkeypatch.setattr(loader, "POLL_INTERVAL", 0.2)

    return set_to


def test_an_image_that_is_never_read_to_its_end_is_named(
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reading: Callable[[set[str], Callable[[], object]], None],
    promise: Promise,
) -> None:
    reading({"train_0005.png"}, lambda: time.sleep(3600))
    monkeypatch.setattr(loader, "READ_TIMEOUT", 5.0)
    plan = detector_only(rendered, tmp_path, workers=2)
    with pytest.raises(DataError) as error:
        run(plan)
    said = error.value.message
    assert said.startswith(
        f"reading {rendered / 'train' / 'train_0005.png'}: not done after 5 s; expected"
    )
    assert "the same command resumes from what was saved" in said and "\n" not in said
    assert multiprocessing.active_children() == []  # or the command would never end
    folder = tmp_path / "toy-1"
    assert read_note(folder).stages["detector"].state == "failed"
    monkeypatch.undo()
    assert run(plan) == folder and len(losses(folder / "1-detector")) == 8
    promise("P17", 1, "workers that hang")


def test_many_images_that_take_their_time_are_waited_for(
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reading: Callable[[set[str], Callable[[], object]], None],
) -> None:
    """One after the other they take longer than one may take."""
    names = {path.name for path in (rendered / "train").glob("*.png")}
    assert len(names) * 0.2 > 3
    reading(names, lambda: time.sleep(0.2))
    monkeypatch.setattr(loader, "READ_TIMEOUT", 3.0)
    folder = run(detector_only(rendered, tmp_path, workers=1, epochs=1, images_per_step=8))
    assert len(losses(folder / "1-detector")) == 2


class Kept:
    """Batches that come after one look at the workers."""

    def __init__(self) -> None:
        self.outcomes = [RuntimeError("DataLoader timed out after 5 seconds"), "a batch"]

    def __next__(self) -> str:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_a_run_that_was_paused_goes_on_although_its_images_are_late_by_then() -> None:
    """Time goes on while Ctrl-Z keeps a run and its workers: `fg` is no reason to end them."""
    worker = subprocess.Popen(["sleep", "60"])
    try:
        at = torch.tensor(
            [[worker.pid, 0, time.monotonic() - 2 * loader.READ_TIMEOUT]], dtype=torch.float64
        )
        # pyrefly: ignore[bad-argument-type]  # neither is looked at beyond this
        assert loader._next(Kept(), None, at) == "a batch" and worker.poll() is None
    finally:
        worker.kill()
        worker.wait()


def test_an_image_whose_worker_dies_is_named(
    rendered: Path,
    tmp_path: Path,
    reading: Callable[[set[str], Callable[[], object]], None],
    promise: Promise,
) -> None:
    """As when the system kills it because memory ran out, or a decoder crashes."""
    reading({"train_0005.png"}, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError) as error:
        run(detector_only(rendered, tmp_path, workers=2))
    said = error.value.message
    assert said.startswith(
        f"reading {rendered / 'train' / 'train_0005.png'}: the process that did this was ended"
    )
    assert "lower workers:" in said and "\n" not in said
    done = len(losses(tmp_path / "toy-1" / "1-detector"))
    assert done == 0 or checkpoint.verify(tmp_path / "toy-1" / "1-detector" / "last").step == done
    promise("P17", 1, "workers that die")
