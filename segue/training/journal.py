"""What a stage writes down while it trains: CSV and JSON lines always, TensorBoard with them, W&B
when asked.

The CSV files are the record. A resumed stage first cuts them back to the step it resumes from, so
that they read as if nothing had happened. While the disk is full, lines wait in memory and training
goes on.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[missing-module-attribute]
from tensorboardX.summary import scalar

from segue.base.parsing import parse_json
from segue.errors import PlanError


class Journal:
    """steps.csv (every step), epochs.csv (every evaluation), events.jsonl (what happened), tb/
    (TensorBoard).
    """

    def __init__(
        self, folder: Path, step: int = 0, evaluated: int = 0, wandb: str | None = None
    ) -> None:
        """step, evaluated: steps that are done, and were at the last evaluation; later rows, of a
        run that was killed, are removed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        _cut(folder / "steps.csv", "step", step)
        _cut(folder / "epochs.csv", "step", evaluated if step else -1)
        self.waiting: list[tuple[Path, str, str]] = []
        self.tensorboard = _start_tensorboard(folder / "tb", step + 1)
        self.wandb = _start_wandb(folder, wandb) if wandb else None

    def step(self, row: Mapping[str, float]) -> None:
        """One optimizer step; row["step"] counts from 1."""
        self._row(self.folder / "steps.csv", row)
        self._sinks("train", row, int(row["step"]))

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        """One evaluation, in or after an epoch; row["epoch"] counts from 1, and 0 is before
        training.
        """
        self._row(self.folder / "epochs.csv", row)
        self._sinks("valid", row, step)

    def event(self, kind: str, **details: Any) -> None:
        """Something worth remembering, with the time it happened."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **details}, default=str)
        self._line(self.folder / "events.jsonl", "", line + "\n")

    def flush(self) -> None:
        """Write what waits, oldest first.

        Raises:
            OSError: if the disk is still full; all that is not written goes on waiting.
        """
        while self.waiting:
            _append(*self.waiting[0])
            self.waiting.pop(0)

    def _row(self, path: Path, row: Mapping[str, float]) -> None:
        self._line(path, _csv_line(row), _csv_line(f"{value:.9g}" for value in row.values()))

    def _line(self, path: Path, header: str, line: str) -> None:
        self.waiting.append((path, header, line))
        with suppress(OSError):  # who saves next calls flush, and counts how often it failed
            self.flush()

    def _sinks(self, group: str, row: Mapping[str, float], step: int) -> None:
        values = {
            f"{group}/{name}": value for name, value in row.items() if name not in ("step", "epoch")
        }
        if self.tensorboard is not None:
            try:
                for name, value in values.items():
                    # the gradient of a skipped step, which no curve can show
                    if not math.isfinite(value):
                        continue
                    event = Event(wall_time=time.time(), step=step, summary=scalar(name, value))
                    self.tensorboard.write_event(event)
                self.tensorboard.flush()
            except OSError:
                # the CSV files are the record; a file of events with half a record is worthless
                with suppress(OSError):
                    self.tensorboard.close()
                self.tensorboard = None
        if self.wandb is not None:
            self.wandb.log(values, step=step)

    def close(self) -> None:
        with suppress(OSError):
            self.flush()
        with suppress(OSError):
            if self.tensorboard is not None:
                self.tensorboard.close()
        if self.wandb is not None:
            self.wandb.finish()


def read_rows(path: Path) -> list[dict[str, float]]:
    """A CSV of numbers as rows; empty cells are left out. No file, no rows."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def read_events(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Everything of a kind that happened in a stage, oldest first; what was redone after a kill
    stands twice.
    """
    if not (folder / "events.jsonl").is_file():
        return []
    events = []
    for line in (
        (folder / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    ):
        with suppress(ValueError):  # half a line, of a run that was killed or a disk that was full
            events.append(parse_json(line))
    return [event for event in events if event.get("event") == kind]


def _csv_line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()


def _append(path: Path, header: str, line: str) -> None:
    """Add a line, behind the header if it is the first; all of it or nothing.

    Raises:
        OSError: if the disk is full.
    """
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        data = (line if size else header + line).encode()
        try:
            if file.write(data) != len(data):  # what still fitted
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(size)
            raise


def _cut(path: Path, column: str, last: int) -> None:
    """Keep only rows up to `last`, in one rename; a half-written last line goes too."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    header, body = (rows[0], rows[1:]) if rows else ([], [])
    if column not in header:
        path.unlink()
        return
    at = header.index(column)
    kept = [row for row in body if len(row) == len(header) and float(row[at]) <= last]
    staging = path.with_suffix(".writing")
    with staging.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *kept])
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)


def _start_tensorboard(folder: Path, step: int) -> EventsWriter | None:
    """The file of events, in which a resumed stage hides what was written from `step` on; None if
    the disk is full.

    Written to at once, not from a thread as tensorboardX's SummaryWriter does, which waits for that
    thread for ever once a full disk has ended it.
    """
    try:
        folder.mkdir(exist_ok=True)
        writer = EventsWriter(str(folder / "events"))
        writer.write_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))
        writer.flush()
        return writer
    except OSError:
        return None


def _start_wandb(folder: Path, project: str) -> Any:
    try:
        import wandb
    except ImportError:
        raise PlanError(
            "wandb", "is not installed", "the extra", 'pip install "segue[wandb]"'
        ) from None
    return wandb.init(
        project=project,
        dir=str(folder),
        name=folder.parent.name + "/" + folder.name,
        resume="allow",
    )
