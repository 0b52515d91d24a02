"""The thaw pipeline on both decoders: recorded losses, the same for every split and after a kill,
masks behind it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from segue.training import checkpoint
from tests.conftest import toy_plan
from tests.toy import losses, run, run_until, same_tensors

# Recorded with this test on the day the family was complete.
LOSSES = {
    "plain": [18.3325157, 18.7024574, 16.9608154, 18.3012562, 16.3494301, 17.7903442],
    "conditional": [13.4963398, 12.9570322, 12.1817236, 12.5351057, 11.5076408, 12.4272747],
}


def plan_of(rendered: Path, folder: Any, decoder: str, **changes: Any) -> dict[str, Any]:
    """A detector from nothing, then the same frozen, half thawed, thawed; six steps in three
    epochs.
    """
    plan = toy_plan(rendered, folder, detector={"epochs": 1})
    plan["model"] = {"family": "detr", "size": "pico", "resolution": 64, "decoder": decoder}
    common = plan["stages"][0]
    thaw = {1: "backbone.last_half", 2: {"part": "backbone", "lr_factor": 0.1}}
    tune = {
        **common,
        "name": "tune",
        "epochs": 3,
        "freeze": "backbone",
        "thaw": thaw,
        "save_every_steps": 1,
    }
    return {**plan, "stages": [common, {**tune, **changes}]}


@pytest.fixture(scope="module", params=LOSSES)
def reference(
    request: pytest.FixtureRequest,
    rendered: Path,
    tmp_path_factory: pytest.TempPathFactory,
    resized_as_bytes: None,
):
    return request.param, run(
        plan_of(rendered, tmp_path_factory.mktemp(request.param), request.param)
    ) / "2-tune"


def test_losses_are_those_recorded(reference: Any) -> None:
    decoder, folder = reference
    assert losses(folder) == pytest.approx(LOSSES[decoder], rel=1e-3)


@pytest.mark.parametrize("images", [4, 1])
def test_a_step_is_the_same_however_it_is_split(
    reference: Any, rendered: Path, tmp_path: Path, images: int
) -> None:
    decoder, folder = reference
    again = run(plan_of(rendered, tmp_path, decoder, images_per_forward=images)) / "2-tune"
    assert losses(again)[:2] == pytest.approx(losses(folder)[:2], rel=1e-5)
    assert losses(again) == pytest.approx(losses(folder), rel=1e-3)


@pytest.mark.parametrize("step", [1, 2, 5])
def test_killed_before_at_and_after_a_thaw_it_goes_on_to_the_bit(
    reference: Any, rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    decoder, folder = reference
    plan = plan_of(rendered, tmp_path, decoder)
    run(plan, "detector")
    run_until(plan, step, monkeypatch)
    again = run(plan) / "2-tune"
    assert losses(again) == losses(folder)
    assert same_tensors(again / "last", folder / "last") and same_tensors(
        again / "selected", folder / "selected"
    )


def test_masks_are_trained_on_the_frozen_detector_and_leave_its_boxes_alone(
    reference: Any, rendered: Path, tmp_path: Path
) -> None:
    decoder, _ = reference
    masks: dict[str, Any] = {
        "name": "tune",
        "task": "masks",
        "freeze": "decoder",
        "fresh": ["mask_head"],
        "thaw": {},
    }
    plan = plan_of(rendered, tmp_path, decoder, **masks, cache={"views": 2})
    plan["model"]["mask_head"] = "dot"
    folder = run(plan)
    before, after = (
        checkpoint.read(folder / stage / "selected")[1] for stage in ("1-detector", "2-tune")
    )
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items()) and len(
        after
    ) > len(before)
    values = losses(folder / "2-tune")
    assert sum(values[4:]) < sum(values[:2])  # the third epoch and the first
