"""From samples to the batch of each optimizer step, by workers that are watched: one that hangs or dies is named."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from segue.data.records import Record
from segue.data.samples import Position, StepSampler
from segue.errors import DataError, SegueError
from segue.structures.target import Batch, Target, collate

PATIENCE = 300.0  # seconds until an image that a worker is still reading is taken for one that never ends
LOOK = 5.0  # seconds between two looks at workers that keep us waiting


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """A stop signal often reaches a whole process group; workers must live until the main process has saved."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class _Watched(Dataset):
    """Samples whose workers note in `at`, shared by all, what they are at: process, record (-1: none), and since when.

    Our errors are returned, because torch cannot carry them out of a worker process in one piece.
    """

    samples: Dataset
    at: Tensor

    def __getitem__(self, position: Position) -> tuple[dict[str, Tensor], Target] | SegueError:
        worker = get_worker_info()
        row = self.at[worker.id if worker else 0]
        row.copy_(torch.tensor([os.getpid(), position[1], time.monotonic()], dtype=torch.float64))
        try:
            return self.samples[position]
        except SegueError as error:
            return error
        finally:
            row[1] = -1


def _collate(samples: list[tuple[dict[str, Tensor], Target] | SegueError]) -> Batch | SegueError:
    for sample in samples:
        if isinstance(sample, SegueError):
            return sample
    return collate(samples)  # type: ignore[arg-type]


def loader(
    samples: Dataset, steps: StepSampler, workers: int = 0, device: torch.device | str = "cpu"
) -> Iterator[Batch]:
    """Batches of whole steps, on the CPU. Any number of workers gives the same batches.

    device: where they will be used; for a GPU their memory is page-locked.

    Raises:
        DataError: if an image cannot be read, if reading it takes longer than PATIENCE, or if it ends the worker.
    """
    at = torch.full((max(workers, 1), 3), -1.0, dtype=torch.float64).share_memory_()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores: as the plan says
        batches: DataLoader[Batch | SegueError] = DataLoader(
            _Watched(samples, at),
            batch_sampler=steps,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=torch.device(device).type == "cuda",
            timeout=LOOK if workers else 0,
            worker_init_fn=_leave_signals_to_the_main_process,
            # Members of a sweep come from a fork server, and would start workers through it: a toy took 31 s, not 2.
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            generator=torch.Generator(),  # so that making an iterator draws nothing from the global generator
        )
        before = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
        left = iter(batches)
    if workers and signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)  # torch's would raise in the middle of whatever we are at
    try:
        while (batch := _next(left, samples, at)) is not None:
            if isinstance(batch, SegueError):
                raise batch
            yield batch
    finally:
        del left  # ends the workers, also where somebody keeps the error and with it this frame


def _next(left: Iterator[Batch | SegueError], samples: Dataset, at: Tensor) -> Batch | SegueError | None:
    """The next batch, however long it takes, as long as no single image takes too long; None at the end."""
    seen: set[tuple[int, float]] = set()  # records that were late when we looked last, and since when
    while True:
        try:
            return next(left, None)
        except (RuntimeError, OSError, EOFError) as error:  # the last two from a connection that broke with a worker
            timed_out = str(error).startswith("DataLoader timed out")
            if not timed_out:
                time.sleep(0.5)  # a process that is being ended closes its connections first
                active_children()  # takes note of those that have ended
            busy = [(int(process), int(record), since) for process, record, since in at.tolist() if record >= 0]
            gone = [record for process, record, _ in busy if not _alive(process)]
            if not timed_out and not gone and "exited unexpectedly" not in str(error):
                raise
        if not timed_out:
            return DataError(
                f"reading {_image(samples, gone[0])}" if gone else "reading images",
                "the process that did this was ended from outside or crashed; perhaps memory ran out",
                "a file that can be decoded, and memory for all workers",
                "a lower workers:, or the data without this file; the same command goes on from what was saved",
            )
        overdue = {(record, since) for _, record, since in busy if time.monotonic() - since > PATIENCE}
        late, seen = [record for record, _ in seen & overdue], overdue
        if late:  # at two looks: of a run that was paused all are, at the first one after it goes on
            for process, _, _ in busy:  # one that hangs does not end when it is told to, and we would wait for it
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            return DataError(
                f"reading {_image(samples, late[0])}",
                f"not done after {PATIENCE:g} s",
                "a file and a disk that answer",
                "open that file yourself; the same command goes on from what was saved",
            )


def _image(samples: Dataset, record: int) -> Path:
    """The file of a record of samples, or of cached ones."""
    records: Sequence[Record] = getattr(samples, "samples", samples).records  # type: ignore[attr-defined]
    return records[record].image


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
