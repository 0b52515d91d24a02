"""What a run keeps does not grow with what it does, and what a kill left half done is cleared
away.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from segue.run import build
from segue.training import checkpoint
from tests.conftest import toy_plan
from tests.faults.struck import names
from tests.toy import run, run_until


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def rising(monkeypatch):
    """Let every evaluation be better than all before it, so that its weights are kept."""
    values = (number / 1000 for number in itertools.count(1))

    def better(*_):
        def figures(_tick):
            value = next(values)
            return {"box_ap": value, "box_ap50": value}

        return figures

    monkeypatch.setattr(build, "evaluator", better)


def in_steps(data: Path, folder: Path, steps: int) -> dict:
    every = {
        "steps": steps,
        "epochs": None,
        "evaluate_every_steps": 1,
        "save_every_steps": 1,
        "keep": 2,
    }
    plan = toy_plan(data, folder, detector={**every, "images_per_step": 2})
    return {**plan, "stages": plan["stages"][:1]}


def test_three_times_the_evaluations_leave_no_more_bytes(
    few, tmp_path, rising, monkeypatch, promise
):
    sizes, write = [], checkpoint.write

    def measured(folder, *arguments, **options):
        card = write(folder, *arguments, **options)
        sizes.append(size(tmp_path / "long"))
        return card

    short = run(in_steps(few, tmp_path / "short", 5))
    monkeypatch.setattr(checkpoint, "write", measured)
    long = run(in_steps(few, tmp_path / "long", 15))
    assert {path.name for path in (long / "1-detector").iterdir() if path.is_dir()} == {
        "best", "last", "last.previous", "selected", "tb",
    }  # fmt: skip
    assert len(list((long / "1-detector" / "best").iterdir())) == 2
    assert size(long) == pytest.approx(size(short), rel=0.01)
    # nor in between: three are kept for a moment
    assert len(sizes) > 3 * 15 and max(sizes[9:]) < 1.3 * size(short)
    promise("P16", 15, "evaluations that each kept new weights")


def test_what_a_kill_left_half_done_is_cleared_away(few, tmp_path, rising, monkeypatch, promise):
    whole = run(in_steps(few, tmp_path / "whole", 6))
    plan = in_steps(few, tmp_path / "killed", 6)
    run_until(plan, 3, monkeypatch)
    stage = tmp_path / "killed" / "toy-1" / "1-detector"
    left = ["last.writing", "last.previous.discarded"]
    left += [f"selected.{what}" for what in ("writing", "previous", "previous.discarded")]
    left += [
        f"best/epoch-1-step-1.{what}"
        for what in ("writing", "discarded", "previous", "previous.discarded")
    ]
    for name in left:
        (stage / name).mkdir()
        (stage / name / checkpoint.WEIGHTS).write_bytes(b"half")
    for path in (
        stage / "steps.writing",
        stage.parent / "run.json.writing",
        stage / "selected" / "card.json.writing",
    ):
        path.write_text("half")
    assert names(run(plan)) == names(whole)
    promise("P16", len(left) + 3, "leftovers of kills, planted")
