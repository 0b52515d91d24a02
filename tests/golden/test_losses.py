"""The losses of a fixed toy plan: recorded, and the same list however a step is split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from segue.losses.criterion import Criterion
from segue.training.loop import exact_sums
from tests.conftest import toy_plan
from tests.toy import losses, run, same_tensors

# Recorded with this test on the day the engine was first complete. They move only if the numbers of
# training do.
DETECTOR = [14.1766634, 13.5103569, 14.0568752, 12.9767857]
# Masks did once: a detector that finds nothing now hands on its last epoch, not its first.
MASKS = [33.0125732, 16.1134243, 9.15367889, 8.13121605]


@pytest.fixture(scope="module")
def reference(
    rendered: Path, tmp_path_factory: pytest.TempPathFactory, resized_as_bytes: None
) -> Path:
    return run(toy_plan(rendered, tmp_path_factory.mktemp("golden")))


def test_losses_are_those_recorded(reference: Path) -> None:
    assert losses(reference / "1-detector") == pytest.approx(DETECTOR, rel=1e-3)
    assert losses(reference / "2-masks") == pytest.approx(MASKS, rel=1e-3)


def test_a_second_run_is_the_same_bit_for_bit(
    reference: Path, rendered: Path, tmp_path: Path
) -> None:
    again = run(toy_plan(rendered, tmp_path))
    for stage in ("1-detector", "2-masks"):
        assert losses(again / stage) == losses(reference / stage)
        for kind in ("selected", "last"):
            assert same_tensors(again / stage / kind, reference / stage / kind)


def test_gradients_of_what_is_picked_by_index_are_added_in_one_order(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default CPU threads add them as they arrive: two runs on a busy machine then differ in the
    last bit.
    """
    seen = []
    call = Criterion.__call__

    def noted(self: Any, *arguments: Any):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return call(self, *arguments)

    monkeypatch.setattr(Criterion, "__call__", noted)
    run(toy_plan(rendered, tmp_path, detector={"epochs": 1}), "detector")
    assert seen and all(seen) and not torch.are_deterministic_algorithms_enabled()
    indices = torch.randint(0, 50, (4000,), generator=torch.Generator().manual_seed(0))
    values, weights = torch.randn(50, 64, requires_grad=True), torch.randn(4000, 64)
    with exact_sums("cpu"):
        grads = [
            torch.autograd.grad((values[indices] * weights).sum(), values)[0] for _ in range(20)
        ]
    assert all(torch.equal(grad, grads[0]) for grad in grads)


@pytest.mark.parametrize("images", [4, 2, 1])
def test_a_step_is_the_same_however_it_is_split(
    reference: Path, rendered: Path, tmp_path: Path, images: int
) -> None:
    split = {"images_per_forward": images}
    again = run(toy_plan(rendered, tmp_path, detector=split, masks=split))
    for stage in ("1-detector", "2-masks"):
        assert losses(again / stage)[:2] == pytest.approx(losses(reference / stage)[:2], rel=1e-5)
        assert losses(again / stage) == pytest.approx(losses(reference / stage), rel=1e-3)


@pytest.mark.parametrize("head", ["dot", "attention-nano"])
def test_joint_training_is_the_same_however_it_is_split(
    rendered: Path, tmp_path: Path, head: str
) -> None:
    """With dot, masks take part in the matching; with attention heads, boxes alone."""
    runs = []
    for images in (8, 2):
        stage = {"task": "joint", "epochs": 1, "images_per_forward": images}
        plan = toy_plan(rendered, tmp_path / str(images), detector=stage)
        plan["stages"], plan["model"]["mask_head"] = plan["stages"][:1], head
        runs.append(losses(run(plan) / "1-detector"))
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-5)
