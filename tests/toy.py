"""Running toy plans inside the test process, and reading what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from segue.plan.schema import Plan
from segue.run import results
from segue.run.console import Console
from segue.run.runner import run_plan
from segue.training import checkpoint
from segue.training.journal import Journal, read_rows
from tests.conftest import toy_plan


def run(plan: dict[str, Any], only: str | None = None, drawn: bool = False) -> Path:
    """Run a plan. To draw the report takes a third of a toy's time: only if `drawn`."""
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr(results, "render", lambda *_: "not drawn")
        return run_plan(Plan.model_validate(plan), Console(quiet=True), only)


def detector_only(data: Path, runs: Path, **changes: Any) -> dict[str, Any]:
    """The first of the toy plan's stages: eight steps in two epochs, saved after each."""
    plan = toy_plan(data, runs, detector={"images_per_step": 4, "save_every_steps": 1, **changes})
    plan["stages"] = plan["stages"][:1]
    return plan


class Stopped(BaseException):
    pass


def run_until(plan: dict[str, Any], step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run, and die as if killed right after a step (and its checkpoint)."""
    note = Journal.step

    def deadly(self: Any, row: Any):
        if row["step"] > step:
            raise Stopped
        note(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "step", deadly)
        with pytest.raises(Stopped):
            run(plan)


def losses(stage_folder: Path) -> list[float]:
    return [row["loss"] for row in read_rows(stage_folder / "steps.csv")]


def same_tensors(a: Path, b: Path) -> bool:
    """Whether two checkpoints have bit-equal weights and, if they hold one, bit-equal training
    state.
    """
    first, second = checkpoint.read(a)[1], checkpoint.read(b)[1]
    if first.keys() != second.keys() or not all(
        torch.equal(first[name], second[name]) for name in first
    ):
        return False
    if not (a / checkpoint.STATE).exists():
        return True
    return same_values(checkpoint.read_state(a), checkpoint.read_state(b))


def same_values(a: object, b: Any) -> bool:
    """Deep equality, tensors bit by bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return (
            isinstance(b, dict)
            and a.keys() == b.keys()
            and all(same_values(a[key], b[key]) for key in a)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same_values(x, y) for x, y in zip(a, b, strict=True))
    return a == b
