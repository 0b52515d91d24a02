"""`segue check` says what a plan will cost, and `--time` how long it will take, for every
family.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch

from segue.cli.commands import costs
from segue.cli.commands.check import check_target
from segue.data.dataset import read_dataset
from segue.plan.schema import Plan
from segue.run import build
from segue.run.context import StageContext
from segue.training.estimate import needs
from tests.conftest import toy_plan, write_plan

PLANS = {
    "detr": {"family": "detr", "size": "pico"},
    "mask2former": {"family": "mask2former", "size": "pico"},
    "rfdetr": {"family": "rfdetr", "size": "pico"},
    "rgbx_rcnn": {"family": "rgbx_rcnn", "size": "pico"},
}


def said_of(plan: dict, folder, capsys, timed: bool = False) -> dict[str, list[str]]:
    check_target(write_plan(folder / "plan.yaml", plan), (), as_json=True, timed=timed)
    return json.loads(capsys.readouterr().out)["sections"]


@pytest.mark.parametrize("family", sorted(PLANS))
def test_operations_memory_and_time_are_said_of_every_family(rendered, tmp_path, capsys, family):
    plan = toy_plan(rendered, tmp_path / "runs", model=PLANS[family])
    plan["stages"] = [{**plan["stages"][0], "task": "joint", "images_per_step": 2}]
    lines = "\n".join(said_of(plan, tmp_path, capsys, timed=True)["stage detector"])
    found = re.search(
        r"([\d,]+) of ([\d,]+) parameters learn; "
        r"the fullest image takes ([\d.]+) GFLOP in a forward, "
        r"([\d.]+) in training, and keeps about (\d+) MB",
        lines,
    )
    assert found and found[1] == found[2] and float(found[4]) > 2 * float(found[3]) > 0
    assert re.search(r"GB are free on cpu: 2 images in a forward fit", lines)
    assert re.search(
        r"about [\d.]+ s a step here \(training [\d.]+ s, loading [\d.]+ s in one process\), ",
        lines,
    )
    assert re.search(r"about [\d.]+ s a validation of 5 images", lines) and re.search(
        r"about .* for the stage", lines
    )
    assert not (tmp_path / "runs").exists()


def ready(data, folder, **changes) -> tuple:
    """A plan's only stage, and its model, frozen as it begins."""
    plan = toy_plan(data, folder / "runs", model=PLANS["detr"])
    plan["stages"] = [{**plan["stages"][0], "images_per_step": 2, "start": "elsewhere", **changes}]
    plan = Plan.model_validate(plan)
    stage, read = plan.stages[0], read_dataset(plan.data)
    context = StageContext(plan, stage, read, "cpu", folder, lambda line: None)
    chain = build.build_model(context, None)
    chain.freeze_through(stage.freeze)
    return context, chain


def test_a_thaw_is_foretold_with_what_it_costs(rendered, tmp_path):
    context, chain = ready(
        rendered, tmp_path, freeze="encoder", epochs=4, thaw={1: "encoder", 3: "backbone"}
    )
    lines = [line for line in costs.needed(context, chain) if "learn" in line]
    learned = [int(re.search(r"([\d,]+) of", line)[1].replace(",", "")) for line in lines]
    assert [line.split(": ")[0] for line in lines[1:]] == ["after 1 epochs", "after 3 epochs"]
    assert learned[0] < learned[1] < learned[2] == sum(p.numel() for p in chain.parameters())
    assert chain.frozen_label() == "backbone, encoder"
    lines = costs.taken(context, chain)
    assert [line.split(" about")[0] for line in lines[1:3]] == [
        "after 1 epochs:",
        "after 3 epochs:",
    ]
    assert chain.frozen_label() == "backbone, encoder"


def test_the_stage_takes_what_its_epochs_and_validations_take(rendered, tmp_path, monkeypatch):
    """8 steps an epoch; 3 epochs with 1 s a step, 1 with 5 s; validation at the beginning and after
    each epoch.
    """
    context, chain = ready(rendered, tmp_path, freeze="encoder", epochs=4, thaw={3: "backbone"})
    probes = iter([costs.Probe(0.8, 0.2, 0, "cpu"), costs.Probe(4.8, 0.2, 0, "cpu")])
    monkeypatch.setattr(costs, "_probe", lambda *_, **__: next(probes))
    monkeypatch.setattr(costs, "_validation", lambda *_: 0.2)
    lines = costs.taken(context, chain)
    assert lines[0].endswith("8 s an epoch") and lines[1].endswith("40 s an epoch")
    assert lines[-2:] == [
        "about 1 s a validation of 5 images",
        "about 69 s for the stage, if it is not stopped early",
    ]


def test_steps_behind_a_cache_are_timed_without_the_frozen_parts(rendered, tmp_path, monkeypatch):
    context, chain = ready(rendered, tmp_path, freeze="encoder", epochs=4, cache={"views": 2})
    seen, real = [], costs.train_epoch

    def watched(learner, batches, *others):
        real(learner, (seen.append(set(batch.inputs)) or batch for batch in batches), *others)

    monkeypatch.setattr(costs, "train_epoch", watched)
    lines = costs.taken(context, chain)
    assert seen == [{"memory_0"}] * costs.STEPS
    assert lines[0].endswith(" to fill the cache, once") and "from the cache), " in lines[1]
    # would use each view once: the run says that it goes without
    short = replace(context, stage=context.stage.model_copy(update={"epochs": 2}))
    assert "loading" in costs.taken(short, chain)[0]


def test_a_gpu_loads_while_it_trains_and_a_cpu_does_not():
    assert (
        costs.Probe(1.0, 6.0, 3, "cuda").each == 2.0
        and costs.Probe(1.0, 2.0, 3, "cuda").each == 1.0
    )
    assert (
        costs.Probe(1.0, 2.0, 3, "cpu").each == 3.0 and costs.Probe(1.0, 2.0, 0, "cuda").each == 3.0
    )


@pytest.mark.parametrize(
    ("images", "words"),
    [(1, "about 1 images fit in a forward, so steps of 2 are split"), (0, "warning: not even one")],
)
def test_it_says_when_a_step_will_not_fit(rendered, tmp_path, monkeypatch, images, words):
    context, chain = ready(rendered, tmp_path)
    takes = needs(chain, context.data.most_objects).bytes_of(images, torch.float32, averaged=True)
    monkeypatch.setattr(costs, "free_bytes", lambda device: int(1.05 * takes / costs.USED))
    assert words in costs.needed(context, chain)[1]
