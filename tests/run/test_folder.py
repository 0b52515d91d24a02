"""A run's folder: which run of a plan this is, what is finished there, and what may be used
again.
"""

from __future__ import annotations

import errno

import pytest
import torch

from segue.errors import CheckpointError, HandoverError, Interrupted, NonFiniteError, TrainingError
from segue.models import ModelSpec
from segue.plan.schema import Plan
from segue.run.folder import RunFolder, key_of, runs_of
from segue.run.notes import read_note
from segue.training import checkpoint
from tests.conftest import toy_plan

DATA = ["sha", "sha"]


@pytest.fixture
def plan(tmp_path) -> Plan:
    return Plan.model_validate(toy_plan(tmp_path / "data", tmp_path / "runs"))


def finish(run: RunFolder, number: int, key: str) -> None:
    """Train a stage, as far as its folder knows."""
    stage = run.plan.stages[number]
    run.begin(stage, key)
    spec = ModelSpec(family="rfdetr", size="pico", classes=("a",))
    for name in ("selected", "last"):
        checkpoint.write(
            run.stage_folder(stage) / name, {"w": torch.ones(3)}, checkpoint.Card(spec=spec)
        )
    run.end(stage, "complete", 7)


def test_keys_follow_from_values_and_not_from_their_order():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})


def test_the_same_plan_on_the_same_data_is_the_same_run(plan, tmp_path):
    first = RunFolder.open(plan, DATA)
    again = RunFolder.open(plan, DATA)
    assert (first.path.name, first.resumed) == ("toy-1", False)
    assert (again.path, again.resumed) == (first.path, True)
    assert RunFolder.open(plan, ["sha", "other"]).path.name == "toy-2"
    other = plan.model_copy(update={"seed": 5})
    assert RunFolder.open(other, DATA).path.name == "toy-3"
    assert [path.name for path in runs_of(plan)] == ["toy-3", "toy-2", "toy-1"]


def test_a_run_that_began_without_later_data_goes_on_with_them(plan):
    first = RunFolder.open(plan, ["sha", ""])
    assert RunFolder.open(plan, ["sha", "made since"]).path == first.path


def test_folders_that_are_no_runs_of_the_plan_are_left_alone(plan):
    for name in ("toy-7", "toy-new", "toy-8.writing"):
        (plan.runs / name).mkdir(parents=True)
    assert runs_of(plan) == [] and RunFolder.open(plan, DATA).path.name == "toy-8"


def test_a_stage_is_finished_under_its_key_alone(plan):
    run = RunFolder.open(plan, DATA)
    finish(run, 0, "k")
    stage = plan.stages[0]
    again = RunFolder.read(run.path, plan)
    assert again.finished(stage, "k") and not again.finished(stage, "l")
    assert again.complete_parent(stage) == run.path / "1-detector" / "selected"
    assert not again.complete and read_note(run.path).stages["detector"].peak_bytes == 7


def test_a_complete_stage_of_another_run_is_copied_without_what_going_on_needs(plan):
    finish(RunFolder.open(plan, DATA), 0, "k")
    second = RunFolder.open(plan, ["sha", "other"])
    assert second.finished(plan.stages[0], "k")
    folder = second.path / "1-detector"
    assert sorted(path.name for path in folder.iterdir()) == ["selected"]
    assert second.stages["detector"].reused_from == "toy-1"


def test_a_damaged_checkpoint_is_no_finished_stage(plan):
    run = RunFolder.open(plan, DATA)
    finish(run, 0, "k")
    weights = run.selected(plan.stages[0]) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(CheckpointError):
        run.finished(plan.stages[0], "k")


def test_what_an_attempt_under_another_key_left_is_moved_aside(plan):
    run = RunFolder.open(plan, DATA)
    for key in "abc":
        run.begin(plan.stages[0], key)
        (run.path / "1-detector" / key).touch()
    assert [p.name for p in (run.path / "1-detector").iterdir()] == ["c"]
    assert (run.path / "1-detector.old-1" / "a").exists()
    assert (run.path / "1-detector.old-2" / "b").exists()


@pytest.mark.parametrize(
    ("error", "raised", "state"),
    [
        (Interrupted(15), Interrupted, "interrupted"),
        (NonFiniteError("x", "nan"), NonFiniteError, "failed"),
        (OSError(errno.ENOSPC, "No space left"), TrainingError, "failed"),
        (OSError(errno.ENOENT, "gone"), OSError, "failed"),
    ],
)
def test_how_an_attempt_ended_is_noted_and_raised_again(plan, error, raised, state):
    run = RunFolder.open(plan, DATA)
    with pytest.raises(raised), run.attempt(plan.stages[0], "k", "cpu"):
        raise error
    assert read_note(run.path).stages["detector"].state == state
    with pytest.raises(HandoverError, match=f"stage detector: is {state}"):
        run.complete_parent(plan.stages[0])
