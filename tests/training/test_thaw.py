"""Thawing: what is frozen stays bit-equal until its epoch, learns from then on, and disturbs nobody."""

from __future__ import annotations

import json

import pytest
import torch

from segue.errors import PlanError
from segue.plan_file import from_values
from segue.training import checkpoint
from segue.training.journal import Journal, read_rows
from tests.conftest import toy_plan
from tests.toy import losses, run, same_tensors

TUNE = {"name": "tune", "task": "boxes", "epochs": 4, "freeze": "projector", "thaw": {1: "projector", 3: "backbone"}}


@pytest.fixture(scope="module")
def parent(rendered, tmp_path_factory):
    plan = toy_plan(rendered, tmp_path_factory.mktemp("parent"), detector={"epochs": 1})
    return run(plan, "detector") / "1-detector" / "selected"


def plan_of(rendered, folder, parent, **changes) -> dict:
    plan = toy_plan(rendered, folder, detector={**TUNE, "start": str(parent), "save_every_steps": 1, **changes})
    plan["stages"] = plan["stages"][:1]
    return plan


class Stopped(BaseException):
    pass


def run_until(plan: dict, step: int, monkeypatch) -> None:
    """Run, and die as if killed right after a step (and its checkpoint)."""
    note = Journal.step

    def deadly(self, row):
        if row["step"] > step:
            raise Stopped
        note(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "step", deadly)
        with pytest.raises(Stopped):
            run(plan)


@pytest.fixture(scope="module")
def whole(rendered, parent, tmp_path_factory):
    return run(plan_of(rendered, tmp_path_factory.mktemp("whole"), parent)) / "1-tune"


def moved(before: dict, after: dict, part: str) -> bool:
    return any(not torch.equal(before[name], after[name]) for name in before if name.startswith(part + "."))


@pytest.mark.parametrize(
    ("step", "frozen", "learns"),
    [
        (2, ("backbone", "projector"), ("decoder",)),
        (6, ("backbone",), ("projector", "decoder")),
        (7, (), ("backbone",)),
    ],
)
def test_parts_are_bit_equal_until_their_epoch_and_move_after_it(
    rendered, parent, tmp_path, monkeypatch, step, frozen, learns
):
    run_until(plan_of(rendered, tmp_path, parent), step, monkeypatch)
    before, after = checkpoint.read(parent)[1], checkpoint.read(tmp_path / "toy-1" / "1-tune" / "last")[1]
    assert not any(moved(before, after, part) for part in frozen)
    assert all(moved(before, after, part) for part in learns)


def test_a_thaw_is_said_and_the_rest_is_still_proven(whole):
    events = [json.loads(line) for line in (whole / "events.jsonl").read_text().splitlines()]
    assert [(e["event"], e["part"], e["step"]) for e in events] == [("thaw", "projector", 2), ("thaw", "backbone", 6)]
    card = checkpoint.read_card(whole / "last")
    assert events[0]["learns"] < events[1]["learns"] == sum(part.parameters for part in card.parts.values())
    assert not any(part.frozen for part in card.parts.values())


def test_the_others_keep_their_optimizer_state_through_a_thaw(whole):
    state = checkpoint.read_state(whole / "last")["optimizer"]
    groups = state["param_groups"]
    assert sorted({group["thawed_at"] for group in groups}) == [0, 2, 6]
    steps = {
        group["thawed_at"]: {int(state["state"][p]["step"]) for p in group["params"] if p in state["state"]}
        for group in groups
    }
    assert steps[0] == {8} and steps[2] == {6} and steps[6] == {2}  # how many updates each has had


@pytest.mark.parametrize("step", [1, 2, 3, 6, 7])
def test_killed_before_at_and_after_a_thaw_it_goes_on_to_the_bit(rendered, parent, whole, tmp_path, monkeypatch, step):
    plan = plan_of(rendered, tmp_path, parent)
    run_until(plan, step, monkeypatch)
    again = run(plan) / "1-tune"
    assert losses(again) == losses(whole)
    assert same_tensors(again / "last", whole / "last") and same_tensors(again / "selected", whole / "selected")


def test_the_rate_of_a_thawed_part_rises_over_its_warm_up(rendered, parent, tmp_path):
    schedule = {"kind": "constant", "thaw_warmup_epochs": 1}
    factors = {"backbone": 2.0}
    changes = {"schedule": schedule, "optimizer": {"lr": 1e-3, "lr_factors": factors}, "thaw": {2: "backbone"}}
    folder = run(plan_of(rendered, tmp_path, parent, **changes)) / "1-tune"
    rates = [row["lr"] for row in read_rows(folder / "steps.csv")]  # the largest of all groups
    assert rates == pytest.approx([1e-3] * 4 + [1e-3, 4e-3 / 3, 2e-3, 2e-3])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"thaw": {4: "backbone"}}, "thaw: 4: backbone never happens: the stage has epochs 1 to 4"),
        ({"thaw": {0: "backbone"}}, "never happens"),
        ({"thaw": {1: "decoder"}}, "decoder is not frozen then"),
        ({"thaw": {1: "backbone", 2: "projector"}}, "projector is not frozen then"),
        ({"freeze": None}, "is not frozen then"),
        ({"thaw": {1: "neck"}}, "no part 'neck'"),
        ({"task": "masks", "freeze": "decoder", "fresh": ["mask_head"]}, "task: masks has no loss for the detector"),
        ({"cache": {"views": 2}}, "cache keeps what frozen parts compute, but thaw lets them learn"),
    ],
)
def test_a_thaw_that_cannot_happen_is_refused(rendered, tmp_path, changes, words):
    with pytest.raises(PlanError, match=words):
        from_values(plan_of(rendered, tmp_path, "x", **changes), "plan.yaml")
