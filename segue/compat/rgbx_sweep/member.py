"""A backbone of a sweep: its folder, and what training_info.json says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segue.base.files import write_json
from segue.compat.rgbx_sweep.tables import Row, now, read_table

INFO = "training_info.json"


@dataclass(slots=True)
class Member:
    """A backbone of a sweep, and its folder.

    rows: of epoch_metrics.csv. config, model: as in training_info.json.
    """

    backbone: str
    folder: Path
    keep_all: bool
    config: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def final(self) -> Path:
        return self.checkpoints / f"{self.backbone}_final.pth"

    @property
    def best_model(self) -> Path:
        return self.checkpoints / "best_model.pth"

    @property
    def best(self) -> Row:
        """The row of the epoch with the best validation AP."""
        return next((row for row in reversed(self.rows) if row["is_best"] == "True"), {})

    @property
    def losses(self) -> list[float]:
        return [float(row["avg_loss"]) for row in self.rows]

    @property
    def best_so_far(self) -> dict[str, Any]:
        """Keys that say which epoch is best: its training loss, its number, its validation AP."""
        best = self.best
        loss, epoch, ap = best.get("avg_loss"), best.get("epoch"), best.get("val_ap")
        return {
            "best_loss": None if loss is None else float(loss),
            "best_epoch": None if epoch is None else int(epoch),
            "best_val_ap": None if ap is None else float(ap),
        }

    @property
    def status(self) -> str:
        """As training_info.json says it; nothing if there is none."""
        return self.info().get("status", "")

    def info(self) -> dict[str, Any]:
        try:
            return json.loads((self.logs / INFO).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def restore(self) -> None:
        """Take up what an earlier attempt has written down."""
        info = self.info()
        self.config, self.model = info.get("config", {}), info.get("model", {})
        self.rows = read_table(self.logs / "epoch_metrics.csv")

    def write_info(self, status: str, **further: Any) -> None:
        """training_info.json."""
        training = {
            **self.best_so_far,
            "total_epochs_completed": len(self.rows),
            "epoch_losses": self.losses,
            "epoch_times": [float(row["epoch_time_sec"]) for row in self.rows],
        }
        self.logs.mkdir(parents=True, exist_ok=True)
        head = {"backbone": self.backbone, "status": status, "timestamp": now()}
        content = {
            **head,
            "config": self.config,
            "model": self.model,
            "training": training,
            **further,
        }
        write_json(self.logs / INFO, content, indent=2)
