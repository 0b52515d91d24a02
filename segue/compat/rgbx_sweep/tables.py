"""The tables of a backbone's training: epoch_metrics.csv and batch_metrics.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from segue.training.journal import read_rows

EPOCHS = (
    "epoch", "avg_loss", "total_loss", "epoch_time_sec", "learning_rate", "is_best",
    "checkpoint_path", "timestamp", "val_ap",
)  # fmt: skip
LOSSES = ("classifier", "box_reg", "objectness", "rpn_box_reg")
BATCHES = (
    "epoch",
    "batch",
    "loss",
    *(f"loss_{name}" for name in LOSSES),
    "timestamp",
    "batch_time_sec",
)
Row = dict[str, Any]


def epoch_row(stage: Path, epoch: int) -> Row:
    """The losses, time and rate of an epoch, from the run's own record of its steps."""
    steps = [row for row in read_rows(stage / "steps.csv") if row["epoch"] == epoch]
    total, seconds = sum(row["loss"] for row in steps), sum(row["seconds"] for row in steps)
    return {
        "epoch": str(epoch),
        "avg_loss": f"{total / len(steps):.9g}",
        "total_loss": f"{total:.9g}",
        "epoch_time_sec": f"{seconds:.6g}",
        "learning_rate": f"{steps[-1]['lr']:.9g}",
    }


def batch_row(numbers: Mapping[str, float], steps_per_epoch: int) -> Row:
    epoch = int(numbers["epoch"])
    terms = {f"loss_{name}": f"{numbers[name]:.9g}" for name in LOSSES}
    batch = int(numbers["step"]) - (epoch - 1) * steps_per_epoch
    head = {"epoch": epoch, "batch": batch, "loss": f"{numbers['loss']:.9g}"}
    return {**head, **terms, "timestamp": now(), "batch_time_sec": f"{numbers['seconds']:.6g}"}


def now() -> str:
    return datetime.now().isoformat()


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV, as text; a last one that was not written to its end is left out.

    No file, no rows.
    """
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            dict(row)
            for row in csv.DictReader(file)
            if None not in row.values() and None not in row
        ]


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Replace a CSV in one rename."""
    staging = path.with_name(path.name + ".writing")
    with staging.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    staging.replace(path)


def append_row(path: Path, columns: Sequence[str], row: Row) -> None:
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, columns).writerow(row)
