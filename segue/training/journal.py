"""What a stage writes down while it trains: CSV and JSON lines always, TensorBoard beside them, W&B when asked.

The CSV files are the record. A resumed stage first cuts them back to the step it resumes from, so that they read
as if nothing had happened.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from segue.errors import PlanError
from segue.texts import parse_json


class Journal:
    """steps.csv (every step), epochs.csv (every evaluation), events.jsonl (what happened), tb/ (TensorBoard)."""

    def __init__(self, folder: Path, step: int = 0, evaluated: int = 0, wandb: str | None = None) -> None:
        """step, evaluated: steps that are done, and were at the last evaluation; later rows, of a run that was killed,
        are removed."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        _cut(folder / "steps.csv", "step", step)
        _cut(folder / "epochs.csv", "step", evaluated if step else -1)
        self.tensorboard = SummaryWriter(str(folder / "tb"), purge_step=step + 1)
        self.wandb = _start_wandb(folder, wandb) if wandb else None

    def step(self, row: Mapping[str, float]) -> None:
        """One optimizer step; row["step"] counts from 1."""
        _append(self.folder / "steps.csv", row)
        self._sinks("train", row, int(row["step"]))

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        """One evaluation, in or after an epoch; row["epoch"] counts from 1, and 0 is before training."""
        _append(self.folder / "epochs.csv", row)
        self._sinks("valid", row, step)

    def event(self, kind: str, **details: Any) -> None:
        """Something worth remembering, with the time it happened."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **details}, default=str)
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _sinks(self, group: str, row: Mapping[str, float], step: int) -> None:
        values = {f"{group}/{name}": value for name, value in row.items() if name not in ("step", "epoch")}
        for name, value in values.items():
            self.tensorboard.add_scalar(name, value, step)
        if self.wandb is not None:
            self.wandb.log(values, step=step)

    def close(self) -> None:
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
    """Everything of a kind that happened in a stage, oldest first; what was redone after a kill stands twice."""
    if not (folder / "events.jsonl").is_file():
        return []
    events = []
    for line in (folder / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):  # half a line, of a run that was killed or a disk that was full
            events.append(parse_json(line))
    return [event for event in events if event.get("event") == kind]


def _append(path: Path, row: Mapping[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({name: f"{value:.9g}" for name, value in row.items()})


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


def _start_wandb(folder: Path, project: str) -> Any:
    try:
        import wandb
    except ImportError:
        raise PlanError("wandb", "is not installed", "the extra", 'pip install "segue[wandb]"') from None
    return wandb.init(project=project, dir=str(folder), name=folder.parent.name + "/" + folder.name, resume="allow")
