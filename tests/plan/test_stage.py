"""One stage: settings that contradict each other are refused before anything runs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from segue.plan.stage import StagePlan


def stage(**settings) -> StagePlan:
    return StagePlan(**{"name": "a", "epochs": 2, **settings})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": None}, "needs either epochs or steps"),
        ({"steps": 5}, "needs either epochs or steps"),
        ({"name": "../a"}, "string_pattern_mismatch|should match pattern"),
        ({"select": "mask_ap"}, "no figure 'mask_ap' in task: boxes; there are box_ap"),
        ({"noise": {"missed": 0.5}}, "looks at masks and classes"),
        ({"noise": {"boundary": 2}}, "noise.boundary is of masks"),
        (
            {"schedule": {"kind": "plateau", "patience": 5}, "early_stop": {"patience": 5}},
            "never falls",
        ),
        ({"cache": {"views": 2}}, "freeze is not set"),
        ({"cache": {"views": 2}, "freeze": "backbone.first_half"}, "is only some blocks"),
        (
            {"cache": {"views": 2}, "freeze": "backbone", "multi_scale": "standard"},
            "multi_scale has to be off",
        ),
        ({"epochs": 0}, "greater than 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        stage(**settings)


@pytest.mark.parametrize(
    ("task", "metric", "masks"), [("boxes", "box_ap", False), ("joint", "mask_ap", True)]
)
def test_the_task_decides_what_selects_unless_the_stage_says_so(task, metric, masks):
    assert stage(task=task).metric == metric and stage(task=task).with_masks is masks
    assert stage(task=task, select="box_ap50").metric == "box_ap50"


def test_every_place_that_a_setting_names_is_listed_with_its_key():
    settings = {
        "freeze": "decoder",
        "thaw": {1: "backbone.last_half"},
        "fresh": ["mask_head"],
        "optimizer": {"lr_factors": {"backbone": 0.1}},
    }
    assert list(stage(**settings).places()) == [
        ("freeze", "decoder"),
        ("thaw", "backbone.last_half"),
        ("fresh", "mask_head"),
        ("optimizer.lr_factors", "backbone"),
    ]
