"""Weights that a stage starts from: of finished stages, with every class row named."""

from __future__ import annotations

import pytest
import torch

from segue.errors import HandoverError
from segue.models import ModelSpec
from segue.plan.schema import Model, Plan
from segue.run.folder import RunFolder
from segue.run.opening import open_weights, start_weights
from segue.training import checkpoint
from tests.conftest import toy_plan

SPEC = ModelSpec(family="rfdetr", size="pico", classes=("cell", "rod"))


def written(folder, complete: bool = True):
    card = checkpoint.Card(spec=SPEC, stage="detector", complete=complete)
    checkpoint.write(folder, {"w": torch.ones(3)}, card)
    return folder


def test_a_checkpoint_brings_its_class_names(tmp_path):
    weights = open_weights(str(written(tmp_path / "selected")), Model())
    assert tuple(weights.classes) == ("cell", "rod") and torch.equal(
        weights.tensors["w"], torch.ones(3)
    )


def test_a_checkpoint_of_a_stage_that_did_not_finish_is_refused(tmp_path):
    with pytest.raises(HandoverError, match="stage detector was not finished"):
        open_weights(str(written(tmp_path / "selected", complete=False)), Model())


@pytest.mark.parametrize(
    ("names", "words"),
    [(("cell",), "2 class rows, 1 in the plan"), (("rod", "cell"), "other class names: cell, rod")],
)
def test_names_of_the_plan_do_not_win_over_those_of_a_card(tmp_path, names, words):
    source = str(written(tmp_path / "selected"))
    with pytest.raises(HandoverError, match=words):
        open_weights(source, Model(weights_classes=names))
    assert open_weights(source, Model(weights_classes=("cell", "rod"))).classes == ("cell", "rod")


def test_a_first_stage_without_weights_starts_new_and_a_second_from_the_first(tmp_path):
    plan = Plan.model_validate(toy_plan(tmp_path / "data", tmp_path / "runs"))
    run = RunFolder.open(plan, ["a", "a"])
    assert start_weights(run, plan.stages[0]) is None
    with pytest.raises(HandoverError, match="stage detector: is not begun"):
        start_weights(run, plan.stages[1])
    run.begin(plan.stages[0], "k")
    written(run.selected(plan.stages[0]))
    run.end(plan.stages[0], "complete", None)
    assert start_weights(run, plan.stages[1]).card.stage == "detector"
