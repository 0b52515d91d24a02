"""Checkpoints that were changed behind our back are named before a step is made, and whole ones are
used instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.errors import CheckpointError
from segue.models import ModelSpec
from segue.plan.schema import Plan
from segue.run.console import Console
from segue.run.runner import run_plan
from segue.training import checkpoint
from segue.training.checkpoint import CARD, STATE, WEIGHTS, Card
from tests.conftest import Promise, toy_plan
from tests.toy import losses, run, run_until, same_tensors

SPEC = ModelSpec(family="rfdetr", size="pico", classes=("a", "b"))


def flipped(path: Path, _other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path: Path, _other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def emptied(path: Path, _other: Path) -> None:
    path.write_bytes(b"")


def swapped(path: Path, other: Path) -> None:
    """The same file of another checkpoint, whole in itself."""
    shutil.copy(other / path.name, path)


def removed(path: Path, _other: Path) -> None:
    path.unlink()


DAMAGES = (flipped, cut, emptied, swapped, removed)


def write(folder: Path, step: int) -> None:
    state = {"steps": step, "rng": torch.full((9,), step)}
    checkpoint.write(
        folder, {"x": torch.full((50, 3), float(step))}, Card(spec=SPEC, step=step), state, True
    )


@pytest.mark.parametrize("name", [WEIGHTS, STATE, CARD])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_the_newest_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, damage: Any, name: Any, promise: Promise
) -> None:
    last = tmp_path / "last"
    for step in (1, 2):
        write(last, step)
    write(tmp_path / "other", 7)
    damage(last / name, tmp_path / "other")
    with pytest.raises(CheckpointError, match=str(last)):
        checkpoint.verify(last)
    card, said = checkpoint.recover(last)
    assert card is not None and card.step == 1 and checkpoint.verify(last).step == 1
    assert (
        str(last) in said[0]
        and "going back to step 1, the newest checkpoint that is whole" in said[1]
    )
    assert checkpoint.read_state(last)["steps"] == 1
    promise("P3", 1, f"checkpoints with a file {damage.__name__}")


def test_a_run_whose_checkpoints_are_all_broken_says_so_and_starts_again(
    rendered: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    promise: Promise,
) -> None:
    plan = toy_plan(rendered, tmp_path, detector={"save_every_steps": 1})
    run_until(plan, 3, monkeypatch)
    stage = tmp_path / "toy-1" / "1-detector"
    before = losses(stage)
    for kind in ("last", "last.previous"):
        flipped(stage / kind / WEIGHTS, stage)
    run_plan(Plan.model_validate(plan), Console(), "detector")
    said = capsys.readouterr().err
    assert all(f"{stage / kind / WEIGHTS}: damaged" in said for kind in ("last", "last.previous"))
    assert (
        "no checkpoint is whole: starting from the beginning" in said
        and losses(stage)[:3] == before[:3]
    )
    promise("P3", 2, "checkpoints, all that there were")


@pytest.fixture(scope="module")
def finished(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(
        toy_plan(rendered, tmp_path_factory.mktemp("whole"), detector={"save_every_steps": 1}),
        "detector",
    )


def test_a_resumed_run_goes_back_says_so_and_ends_as_if_nothing_had_been(
    finished: Path,
    rendered: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    promise: Promise,
) -> None:
    plan = toy_plan(rendered, tmp_path, detector={"save_every_steps": 1})
    run_until(plan, 3, monkeypatch)
    stage = tmp_path / "toy-1" / "1-detector"
    swapped(stage / "last" / STATE, finished / "1-detector" / "last")
    run_plan(Plan.model_validate(plan), Console(), "detector")
    said = capsys.readouterr().err
    assert f"{stage / 'last' / STATE}: damaged" in said and "going back to step 2" in said
    assert same_tensors(stage / "last", finished / "1-detector" / "last")
    promise("P3", 1, "checkpoints with a file swapped")


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_parent_is_named_before_the_first_step(
    finished: Path, rendered: Path, tmp_path: Path, damage: Any, name: Any, promise: Promise
) -> None:
    parent = Path(shutil.copytree(finished / "1-detector" / "selected", tmp_path / "parent"))
    write(tmp_path / "other", 7)
    damage(parent / name, tmp_path / "other")
    plan = toy_plan(rendered, tmp_path / "runs", masks={"start": str(parent)})
    plan["stages"] = plan["stages"][1:]
    with pytest.raises(CheckpointError, match=str(parent)):
        run(plan)
    assert not list((tmp_path / "runs").glob("*/1-masks/steps.csv"))
    promise("P2", 1, f"parents with a file {damage.__name__}")


def test_a_finished_stage_that_was_damaged_since_is_named_before_the_next_begins(
    finished: Path, rendered: Path, tmp_path: Path, promise: Promise
) -> None:
    copy = Path(shutil.copytree(finished.parent, tmp_path / "runs"))
    flipped(copy / "toy-1" / "1-detector" / "selected" / WEIGHTS, copy)
    with pytest.raises(CheckpointError, match=r"selected/weights.safetensors: damaged"):
        run({**toy_plan(rendered, copy), "runs": str(copy)})
    assert not (copy / "toy-1" / "2-masks").exists()
    promise("P2", 1, "finished stages with a file flipped")


def test_a_whole_checkpoint_of_another_stage_or_model_is_not_gone_on_from(
    finished: Path,
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    promise: Promise,
) -> None:
    plan = toy_plan(rendered, tmp_path, detector={"save_every_steps": 1})
    run_until(plan, 1, monkeypatch)
    last = tmp_path / "toy-1" / "1-detector" / "last"
    card, tensors = checkpoint.read(finished / "1-detector" / "last")
    state = checkpoint.read_state(finished / "1-detector" / "last")
    larger = card.spec.model_copy(update={"size": "nano"})
    for wrong in (
        card.model_copy(update={"stage": "tune"}),
        card.model_copy(update={"spec": larger}),
    ):
        checkpoint.write(last, tensors, wrong, state)
        with pytest.raises(
            CheckpointError,
            match=r"last: of stage \w+, a rfdetr \w+ model; expected what detector has saved",
        ):
            run(plan)
    assert len(losses(last.parent)) == 1
    promise("P2", 2, "whole checkpoints of another stage or model")
