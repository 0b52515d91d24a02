"""Plans that could not work are refused before anything runs, or runs again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from segue.errors import PlanError
from segue.models import rfdetr
from segue.plan.reading import from_values
from segue.run.notes import read_note
from segue.training import checkpoint
from tests.conftest import ROOT, toy_plan
from tests.toy import run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"masks": {"freeze": None}},
            "task: masks trains the mask head alone; freeze: decoder, or task: joint",
        ),
        ({"masks": {"freeze": "projector"}}, "task: masks trains the mask head alone"),
        (
            {"detector": {"select": "box_map"}},
            "no figure 'box_map' in task: boxes; there are box_ap, box_ap50",
        ),
        ({"detector": {"select": "mask_ap"}}, "no figure 'mask_ap' in task: boxes"),
        ({"detector": {"loss": {"dcie": 1}}}, "loss: dcie: 1.0; task: boxes has classes, l1, giou"),
        ({"detector": {"loss": {"dice": 1}}}, "loss: dice: 1.0; task: boxes has classes, l1, giou"),
        ({"masks": {"loss": {"dice": -1}}}, "at least 0 each"),
        ({"detector": {"start": "masks"}}, "start: masks is not an earlier stage"),
        ({"detector": {"start": "detector"}}, "start: detector is not an earlier stage"),
        (
            {"detector": {"schedule": {"kind": "plateau", "patience": 10}}},
            "schedule.patience has to be less than early_stop.patience",
        ),
        ({"data": {"root": "x", "train": {"annotations": "y"}}}, "has root: and parts by name"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(rendered, tmp_path, changes, words):
    with pytest.raises(PlanError, match=words.replace("(", r"\(")):
        data = changes.pop("data", {"root": str(rendered)})
        from_values({**toy_plan(rendered, tmp_path, **changes), "data": data}, "plan.yaml")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_here_is_refused(rendered, tmp_path, device):
    with pytest.raises(PlanError, match=f"no {device} here; expected auto, cpu"):
        run(toy_plan(rendered, tmp_path, device=device))
    assert not list(tmp_path.iterdir())


def test_a_format_that_nobody_knows_is_refused(rendered, tmp_path):
    with pytest.raises(PlanError, match="kitti: unknown; expected one of coco"):
        run({**toy_plan(rendered, tmp_path), "data": {"root": str(rendered), "format": "kitti"}})


def test_other_classes_of_the_same_files_are_another_run(rendered, tmp_path):
    short = {"detector": {"epochs": 1}}
    first = run(toy_plan(rendered, tmp_path, **short), "detector")
    data = {"root": str(rendered), "classes": ["tube", "cell", "rod"]}
    second = run({**toy_plan(rendered, tmp_path, **short), "data": data}, "detector")
    assert second != first and read_note(second).stages["detector"].reused_from is None
    assert checkpoint.read_card(second / "1-detector" / "selected").spec.classes == (
        "tube",
        "cell",
        "rod",
    )


def test_a_fresh_decoder_starts_again_and_the_backbone_stays(rendered, tmp_path):
    short = {"detector": {"epochs": 1}}
    first = run(toy_plan(rendered, tmp_path / "a", **short), "detector")
    plan = toy_plan(rendered, tmp_path / "b", **short)
    plan["model"]["weights"] = str(first / "1-detector" / "selected")
    plan["stages"][0]["fresh"] = ["decoder"]
    second = run(plan, "detector")
    assert (second / "1-detector" / "selected").is_dir()


def test_a_stage_goes_on_with_the_model_it_began_with(rendered, tmp_path, monkeypatch):
    """Another device would suggest another number of query groups."""
    plan = toy_plan(rendered, tmp_path, detector={"epochs": 1})
    del plan["model"]["groups"]
    folder = run(plan, "detector")
    note = json.loads((folder / "run.json").read_text())
    note["stages"]["detector"]["state"] = "interrupted"
    (folder / "run.json").write_text(json.dumps(note))
    card = checkpoint.read_card(folder / "1-detector" / "last")
    assert card.spec.options["groups"] == 3
    monkeypatch.setattr(rfdetr, "default_groups", lambda device: 5)
    assert run(plan, "detector") == folder


def test_a_worker_that_meets_a_bad_image_names_it(rendered, tmp_path):
    """Found when an image breaks in the middle of a run: workers cannot raise our errors, so they
    return them.
    """
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from dataclasses import replace
from pathlib import Path
from segue.data.dataset import Data, read_dataset
from segue.data.pipeline.loader import loader
from segue.data.pipeline.samples import Samples, StepSampler
from segue.data.pipeline.transforms import View
from segue.errors import DataError
from segue.structures.channels import RGB
data = read_dataset(Data(root={str(rendered)!r}))
records = data.splits["train"].records[:4]
records[2] = replace(records[2], image=Path("gone.png"))
samples = Samples(records, data.classes, RGB, View(64, 64), seed=0)
try:
    list(loader(samples, StepSampler(4, 2, 0, 0), workers=2))
except DataError as error:
    print(error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}
    )
    assert done.stdout.startswith("gone.png: no such file"), done.stdout + done.stderr
