"""Which model a stage trains: the plan first, then the weights, then the data and the device."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from segue.errors import HandoverError
from segue.models import ModelSpec
from segue.models.weights import ModelWeights
from segue.models.weights.card import Card
from segue.plan.schema import Plan
from segue.run.context import StageContext
from segue.run.spec import spec_of
from segue.structures.channels import RGB
from tests.conftest import toy_plan


def context(lines: list[str] | None = None, objects: int = 4, **model) -> StageContext:
    plan = toy_plan(Path("data"), Path("runs"))
    plan["model"] = {"size": "pico", "resolution": 64, "groups": 2, **model}
    data = SimpleNamespace(classes=("cell", "rod"), most_objects=objects)
    plan = Plan.model_validate(plan)
    say = (lines if lines is not None else []).append
    return StageContext(plan, plan.stages[0], data, "cpu", Path("x"), say)


def weights_of(spec: ModelSpec) -> ModelWeights:
    return ModelWeights({}, spec.classes, spec.channel_names, "parent", card=Card(spec=spec))


def test_options_of_the_plan_win_over_those_of_the_weights():
    parent = spec_of(context(queries=30), None)
    assert spec_of(context(), weights_of(parent)).options["queries"] == 30
    assert spec_of(context(queries=20), weights_of(parent)).options["queries"] == 20


def test_options_of_a_stage_that_goes_on_win_over_all():
    parent = spec_of(context(queries=30), None)
    resumed = {**parent.options, "queries": 25}
    assert spec_of(context(), weights_of(parent), resumed).options["queries"] == 25


def test_no_option_is_left_open_and_classes_are_the_datas():
    spec = spec_of(context(), None)
    assert spec.classes == ("cell", "rod") and spec.channels == RGB
    assert all(spec.options[name] is not None for name in ("queries", "groups", "resolution"))


def test_weights_of_another_size_are_refused():
    parent = spec_of(context(), None).model_copy(update={"size": "nano"})
    with pytest.raises(HandoverError, match="a rfdetr nano model; expected rfdetr pico"):
        spec_of(context(), weights_of(parent))


def test_a_channel_that_meant_something_else_is_warned_of():
    parent = spec_of(context(), None)
    scaled = tuple(channel.model_copy(update={"scale": 4095.0}) for channel in RGB)
    lines: list[str] = []
    spec_of(context(lines), weights_of(parent.model_copy(update={"channels": scaled})))
    warnings = [line for line in lines if "meant something else before" in line]
    assert len(warnings) == 3 and "channel r" in warnings[0] and "scale 4095.0" in warnings[0]
