"""What a stage's functions are handed: steps by the data, lines by the stage's name, a seed of its
own.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from segue.plan.schema import Plan
from segue.run.context import StageContext, stage_seed
from tests.conftest import toy_plan


@pytest.mark.parametrize(("images", "steps"), [(16, 2), (17, 3), (1, 1)])
def test_the_last_step_of_an_epoch_may_be_short(images, steps):
    plan = Plan.model_validate(toy_plan(Path("data"), Path("runs")))
    data = SimpleNamespace(splits={"train": SimpleNamespace(records=[None] * images)})
    lines: list[str] = []
    context = StageContext(plan, plan.stages[1], data, "cpu", Path("x"), lines.append)
    context.report("hello")
    assert context.steps_per_epoch == steps and context.last == Path("x/last")
    assert lines == ["masks: hello"]


def test_stages_and_plans_differ_in_their_seeds():
    plan = Plan.model_validate(toy_plan(Path("data"), Path("runs")))
    other = plan.model_copy(update={"seed": 1})
    seeds = [stage_seed(p, stage) for p in (plan, other) for stage in p.stages]
    assert len(set(seeds)) == 4 and stage_seed(plan, plan.stages[0]) == seeds[0]
