"""Faults in the middle of training: numbers that are not finite, memory that runs out, a disk that is full."""

from __future__ import annotations

import json

import pytest
import torch

from segue.errors import NonFiniteError, OutOfMemoryError, TrainingError
from segue.losses.criterion import Criterion
from segue.models.parts.chain import Chain
from segue.run_folder import read_note
from segue.training import checkpoint
from segue.training import stage as stages
from tests.conftest import toy_plan
from tests.toy import losses, run, same_tensors


def detector_only(rendered, folder, **changes):
    plan = toy_plan(rendered, folder, detector={"images_per_step": 4, "save_every_steps": 1, **changes})
    plan["stages"] = plan["stages"][:1]
    return plan


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_any_weight_moves(rendered, tmp_path, monkeypatch, value):
    plan = detector_only(rendered, tmp_path)
    total, calls = Criterion.total, []

    def poisoned(self, sums, counts):
        calls.append(len(sums))
        return total(self, sums, counts) * (value if calls.count(3) == 3 and len(sums) == 3 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(Criterion, "total", poisoned)
        with pytest.raises(NonFiniteError, match="epoch 1, step 3: loss became NaN or infinite"):
            run(plan)
    folder = tmp_path / "toy-1"
    assert read_note(folder)["stages"]["detector"]["state"] == "failed"
    assert checkpoint.verify(folder / "1-detector" / "last").step == 2
    assert len(losses(folder / "1-detector")) == 2
    whole = run(detector_only(rendered, tmp_path / "whole"))
    assert run(plan) == folder  # the same command goes on, now that the cause is gone
    assert same_tensors(folder / "1-detector" / "last", whole / "1-detector" / "last")


def test_a_gradient_that_is_not_finite_stops_too(rendered, tmp_path, monkeypatch):
    plan = detector_only(rendered, tmp_path)
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *a: clip(*a) * float("nan"))
    with pytest.raises(NonFiniteError, match="the gradient became NaN"):
        run(plan)
    assert not (tmp_path / "toy-1" / "1-detector" / "last").exists()


def memory_for(images: int, monkeypatch) -> list[int]:
    """Let every forward of more than `images` training images run out of memory; returns what was tried."""
    forward, tried = Chain.forward, []

    def limited(self, inputs, start=0):
        count = len(next(iter(inputs.values())))
        if self.training:
            tried.append(count)
            if count > images:
                raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        return forward(self, inputs, start)

    monkeypatch.setattr(Chain, "forward", limited)
    return tried


def test_running_out_of_memory_splits_the_step_and_changes_nothing(rendered, tmp_path, monkeypatch):
    whole = run(detector_only(rendered, tmp_path / "whole", images_per_forward=2))
    with monkeypatch.context() as patch:
        tried = memory_for(2, patch)
        split = run(detector_only(rendered, tmp_path / "split"))
    assert tried[:4] == [4, 2, 2, 2]
    assert losses(split / "1-detector") == losses(whole / "1-detector")
    events = [json.loads(line) for line in (split / "1-detector" / "events.jsonl").read_text().splitlines()]
    assert [(e["event"], e["images_per_forward"]) for e in events] == [("out of memory", 2)]


def test_an_image_that_does_not_fit_alone_ends_the_stage_with_advice(rendered, tmp_path, monkeypatch):
    memory_for(0, monkeypatch)
    with pytest.raises(OutOfMemoryError, match=r"a single image does not fit .* lower model\.resolution"):
        run(detector_only(rendered, tmp_path))


def test_a_full_disk_costs_nothing_that_was_saved(rendered, tmp_path, monkeypatch):
    plan = detector_only(rendered, tmp_path)
    save, calls = torch.save, []

    def full(content, path):
        calls.append(path)
        if 3 <= len(calls) <= 4:
            raise OSError(28, "No space left on device")
        save(content, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        folder = run(plan)  # two failed saves in a row are lived through
    assert len(calls) > 5 and checkpoint.verify(folder / "1-detector" / "last")


def test_a_disk_that_stays_full_ends_the_stage_with_the_last_good_checkpoint(rendered, tmp_path, monkeypatch):
    plan = detector_only(rendered, tmp_path)
    save, calls = torch.save, []

    def full(content, path):
        calls.append(path)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        save(content, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=f"saving failed {stages.MOST_FAILED_SAVES} times"):
        run(plan)
    last = tmp_path / "toy-1" / "1-detector" / "last"
    assert checkpoint.verify(last).step == 2
    assert not last.with_name("last.writing").exists()
