"""Stages whose data are made with the help of the stage before, and whose camera is the plan's."""

from __future__ import annotations

import shutil

import pytest

from segue.errors import DataError
from segue.plan.schema import Plan
from segue.run.console import Console
from segue.run.notes import read_note
from segue.run.runner import run_plan
from segue.training import checkpoint
from tests.conftest import toy_plan

QUIET = Console(quiet=True)


def plan_with_later_data(rendered, folder) -> Plan:
    masks = {"data": {"root": str(folder / "made later")}, "epochs": 1}
    return Plan.model_validate(
        toy_plan(rendered, folder / "runs", masks=masks, detector={"epochs": 1})
    )


def test_a_stage_runs_before_the_data_of_the_next_are_made_and_the_same_run_goes_on_with_them(
    rendered, tmp_path, capsys
):
    plan = plan_with_later_data(rendered, tmp_path)
    with pytest.raises(
        DataError, match="segue run with --stage detector trains what comes before it"
    ):
        run_plan(plan, QUIET)
    assert not (tmp_path / "runs").exists()
    first = run_plan(plan, Console(), only="detector")
    assert "masks: its data are not ready" in capsys.readouterr().err
    trained = (first / "1-detector" / "steps.csv").stat().st_mtime_ns
    shutil.copytree(rendered, tmp_path / "made later")
    assert run_plan(plan, QUIET) == first and run_plan(plan, QUIET) == first
    assert (first / "1-detector" / "steps.csv").stat().st_mtime_ns == trained
    assert [read_note(first).stages[name].state for name in ("detector", "masks")] == [
        "complete"
    ] * 2


def test_a_stage_s_own_data_are_of_the_plan_s_camera_unless_it_says_another(rendered, tmp_path):
    camera = [{"name": name, "scale": 4095} for name in "rgb"]
    content = toy_plan(rendered, tmp_path)
    content["data"]["channels"] = camera
    content["stages"][1]["data"] = {"root": str(rendered)}
    plan = Plan.model_validate(content)
    assert [channel.scale for channel in plan.data_of(plan.stages[1]).channels] == [4095] * 3
    content["stages"][1]["data"]["channels"] = ["r", "g", "b"]
    other = Plan.model_validate(content)
    assert [channel.scale for channel in other.data_of(other.stages[1]).channels] == [None] * 3


def test_values_that_mean_something_else_than_in_the_stage_before_are_warned_of(
    rendered, tmp_path, capsys
):
    content = toy_plan(rendered, tmp_path, detector={"epochs": 1}, masks={"epochs": 1})
    camera = [{"name": "r", "scale": 128}, "g", "b"]
    content["stages"][1]["data"] = {"root": str(rendered), "channels": camera}
    folder = run_plan(Plan.model_validate(content), Console())
    said = capsys.readouterr().err
    assert "masks: warning: channel r meant something else before: scale None -> 128.0" in said
    assert "channel g" not in said
    assert checkpoint.read_card(folder / "2-masks" / "selected").spec.channels[0].scale == 128
