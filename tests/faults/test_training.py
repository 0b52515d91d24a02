"""Memory that runs out in the middle of training, and frozen weights that do move."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.errors import Interrupted, OutOfMemoryError, TrainingError
from segue.models.parts.chain import Chain
from segue.run import build
from segue.run.notes import read_note
from segue.training import checkpoint, fit
from segue.training.journal import Journal
from tests.conftest import Promise, toy_plan
from tests.toy import detector_only, losses, run


def memory_for(images: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every forward of more than `images` training images run out of memory; returns what was
    tried.
    """
    forward = Chain.forward
    tried: list[Any] = []

    def limited(self: Any, inputs: Any, start: int = 0):
        count = len(next(iter(inputs.values())))
        if self.training:
            tried.append(count)
            if count > images:
                raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        return forward(self, inputs, start)

    monkeypatch.setattr(Chain, "forward", limited)
    return tried


def test_running_out_of_memory_splits_the_step_and_changes_nothing(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(detector_only(rendered, tmp_path / "whole", images_per_forward=2))
    with monkeypatch.context() as patch:
        tried = memory_for(2, patch)
        split = run(detector_only(rendered, tmp_path / "split"))
    assert tried[:4] == [4, 2, 2, 2]
    assert losses(split / "1-detector") == losses(whole / "1-detector")
    events = [
        json.loads(line)
        for line in (split / "1-detector" / "events.jsonl").read_text().splitlines()
    ]
    assert [(e["event"], e["images_per_forward"]) for e in events] == [("out of memory", 2)]


def test_an_image_that_does_not_fit_alone_ends_the_stage_with_advice(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_for(0, monkeypatch)
    with pytest.raises(
        OutOfMemoryError, match=r"a single image does not fit .* lower model\.resolution"
    ):
        run(detector_only(rendered, tmp_path))


@pytest.mark.parametrize("part", ["backbone", "decoder"])
def test_a_frozen_value_that_moves_by_its_last_bit_fails_the_stage(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, promise: Promise
) -> None:
    plan = toy_plan(rendered, tmp_path, detector={"epochs": 1}, masks={"epochs": 1})
    run(plan, "detector")
    build_model = build.build_model
    chains: list[Any] = []

    def nudge(self: Any, row: Any):
        value = next(p for p in chains[0].part(part).parameters() if p.numel() > 100).data.view(-1)[
            :1
        ]
        value.copy_(torch.nextafter(value, value + 1))

    monkeypatch.setattr(
        build, "build_model", lambda *a: chains.append(build_model(*a)) or chains[-1]
    )
    monkeypatch.setattr(Journal, "step", nudge)
    with pytest.raises(
        TrainingError, match=r"frozen backbone, projector, decoder: changed while it was frozen"
    ):
        run(plan)
    folder = tmp_path / "toy-1"
    assert (
        read_note(folder).stages["masks"].state == "failed"
        and not (folder / "2-masks/metrics.json").exists()
    )
    promise("P13", 1, "frozen values that moved by one bit")


def test_weights_that_waited_for_the_disk_do_not_replace_better_ones(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: Promise
) -> None:
    """The disk is full in the second evaluation and the save after it; the third selects newer
    weights.
    """
    write = checkpoint.write
    selected: list[Any] = []

    def full_for_a_while(folder: Path, *values: Any, **options: Any):
        selected.append(folder.name)
        if selected.count("selected") in (2, 3) and folder.name == "selected":
            raise OSError(28, "No space left on device")
        write(folder, *values, **options)

    monkeypatch.setattr(checkpoint, "write", full_for_a_while)
    folder = run(detector_only(rendered, tmp_path, epochs=3)) / "1-detector"
    assert selected.count("selected") == 5 and checkpoint.read_card(folder / "selected").epoch == 3
    promise("P8", 2, "lacks of space for weights that were selected")


def test_a_signal_in_the_last_evaluation_keeps_the_next_stage_from_starting(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promise: Promise
) -> None:
    evaluated = fit._evaluated

    def and_then_asked(stage_: Any, tick: Any):
        metrics = evaluated(stage_, tick)
        if stage_.learner.progress.steps == stage_.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return metrics

    plan = toy_plan(rendered, tmp_path, detector={"epochs": 1}, masks={"epochs": 1})
    with monkeypatch.context() as patch:
        patch.setattr(fit, "_evaluated", and_then_asked)
        with pytest.raises(Interrupted):
            run(plan)
    assert not list(tmp_path.glob("toy-1/2-masks/last"))
    run(plan)
    assert read_note(tmp_path / "toy-1").stages["masks"].state == "complete"
    promise("P7", 1, "signals after the last step of a stage")
