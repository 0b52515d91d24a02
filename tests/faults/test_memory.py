"""Memory that runs out in the middle of anything changes no bit of what is then computed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.losses.criterion import Criterion
from segue.models.parts.chain import Chain
from segue.training import loop
from tests.conftest import Promise, toy_plan
from tests.toy import losses, run, same_tensors

STEPS = 8


def of_eight(data: Any, folder: Any) -> dict[str, Any]:
    """Eight steps of eight images, in one part as long as memory lasts."""
    plan = toy_plan(data, folder, detector={"epochs": STEPS, "images_per_step": 8})
    return {**plan, "stages": plan["stages"][:1]}


def scarce(patch: pytest.MonkeyPatch, unlucky: list[tuple[int, str]]) -> None:
    """Let memory run out once in each of these steps (from 1): in the forward, in the loss of the
    last part, or in the backward behind it, when gradients are there already.
    """
    step, left = [0], dict(unlucky)
    train_step = loop.train_step
    places = {
        "forward": (Chain, "forward"),
        "loss": (Criterion, "__call__"),
        "backward": (torch.Tensor, "backward"),
    }

    def counted(*arguments: Any):
        step[0] += 1
        return train_step(*arguments)

    patch.setattr(loop, "train_step", counted)
    for place, (owner, name) in places.items():
        function = getattr(owner, name)

        def failing(
            self: Any,
            *arguments: object,
            place: Any = place,
            function: Any = function,
            **options: Any,
        ):
            found = function(self, *arguments, **options)
            if torch.is_grad_enabled() and left.get(step[0]) == place:
                del left[step[0]]
                raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
            return found

        patch.setattr(owner, name, failing)


def split_at(patch: pytest.MonkeyPatch, steps: list[int]) -> None:
    """Let steps be made of parts half as large from these on, with all the memory there is."""
    train_step, step = loop.train_step, [0]

    def halved(learner: Any, batch: Any):
        step[0] += 1
        if step[0] in steps:
            learner.progress.images_per_forward = -(-learner.progress.images_per_forward // 2)
        return train_step(learner, batch)

    patch.setattr(loop, "train_step", halved)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
def test_memory_that_runs_out_at_random_steps_changes_no_bit(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: Any, promise: Promise
) -> None:
    rng = random.Random(seed)
    steps = sorted(rng.sample(range(1, STEPS + 1), 3))
    unlucky = list(zip(steps, rng.sample(["forward", "loss", "backward"], 3), strict=True))
    with monkeypatch.context() as patch:
        split_at(patch, steps)
        enough = run(of_eight(few, tmp_path / "enough")) / "1-detector"
    with monkeypatch.context() as patch:
        scarce(patch, unlucky)
        short = run(of_eight(few, tmp_path / "short")) / "1-detector"
    events = [json.loads(line) for line in (short / "events.jsonl").read_text().splitlines()]
    assert [(event["step"], event["images_per_forward"]) for event in events] == list(
        zip(steps, (4, 2, 1), strict=True)
    )
    assert losses(short) == losses(enough)
    assert all(same_tensors(short / kind, enough / kind) for kind in ("selected", "last"))
    promise("OOM", 3, "lacks of memory in a forward, a loss or a backward, at random steps")
