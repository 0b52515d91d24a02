"""From samples to the batch of each optimizer step, by watched workers.

A worker that hangs or dies ends the run with the name of the image it was reading.
"""

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
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from typing_extensions import override

from segue.data.pipeline.samples import Position, Sample, StepSampler
from segue.data.records import Record
from segue.errors import DataError, SegueError
from segue.structures.target import Batch, collate

READ_TIMEOUT = 300.0  # seconds after which reading one image is taken to hang
POLL_INTERVAL = 5.0  # seconds between two looks at the workers while a batch is late


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """Ignore stop signals in a worker: they often reach the whole process group, and workers must
    live until the main process has saved.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class _Watched(Dataset[Sample | SegueError]):
    """Samples whose workers note what they are reading.

    reading: (workers, 3) float64 in shared memory; of each worker its process id, the index of the
    record that it reads (-1: none), and since when, in seconds of the monotonic clock.

    Our errors are returned, not raised: torch would rebuild them in the main process from their
    text alone, without place, expectation and next step.
    """

    samples: Dataset[Sample]
    reading: Tensor

    @override
    def __getitem__(self, position: Position) -> Sample | SegueError:
        worker = get_worker_info()
        row = self.reading[worker.id if worker else 0]
        row.copy_(torch.tensor([os.getpid(), position[1], time.monotonic()], dtype=torch.float64))
        try:
            return self.samples[position]
        except SegueError as error:
            return error
        finally:
            row[1] = -1


def _collate(samples: list[Sample | SegueError]) -> Batch | SegueError:
    for sample in samples:
        if isinstance(sample, SegueError):
            return sample
    return collate(samples)  # type: ignore[arg-type]


def loader(
    samples: Dataset[Sample],
    steps: StepSampler,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Yield this process's share of the batch of each optimizer step, for any number of workers the
    same. Batches lie on the CPU.

    device: where they will be used; for a GPU their memory is page-locked.

    Raises:
        DataError: if an image cannot be read, if reading it takes longer than READ_TIMEOUT, or if
        it ends the worker.
    """
    reading = torch.full((max(workers, 1), 3), -1.0, dtype=torch.float64).share_memory_()
    with warnings.catch_warnings():
        # torch warns of more workers than cores, which is for the plan to decide
        warnings.filterwarnings("ignore", "This DataLoader will create")
        batches: DataLoader[Sample | SegueError] = DataLoader(
            _Watched(samples, reading),
            batch_sampler=steps,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=torch.device(device).type == "cuda",
            timeout=POLL_INTERVAL if workers else 0,
            worker_init_fn=_leave_signals_to_the_main_process,
            # A sweep's runs come from a fork server and would start their workers through it, which
            # imports everything again: 31 s for a toy, not 2.
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            # a generator of its own: making an iterator would draw from the global one
            generator=torch.Generator(),
        )
        before = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
        remaining: Iterator[Batch | SegueError] = iter(batches)
    if workers and signal.getsignal(signal.SIGCHLD) is not before:
        # torch's handler would raise in the middle of whatever the main process does
        signal.signal(signal.SIGCHLD, before)
    try:
        while (batch := _next(remaining, samples, reading)) is not None:
            if isinstance(batch, SegueError):
                raise batch
            yield batch
    finally:
        # ends the workers even where somebody keeps the error, and with it this frame
        del remaining


def _next(
    remaining: Iterator[Batch | SegueError], samples: Dataset[Sample], reading: Tensor
) -> Batch | SegueError | None:
    """The next batch, or None at the end; an error where a worker died or an image takes too long.

    A batch may take any time as long as no single image takes longer than READ_TIMEOUT.
    """
    overdue_before: set[tuple[int, float]] = set()  # record, and since when, at the look before
    while True:
        try:
            return next(remaining, None)
        except (RuntimeError, OSError, EOFError) as error:
            # OSError and EOFError: the connection to a worker broke
            timed_out = str(error).startswith("DataLoader timed out")
            if not timed_out:
                time.sleep(0.5)  # a process that is being ended closes its connections first
                active_children()  # takes note of those that have ended
            busy = []
            for process, record, since in reading.tolist():
                if record >= 0:
                    busy.append((int(process), int(record), since))
            gone = [record for process, record, _ in busy if not _alive(process)]
            if not timed_out and not gone and "exited unexpectedly" not in str(error):
                raise
        if not timed_out:
            return DataError(
                f"reading {_image(samples, gone[0])}" if gone else "reading images",
                "the process that did this was ended from outside or crashed; perhaps memory ran "
                "out",
                "a file that can be decoded, and memory for all workers",
                "a lower workers:, or the data without this file; the same command resumes from "
                "what was saved",
            )
        overdue = set()
        for _, record, since in busy:
            if time.monotonic() - since > READ_TIMEOUT:
                overdue.add((record, since))
        # Late at two looks in a row: after a pause of the whole machine all are late at the first.
        late = [record for record, _ in overdue_before & overdue]
        overdue_before = overdue
        if late:
            # a worker that hangs ignores a request to end, and torch would wait for it
            for process, _, _ in busy:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            return DataError(
                f"reading {_image(samples, late[0])}",
                f"not done after {READ_TIMEOUT:g} s",
                "a file and a disk that answer",
                "open that file yourself; the same command resumes from what was saved",
            )


def _image(samples: Dataset[Sample], record: int) -> Path:
    """The image file of a record; a cache keeps the samples that it was made of as `samples`."""
    read_from: Any = getattr(samples, "samples", samples)
    records: Sequence[Record] = read_from.records
    return records[record].image


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
