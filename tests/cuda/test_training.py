"""Stages on a GPU: they learn as on a CPU, what is frozen stays, and what was killed or ran out of
memory goes on.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from segue.cli.commands.demo import PLAN, QUICK_IMAGES
from segue.data.synthetic import render_dataset
from segue.inference.loading import load
from segue.plan.schema import Plan
from segue.run.build import new_learner
from segue.training import checkpoint
from segue.training.journal import read_rows
from segue.training.learner import Learner
from segue.training.loop import train_step
from tests.conftest import segue, toy_plan, write_plan
from tests.models.pico import batch_for, build
from tests.toy import detector_only, losses, run, run_until, same_tensors, same_values


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_dataset(tmp_path_factory.mktemp("demo") / "dataset", QUICK_IMAGES)


@pytest.fixture(scope="module")
def on_cpu(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quick demo's run on a CPU."""
    return run(demo(demo_data, tmp_path_factory.mktemp("cpu"), "cpu", "fp32"))


def demo(data: Any, folder: Any, device: str, precision: str) -> dict[str, Any]:
    """The plan of `segue demo --quick`, with as many query groups everywhere and a cache that is
    used.
    """
    plan = yaml.safe_load(PLAN.format(folder=folder.as_posix(), detector_epochs=1, masks_epochs=2))
    plan |= {"device": device, "data": {"root": str(data)}, "model": {**plan["model"], "groups": 3}}
    for stage in plan["stages"]:
        stage["precision"] = precision
    plan["stages"][1]["cache"] = {"views": 1}
    return plan


@pytest.mark.parametrize(("precision", "rel"), [("fp32", 2e-3), ("bf16", 0.05), ("fp16", 0.05)])
def test_the_demo_learns_as_on_a_cpu_and_its_frozen_detector_stays(
    device: str, demo_data: Path, on_cpu: Path, tmp_path: Path, precision: str, rel: float
) -> None:
    folder = run(demo(demo_data, tmp_path, device, precision))
    for stage in ("1-detector", "2-masks"):
        expected, found = losses(on_cpu / stage), losses(folder / stage)
        assert len(found) == len(expected) > 1
        assert found[0] == pytest.approx(expected[0], rel=rel if stage == "1-detector" else 5 * rel)
        assert found == pytest.approx(expected, rel=max(0.1, rel))
    outcome = json.loads((folder / "2-masks" / "metrics.json").read_text())
    assert "values unchanged" in outcome["frozen"] and "mask_ap" in outcome["valid"]
    before, after = (
        checkpoint.read(folder / stage / "selected")[1] for stage in ("1-detector", "2-masks")
    )
    frozen = [name for name in before if not name.startswith("mask_head")]
    assert len(frozen) > 100 and all(torch.equal(before[name], after[name]) for name in frozen)
    note = json.loads((folder / "run.json").read_text())
    assert all(stage["peak_bytes"] > 1e6 for stage in note["stages"].values())


def test_a_cached_stage_learns_what_one_without_learns(
    device: str, rendered: Path, tmp_path: Path
) -> None:
    stages: dict[str, dict[str, Any]] = {
        "masks": {"epochs": 3, "augment": None, "precision": "fp32"},
        "detector": {"epochs": 1},
    }
    plain = run(toy_plan(rendered, tmp_path / "plain", device=device, **stages))
    stages["masks"] = {**stages["masks"], "cache": {"views": 1}}
    cached = run(toy_plan(rendered, tmp_path / "cached", device=device, **stages))
    assert losses(cached / "2-masks") == pytest.approx(losses(plain / "2-masks"), rel=0.03)


def conditional(rendered: Path, folder: Any, device: str, **changes: Any) -> dict[str, Any]:
    """A detector whose step asks for nothing that a GPU adds up in another order each time."""
    plan = detector_only(rendered, folder, workers=2, **changes)
    return {
        **plan,
        "device": device,
        "model": {"family": "detr", "size": "pico", "resolution": 160},
    }


def test_killed_and_resumed_it_is_the_run_that_was_never_killed(
    device: str,
    deterministic: None,
    rendered: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(conditional(rendered, tmp_path / "whole", device)) / "1-detector"
    plan = conditional(rendered, tmp_path / "killed", device)
    run_until(plan, 3, monkeypatch)
    killed = run(plan) / "1-detector"
    assert losses(killed) == losses(whole) and len(losses(whole)) == 8
    assert same_tensors(killed / "last", whole / "last") and same_tensors(
        killed / "selected", whole / "selected"
    )


def test_killed_and_resumed_a_detector_with_sampled_features_goes_on_as_near_as_it_can(
    device: str, rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch adds the gradients of sampled features in any order, so that two runs differ in their
    last bits.
    """
    whole = run({**detector_only(rendered, tmp_path / "whole"), "device": device}) / "1-detector"
    plan = {**detector_only(rendered, tmp_path / "killed"), "device": device}
    run_until(plan, 3, monkeypatch)
    killed = run(plan) / "1-detector"
    assert losses(killed) == pytest.approx(losses(whole), rel=0.02)
    assert [row["lr"] for row in read_rows(killed / "steps.csv")] == [
        row["lr"] for row in read_rows(whole / "steps.csv")
    ]


def learner_of(rendered: Path, device: str, precision: str = "fp32", **options: Any) -> Learner:
    plan = Plan.model_validate(detector_only(rendered, rendered, precision=precision))
    chain = build("rfdetr", **options).to(device)
    learner = new_learner(plan, plan.stages[0], chain, device)
    chain.train()
    return learner


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_learner_is_restored_to_the_bit_with_its_random_numbers(
    device: str, rendered: Path, tmp_path: Path, precision: str
) -> None:
    first = learner_of(rendered, device, precision, dropout=0.3)
    batch = batch_for(first.chain, rendered, 4)
    for _ in range(3):
        train_step(first, batch)
    card = checkpoint.Card(spec=first.chain.spec)
    checkpoint.write(tmp_path / "last", first.chain.state_dict(), card, first.state_dict())
    then = train_step(first, batch)["loss"]
    again = learner_of(rendered, device, precision, dropout=0.3)
    torch.rand(3, device=device)
    again.chain.load_state_dict(checkpoint.read(tmp_path / "last")[1])
    state = checkpoint.read_state(tmp_path / "last")
    again.load_state_dict(state)
    checkpoint.write(tmp_path / "again", again.chain.state_dict(), card, again.state_dict())
    assert same_tensors(tmp_path / "last", tmp_path / "again")
    assert same_values(state, checkpoint.read_state(tmp_path / "again"))
    # dropout drew the same
    assert train_step(again, batch)["loss"] == pytest.approx(then, rel=1e-5)
    assert all(not tensor.is_cuda for tensor in state["rng"].values()) and (
        "cuda" in state["rng"]
    ) == (device != "cpu")


def test_running_out_of_memory_splits_the_step_and_changes_nothing(
    gpu: str, rendered: Path
) -> None:
    images = 32

    def step(limit: int) -> tuple[dict[str, float], int, int]:
        """A first step of so many images in so much memory: its numbers, images in a forward, and
        peak.
        """
        gc.collect()
        torch.cuda.empty_cache()
        learner = learner_of(rendered, gpu, resolution=256, masks=False)
        learner.progress.images_per_forward = images
        batch = batch_for(learner.chain, rendered, 16)
        batch.inputs["images"], batch.targets = (
            torch.cat([batch.inputs["images"]] * 2),
            batch.targets * 2,
        )
        torch.cuda.set_per_process_memory_fraction(
            limit / torch.cuda.get_device_properties(gpu).total_memory
        )
        try:
            torch.cuda.reset_peak_memory_stats(gpu)
            numbers = train_step(learner, batch)
            return numbers, learner.progress.images_per_forward, torch.cuda.max_memory_reserved(gpu)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    torch.cuda.init()
    whole, at_once, peak = step(torch.cuda.get_device_properties(gpu).total_memory)
    assert at_once == images
    split, at_once, lower = step(int(0.7 * peak))
    assert at_once < images and lower <= 0.7 * peak
    assert split == pytest.approx(whole, rel=2e-3)


def test_a_run_of_a_gpu_goes_on_and_predicts_on_a_cpu(
    device: str, rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {**detector_only(rendered, tmp_path, precision="bf16"), "device": device}
    run_until(plan, 3, monkeypatch)
    last = next(tmp_path.glob("*/1-detector/last"))
    assert all(not tensor.is_cuda for tensor in checkpoint.read(last)[1].values())
    plan["device"] = "cpu"
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        folder = run(plan)
        found = load(folder).predict(next((rendered / "test").glob("*.png")), threshold=0.0)
    assert (
        len(losses(folder / "1-detector")) == 8 and len(found) > 0 and folder == last.parent.parent
    )


def test_members_of_a_sweep_share_the_first_gpu(
    device: str, rendered: Path, tmp_path: Path
) -> None:
    """In processes of their own, which ask about memory before anything is on the GPU."""
    number = f"{device}:0" if device == "cuda" else device
    plan = write_plan(tmp_path / "plan.yaml", detector_only(rendered, tmp_path / "runs", epochs=1))
    done = segue("sweep", plan, "seed=1,2", "--devices", f"{number},{number}", "--quiet")
    assert done.returncode == 0, done.stderr + "".join(
        p.read_text()[-2000:] for p in tmp_path.rglob("*.log")
    )
    notes = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    peaks = [note["stages"]["detector"]["peak_bytes"] for note in notes]
    assert len(peaks) == 2 and min(peaks) > 1e6
