"""A plan as a whole: what a stage starts from, whose data it has, and what makes it another
stage.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from segue.plan.schema import Plan
from tests.conftest import toy_plan


def plan(**changes) -> Plan:
    data = changes.pop("data", {"root": "data"})
    content = toy_plan(Path("data"), Path("runs"), **changes)
    return Plan.model_validate({**content, "data": data})


def test_a_stage_starts_from_the_one_before_unless_it_says_otherwise():
    first, second = plan().stages
    assert plan().start_of(first) is None and plan().start_of(second) == "detector"
    other = plan(masks={"start": "weights.pth"}, model={"size": "pico", "weights": "w"})
    assert [other.start_of(stage) for stage in other.stages] == ["w", "weights.pth"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"detector": {"start": "masks"}}, "stage detector: start: masks is not an earlier stage"),
        ({"masks": {"start": "masks"}}, "stage masks: start: masks is not an earlier stage"),
        ({"masks": {"name": "detector"}}, "two stages are called detector"),
        ({"stages": []}, "needs at least one stage"),
        ({"name": "a b"}, "should match pattern"),
        ({"masks": {"freeze": "neck"}}, "stage masks: freeze: no part 'neck'"),
        ({"colour": 1}, "Extra inputs"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_with_the_stage(changes, words):
    with pytest.raises(ValidationError, match=words):
        plan(**changes)


def test_a_stages_own_data_have_the_plans_channels_unless_they_say_others():
    data = {"root": "data", "channels": ["r", "t"]}
    mine = plan(data=data, masks={"data": {"root": "mine"}})
    assert [c.name for c in mine.data_of(mine.stages[1]).channels] == ["r", "t"]
    other = plan(data=data, masks={"data": {"root": "mine", "channels": ["g"]}})
    assert [c.name for c in other.data_of(other.stages[1]).channels] == ["g"]
    assert other.data_of(other.stages[0]) == other.data


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"workers": 4, "images_per_forward": 2, "save_every_steps": 1}, True),
        ({"name": "other"}, True),
        ({"epochs": 3}, False),
        ({"augment": {"flip": 0}}, False),
        ({"optimizer": {"lr": 1e-4}}, False),
    ],
)
def test_what_decides_the_outcome_makes_it_another_stage_and_nothing_else(changes, same):
    before, after = plan(), plan(detector=changes)
    assert (before.identity(before.stages[0]) == after.identity(after.stages[0])) is same


def test_mirrored_images_are_known_by_the_data_they_are_of():
    both = plan(detector={"augment": {"flip": 0}}, masks={"augment": None})
    assert plan().flips(plan().data) and not both.flips(both.data)
