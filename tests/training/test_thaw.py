"""Thawing: what is frozen stays bit-equal until its epoch, learns from then on, and disturbs
nobody.
"""

from __future__ import annotations

import json

import pytest
import torch

from segue.data.pipeline import samples
from segue.errors import PlanError
from segue.plan.reading import from_values
from segue.training import checkpoint
from segue.training.journal import Journal, read_rows
from segue.training.optim import Schedule, set_rates
from segue.training.selection import kept
from tests.toy import losses, run, run_until, same_tensors
from tests.training.thawing import plan_of


def moved(before: dict, after: dict, part: str) -> bool:
    return any(
        not torch.equal(before[name], after[name]) for name in before if name.startswith(part + ".")
    )


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
    before, after = (
        checkpoint.read(parent)[1],
        checkpoint.read(tmp_path / "toy-1" / "1-tune" / "last")[1],
    )
    assert not any(moved(before, after, part) for part in frozen)
    assert all(moved(before, after, part) for part in learns)


def test_a_thaw_is_said_and_the_rest_is_still_proven(whole):
    events = [json.loads(line) for line in (whole / "events.jsonl").read_text().splitlines()]
    assert [(e["event"], e["part"], e["step"]) for e in events] == [
        ("thaw", "projector", 2),
        ("thaw", "backbone", 6),
    ]
    card = checkpoint.read_card(whole / "last")
    assert (
        events[0]["learns"]
        < events[1]["learns"]
        == sum(part.parameters for part in card.parts.values())
    )
    assert not any(part.frozen for part in card.parts.values())


def test_the_others_keep_their_optimizer_state_through_a_thaw(whole):
    state = checkpoint.read_state(whole / "last")["optimizer"]
    groups = state["param_groups"]
    assert sorted({group["thawed_at"] for group in groups}) == [0, 2, 6]
    steps = {
        group["thawed_at"]: {
            int(state["state"][p]["step"]) for p in group["params"] if p in state["state"]
        }
        for group in groups
    }
    assert steps[0] == {8} and steps[2] == {6} and steps[6] == {2}  # how many updates each has had


@pytest.mark.parametrize("step", [1, 2, 3, 6, 7])
def test_killed_before_at_and_after_a_thaw_it_goes_on_to_the_bit(
    rendered, parent, whole, tmp_path, monkeypatch, step
):
    plan = plan_of(rendered, tmp_path, parent)
    run_until(plan, step, monkeypatch)
    again = run(plan) / "1-tune"
    assert losses(again) == losses(whole)
    assert same_tensors(again / "last", whole / "last") and same_tensors(
        again / "selected", whole / "selected"
    )


def test_the_rate_of_a_thawed_part_rises_over_its_warm_up(rendered, parent, tmp_path):
    schedule = {"kind": "constant", "thaw_warmup_epochs": 1}
    factors = {"backbone": 2.0}
    changes = {
        "schedule": schedule,
        "optimizer": {"lr": 1e-3, "lr_factors": factors},
        "thaw": {2: "backbone"},
    }
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
        (
            {"task": "masks", "freeze": "decoder", "fresh": ["mask_head"]},
            "task: masks has no loss for the detector",
        ),
        ({"thaw": {1: "backbone.first_halve"}}, "did you mean 'backbone.first_half'"),
        ({"thaw": {1: "projector.last_half"}}, "no part 'projector.last_half'"),
        (
            {"freeze": "backbone.first_half", "thaw": {1: "backbone.last_half"}},
            "is not frozen then",
        ),
        ({"fresh": ["projector"]}, "fresh: projector would be frozen with new, random weights"),
        ({"fresh": ["backbone.first_half"]}, "is only some blocks of a part"),
        (
            {"freeze": "backbone.first_half", "thaw": {}, "cache": {"views": 2}},
            "cache keeps what whole parts compute",
        ),
    ],
)
def test_a_thaw_that_cannot_happen_is_refused(rendered, tmp_path, changes, words):
    with pytest.raises(PlanError, match=words):
        from_values(plan_of(rendered, tmp_path, "x", **changes), "plan.yaml")


def test_a_plan_in_steps_refuses_a_thaw_that_its_data_never_reach(rendered, parent, tmp_path):
    with pytest.raises(PlanError, match="never happens: 5 steps are 3 epochs here"):
        run(plan_of(rendered, tmp_path, parent, epochs=None, steps=5))


@pytest.fixture(scope="module")
def by_halves(rendered, parent, tmp_path_factory):
    """The backbone's blocks 3 and 4 learn from epoch 2 on, the others from epoch 4 on, at a rate of
    their own.
    """
    thaw = {
        1: {"part": "backbone.last_half", "lr_factor": 0.5},
        3: {"part": "backbone", "warmup_epochs": 1},
    }
    changes = {
        "freeze": "backbone",
        "thaw": thaw,
        "optimizer": {"lr": 1e-3, "lr_factors": {"backbone": 0.1}},
    }
    changes |= {"schedule": {"kind": "constant"}, "keep": 2}
    return plan_of(rendered, tmp_path_factory.mktemp("halves"), parent, **changes)


@pytest.fixture(scope="module")
def whole_by_halves(by_halves):
    return run(by_halves) / "1-tune"


def block(number: int) -> str:
    return f"backbone.vit.encoder.layer.{number}."


@pytest.mark.parametrize(
    ("step", "frozen", "learn"), [(2, [0, 1, 2, 3], []), (6, [0, 1], [2, 3]), (7, [], [0, 1, 2, 3])]
)
def test_blocks_of_the_backbone_thaw_before_the_rest_of_it(
    rendered, parent, by_halves, tmp_path, monkeypatch, step, frozen, learn
):
    run_until({**by_halves, "runs": str(tmp_path)}, step, monkeypatch)
    before, after = (
        checkpoint.read(parent)[1],
        checkpoint.read(tmp_path / "toy-1" / "1-tune" / "last")[1],
    )
    still = [name for number in frozen for name in before if name.startswith(block(number))]
    assert all(torch.equal(before[name], after[name]) for name in still) and len(still) >= 10 * len(
        frozen
    )
    assert all(
        any(not torch.equal(before[n], after[n]) for n in before if n.startswith(block(b)))
        for b in learn
    )
    embeddings = [name for name in before if ".embeddings." in name]
    assert all(torch.equal(before[name], after[name]) for name in embeddings) == (0 in frozen)


def test_each_thaw_has_a_rate_and_a_warm_up_of_its_own(whole_by_halves):
    groups = checkpoint.read_state(whole_by_halves / "last")["optimizer"]["param_groups"]
    rates = {group["thawed_at"]: group["base_lr"] for group in groups}
    assert rates == pytest.approx({0: 1e-3, 2: 5e-4, 6: 1e-4})
    assert {group["thawed_at"]: group["warmup"] for group in groups} == {0: 0, 2: 0, 6: 2}
    now = {group["thawed_at"]: group["lr"] for group in groups}
    # the second of two steps of warm-up
    assert now == pytest.approx({0: 1e-3, 2: 5e-4, 6: 1e-4 * 2 / 3})


@pytest.mark.parametrize("step", [2, 5, 7])
def test_killed_around_a_thaw_of_blocks_it_goes_on_to_the_bit(
    by_halves, whole_by_halves, tmp_path, monkeypatch, step
):
    plan, whole = {**by_halves, "runs": str(tmp_path)}, whole_by_halves
    run_until(plan, step, monkeypatch)
    again = run(plan) / "1-tune"
    assert losses(again) == losses(whole) and same_tensors(again / "last", whole / "last")
    assert [card.epoch for _, card in kept(again)] == [
        card.epoch for _, card in kept(whole)
    ] and len(kept(again)) == 2


def test_a_thaw_that_would_thaw_nothing_is_refused_before_training(rendered, parent, tmp_path):
    """The last third and the last quarter of four blocks are the same one."""
    thaw = {1: "backbone.last_quarter", 2: "backbone.last_third"}
    with pytest.raises(PlanError, match="too few blocks for so many thaws"):
        run(plan_of(rendered, tmp_path, parent, thaw=thaw))
    assert not list(tmp_path.rglob("steps.csv"))


def test_a_plateau_before_a_thaw_does_not_lower_the_rate_of_what_thaws():
    noted = ({"thawed_at": 0, "drops": 0}, {"thawed_at": 8, "drops": 2})
    common = {"base_lr": 1.0, "warmup": 0}
    optimizer = torch.optim.AdamW(
        [{"params": [torch.nn.Parameter(torch.zeros(1))], **common, **entry} for entry in noted]
    )
    set_rates(optimizer, Schedule(kind="plateau", factor=0.5, floor=0.2), 9, 20, 4, drops=3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.5]


def test_a_cache_serves_until_the_first_thaw(rendered, parent, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        samples, "read_image", lambda *a, read=samples.read_image: opened.append(1) or read(*a)
    )
    note = Journal.step
    seen = []
    monkeypatch.setattr(
        Journal, "step", lambda self, row: seen.append(len(opened)) or note(self, row)
    )
    thaw = {"epochs": 5, "thaw": {3: "projector"}, "cache": {"views": 2}}
    changes = {**thaw, "monitor": {"images": 1, "start": 1}, "save_every_steps": None}
    folder = run(plan_of(rendered, tmp_path, parent, **changes)) / "1-tune"
    # between the two steps of an epoch
    per_epoch = [seen[1 + 2 * epoch] - seen[2 * epoch] for epoch in range(5)]
    assert per_epoch == [0, 0, 0, 8, 8] and len(losses(folder)) == 10
