"""A disk that is really full: what was saved stays, training goes on for a while, and the end is
one clear line.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from segue.errors import TrainingError
from segue.run.notes import read_note
from segue.training import checkpoint
from segue.training.fit import MOST_FAILED_SAVES
from segue.training.journal import Journal, read_rows
from tests.faults.small_disk import small_disk
from tests.toy import detector_only, losses, run, same_tensors
from tests.training.test_cache import contents, filled, parts  # noqa: F401


@pytest.fixture
def disk(tmp_path):
    with small_disk("64m", tmp_path / "disk") as disk:
        yield disk


def before_step(monkeypatch, at: dict[int, Callable[[], None]]) -> None:
    """Let something happen just before a step is written down."""
    note = Journal.step

    def noting(self, row):
        at.get(int(row["step"]), lambda: None)()
        note(self, row)

    monkeypatch.setattr(Journal, "step", noting)


def failed_writes(monkeypatch) -> list[str]:
    """Names of the checkpoints that could not be written."""
    write, failed = checkpoint.write, []

    def noting(folder, *arguments, **named):
        try:
            return write(folder, *arguments, **named)
        except OSError:
            failed.append(folder.name)
            raise

    monkeypatch.setattr(checkpoint, "write", noting)
    return failed


@pytest.fixture(scope="module")
def whole_of_two(rendered, tmp_path_factory) -> Path:
    """The stage that keeps its best two epochs, on a disk with room for them."""
    plan = detector_only(rendered, tmp_path_factory.mktemp("whole"), keep=2)
    return run(plan) / "1-detector"


@pytest.mark.parametrize(
    ("full", "missed"), [((3, 4), ["last"]), ((4, 5), ["last", "selected", "selected"])]
)
def test_a_disk_that_is_full_for_a_while_changes_nothing_in_what_comes_out(
    rendered, whole_of_two, disk, monkeypatch, full, missed, promise
):
    """Over a save between epochs, or over the evaluation at an epoch's end with its best
    weights.
    """
    whole = whole_of_two
    with monkeypatch.context() as patch:
        before_step(patch, {full[0]: disk.fill, full[1]: disk.clear})
        failed = failed_writes(patch)
        stage = run(detector_only(rendered, disk.path / "runs", keep=2)) / "1-detector"
    assert failed == missed
    assert losses(stage) == losses(whole) and len(losses(stage)) == 8
    for name in ("selected", "last"):
        checkpoint.verify(stage / name)
        assert same_tensors(stage / name, whole / name)
    assert {path.name for path in (stage / "best").iterdir()} == {
        path.name for path in (whole / "best").iterdir()
    }
    rows = [read_rows(folder / "epochs.csv") for folder in (stage, whole)]
    assert rows[0] == rows[1]
    promise("P8", 1, "disks that were full for a while")


def test_a_disk_that_stays_full_ends_the_stage_with_the_last_good_checkpoint(
    rendered, disk, monkeypatch, promise
):
    plan = detector_only(rendered, disk.path / "runs")
    with monkeypatch.context() as patch:
        before_step(patch, {3: disk.fill})
        with pytest.raises(TrainingError) as error:
            run(plan)
    said = error.value.message
    stage = disk.path / "runs" / "toy-1" / "1-detector"
    assert (
        said.startswith(f"{stage}: saving failed {MOST_FAILED_SAVES} times (") and "\n" not in said
    )
    assert " MB needed, 0.0 MB free; expected free disk space; next: the same command again" in said
    assert checkpoint.verify(stage / "last").step == 2
    assert not (stage / "last.writing").exists()
    disk.clear()
    assert run(plan) == stage.parent  # the same command
    assert read_note(stage.parent).stages["detector"].state == "complete"
    assert [row["step"] for row in read_rows(stage / "steps.csv")] == list(range(1, 9))
    promise("P8", 1, "disks that stayed full")


def write_rows(journal: Journal, numbers: range) -> None:
    for number in numbers:
        journal.step({"step": number, "loss": number / 7, "seconds": number / 3})


def events_in(path: Path) -> Iterator[Event]:
    """The whole events of a TensorBoard file: each has its length and a checksum before it, and one
    behind it.
    """
    data, at = path.read_bytes(), 0
    while at + 12 < len(data):
        (length,) = struct.unpack_from("Q", data, at)
        yield Event.FromString(data[at + 12 : at + 12 + length])
        at += length + 16


def test_lines_of_the_log_wait_in_memory_and_are_all_there_in_order(tmp_path, promise):
    """TensorBoard's file must not hold training up either: its writer's thread would, for ever."""
    with small_disk("64k", tmp_path / "disk") as disk:
        journal = Journal(disk.path / "stage")
        write_rows(journal, range(1, 50))
        disk.fill()
        write_rows(journal, range(50, 500))
        journal.event("something", step=3)
        assert 0 < len(journal.waiting) <= 451
        size = (journal.folder / "steps.csv").stat().st_size
        written = (journal.folder / "steps.csv").read_bytes()
        assert written.endswith(b"\n") and size == len(written)  # no half of a line
        with pytest.raises(OSError, match="No space left"):
            journal.flush()
        disk.clear()
        journal.flush()
        assert [row["step"] for row in read_rows(journal.folder / "steps.csv")] == list(
            range(1, 500)
        )
        assert (journal.folder / "events.jsonl").read_text().count("something") == 1
        (events,) = (journal.folder / "tb").iterdir()
        seen = [event.step for event in events_in(events) if event.summary.value]
        assert seen[: 2 * 49 : 2] == list(range(1, 50))
        journal.close()
    promise("P8", 1, "disks that were full while lines were written")


def test_a_cache_goes_on_where_the_disk_was_full(parts, tmp_path, promise):  # noqa: F811
    filled(parts, tmp_path / "whole")
    with small_disk("1m", tmp_path / "disk") as disk:

        def fill_up(done: int, total: int) -> None:
            if done == 4:
                disk.fill()

        folder = disk.path / "stage"
        with pytest.raises(
            TrainingError,
            match=r"4 of 10 records are cached \(No space left on device\): .*needed, 0",
        ):
            filled(parts, folder, fill_up)
        disk.clear()
        ticks = []
        filled(parts, folder, lambda done, total: ticks.append(done))
        assert ticks == [6, 8, 10] and contents(folder) == contents(tmp_path / "whole")
    promise("P8", 1, "disks that were full while a cache was filled")
