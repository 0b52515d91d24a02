"""RGB and X, trained: equal however split, frozen streams, fusions, masks, and going on after a
kill.
"""

from __future__ import annotations

import json

import pytest
import torch

from segue.data.synthetic import render_dataset
from segue.errors import PlanError
from segue.models import rgbx_rcnn
from segue.plan.schema import Plan
from segue.structures.target import Batch
from segue.training import cache, checkpoint
from segue.training.freeze import FrozenProof
from segue.training.journal import read_rows
from tests.conftest import write_plan
from tests.models.rgbx import as_rgb, build, pixels, two_targets, with_x
from tests.toy import losses, run, run_until, same_tensors
from tests.training.test_processes import torchrun


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """8 training and 3 validation images of 64 px; the fourth channel shows what is inside the
    objects.
    """
    return with_x(
        render_dataset(tmp_path_factory.mktemp("four"), {"train": 8, "valid": 3}, side=64, seed=4)
    )


def plan_of(data, folder, stages, **model) -> dict:
    common = {
        "images_per_step": 4,
        "workers": 0,
        "epochs": 1,
        "optimizer": {"lr": 1e-3, "clip": 1.0},
    }
    return {
        "name": "toy",
        "device": "cpu",
        "runs": str(folder),
        "data": {"root": str(data), "channels": ["r", "g", "b", "thermal"]},
        "model": {"family": "rgbx_rcnn", "size": "pico", "resolution": 64, **model},
        "stages": [{**common, **stage} for stage in stages],
    }


def three_stages(data, folder, **changes) -> dict:
    """RGB; X added with RGB frozen; all with masks."""
    stages = [
        {"name": "rgb", "task": "boxes", "data": {"root": str(data), "channels": ["r", "g", "b"]}},
        {"name": "x", "task": "boxes", "freeze": "rgb", "fresh": ["fusion"]},
        {"name": "joint", "task": "joint", "fresh": ["mask_head"]},
    ]
    return plan_of(data, folder, [{**stage, **changes} for stage in stages], zero_init=True)


FOLDERS = ("1-rgb", "2-x", "3-joint")
# Recorded with this test once colour jitter left the fourth channel alone.
LOSSES = [2.51117206, 2.16061544, 1.34504747, 2.46605802, 3.66697836, 3.83526993]


@pytest.fixture(scope="module")
def reference(four, tmp_path_factory, resized_as_bytes):
    return run(three_stages(four, tmp_path_factory.mktemp("reference"), save_every_steps=1))


def test_losses_are_those_recorded_and_a_stage_begins_as_good_as_the_one_before(reference):
    assert sum((losses(reference / name) for name in FOLDERS), []) == pytest.approx(
        LOSSES, rel=1e-3
    )
    begun = read_rows(reference / "2-x" / "epochs.csv")[0]
    selected = checkpoint.read_card(reference / "1-rgb" / "selected").metrics
    assert begun["epoch"] == 0 and begun["box_ap"] == pytest.approx(selected["box_ap"], rel=1e-8)


def test_a_frozen_rgb_stream_stays_while_gradients_go_through_it_to_x(reference):
    before, after = (checkpoint.read(reference / stage / "selected")[1] for stage in FOLDERS[:2])
    frozen = [name for name in before if name.startswith("rgb.")]
    assert len(frozen) > 60 and all(torch.equal(before[name], after[name]) for name in frozen)
    outcome = json.loads((reference / "2-x" / "metrics.json").read_text())
    assert "frozen rgb: 108 tensors" in json.dumps(outcome)
    parent = checkpoint.as_weights(reference / "1-rgb" / "selected").tensors
    for part in (
        "x.streams.0.",
        "fusion.levels.0.gates.",
        "fusion.levels.0.rectify.",
        "neck.",
        "head.",
    ):
        moved = [
            n
            for n in after
            if n.startswith(part) and not torch.equal(after[n], parent.get(as_rgb(n), after[n] + 1))
        ]
        assert moved, part


def test_gradients_reach_the_first_of_x_only_through_later_frozen_stages_of_rgb():
    """With the fused maps of the first three levels left out, X's first stage is heard through
    RGB's later ones.
    """
    chain = build()
    chain.freeze_through("rgb")
    proof = FrozenProof.of(chain)
    state = chain.train()({"images": pixels()})
    assert not any(module.training for module in chain.rgb.modules()) and chain.x.training
    chain.zero_grad()
    own = [p for name, p in chain.named_parameters() if name.startswith("fusion.levels.0.rectify.")]
    grads = torch.autograd.grad(state["level_3"].sum(), own, retain_graph=True)
    assert all(grad.isfinite().all() for grad in grads) and any(grad.any() for grad in grads)
    state["objectness"].square().sum().backward()
    assert all(p.grad is None for p in chain.rgb.parameters())
    assert all(p.grad is not None for name, p in chain.x.named_parameters())
    assert "frozen rgb: 108 tensors" in proof.check(chain)


def test_sums_and_gradients_are_the_same_however_a_step_is_split():
    chain = build(masks=True)
    loss, whole = (
        rgbx_rcnn.criterion(chain, "joint", {}),
        Batch({"images": pixels()}, two_targets()),
    )
    found = []
    for images in (2, 1):
        chain.zero_grad()
        values = dict.fromkeys(loss.names, 0.0)
        for part in whole.split(images):
            sums = loss(rgbx_rcnn.predictions(chain, chain.train()(part.inputs)), part.targets)
            loss.total(sums, whole.counts()).backward()
            values = {name: values[name] + float(value.detach()) for name, value in sums.items()}
        found.append((values, torch.cat([p.grad.flatten() for p in chain.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5) and min(found[0][0].values()) > 0
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_run_is_the_same_in_single_images(reference, four, tmp_path):
    again = run(three_stages(four, tmp_path, images_per_forward=1))
    for name in FOLDERS:
        assert losses(again / name)[0] == pytest.approx(losses(reference / name)[0], rel=1e-5)
        assert losses(again / name) == pytest.approx(losses(reference / name), rel=1e-3)


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="other processes may resize images in floating point there (see resized_as_bytes)",
)
@pytest.mark.slow
def test_two_processes_train_what_one_does(reference, four, tmp_path):
    out = torchrun(write_plan(tmp_path / "plan.yaml", three_stages(four, tmp_path)), 2)
    assert out.returncode == 0, out.stderr
    for name in FOLDERS:
        assert losses(tmp_path / "toy-1" / name) == pytest.approx(
            losses(reference / name), rel=1e-5
        )


@pytest.mark.slow
def test_killed_inside_a_stage_it_goes_on_to_the_bit(reference, four, tmp_path, monkeypatch):
    plan = three_stages(four, tmp_path, save_every_steps=1)
    run(plan, "rgb")
    run_until(plan, 1, monkeypatch)
    again = run(plan)
    for name in FOLDERS:
        assert losses(again / name) == losses(reference / name)
        assert same_tensors(again / name / "last", reference / name / "last")


@pytest.mark.slow
def test_the_mask_head_alone_learns_on_a_frozen_detector_from_its_cached_pyramid(
    four, tmp_path, monkeypatch
):
    shapes = []
    fill = cache.fill
    monkeypatch.setattr(
        cache, "fill", lambda *arguments: shapes.append(fill(*arguments).shapes) or fill(*arguments)
    )
    stages = [
        {"name": "boxes"},
        {
            "name": "masks",
            "task": "masks",
            "freeze": "head",
            "fresh": ["mask_head"],
            "epochs": 3,
            "cache": {"views": 1},
        },
    ]
    done = run(plan_of(four, tmp_path, stages))
    rows = read_rows(done / "2-masks" / "steps.csv")
    assert rows[0].keys() >= {"mask"} and "classifier" not in rows[0]
    assert rows[-1]["mask"] < rows[0]["mask"]
    assert shapes[0].keys() == {*(f"pyramid_{i}" for i in range(5)), "objectness", "deltas"}
    before, after = (
        checkpoint.read(done / stage / "selected")[1] for stage in ("1-boxes", "2-masks")
    )
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_terms_and_noise_that_regions_do_not_have_are_refused(four, tmp_path):
    for change, words in (
        (
            {"loss": {"mask": 2}},
            "loss: mask: 2.0; task: boxes has classifier, box_reg, objectness, rpn_box_reg,",
        ),
        ({"loss": {"l1": 2}}, "loss: l1: 2.0; task: boxes has classifier"),
    ):
        with pytest.raises(ValueError, match=words):
            Plan.model_validate(plan_of(four, tmp_path, [{"name": "a", **change}]))
    with pytest.raises(PlanError, match=r"noise.boundary: 2.0, for a model that proposes regions"):
        run(plan_of(four, tmp_path, [{"name": "a", "task": "joint", "noise": {"boundary": 2}}]))
