"""Plans as people write them, and the place of every complaint."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from segue.errors import PlanError
from segue.plan.reading import load_plan, parse

PLAN = """\
name: toy
data: {root: dataset}
model:
  size: pico
stages:
  - name: detector
    task: boxes
    epochs: 5
    optimizer: {lr: 1e-4}
  - name: masks
    task: masks
    freeze: decoder
    fresh: [mask_head]
    epochs: 5
"""


def complaint(text: str, *overrides: str) -> str:
    with pytest.raises(PlanError) as caught:
        parse(text, "plan.yaml", overrides)
    return caught.value.message


def test_an_override_changes_one_of_several_places_that_yaml_aliases_share():
    text = """
data: {root: d}
stages:
  - {name: a, epochs: 1, optimizer: &shared {lr: 1e-3}}
  - {name: b, epochs: 1, optimizer: *shared}
"""
    plan = parse(text, "plan.yaml", ("stages.b.optimizer.lr=1e-4",))
    assert [stage.optimizer.lr for stage in plan.stages] == [1e-3, 1e-4]


def test_a_plan_is_read_with_defaults_for_what_it_leaves_out():
    plan = parse(PLAN, "plan.yaml")
    assert plan.stages[0].optimizer.lr == 1e-4 and plan.stages[1].images_per_step == 16
    assert plan.start_of(plan.stages[1]) == "detector" and plan.start_of(plan.stages[0]) is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "epochs: 5\n    opt",
            "epoch: 5\n    opt",
            "plan.yaml:8:5: stages.0.epoch: unknown key 'epoch'; did you mean",
        ),
        ("size: pico", "sise: pico", "sise"),
        ("lr: 1e-4", "lr: fast", "plan.yaml:9:17: stages.0.optimizer.lr: "),
        ("task: boxes", "task: box", "plan.yaml:7:5: stages.0.task: "),
        (
            "epochs: 5\n",
            "epochs: 5\n    batch_size: 4\n",
            "'batch_size'; did you mean 'images_per_step'?",
        ),
        ("freeze: decoder", "freeze: decodr", "no part 'decodr'; did you mean 'decoder'?"),
        ("name: masks", "name: detector", "two stages are called detector"),
        ("    epochs: 5\n    opt", "    opt", "needs either epochs or steps"),
        ("data: {root: dataset}\n", "", "data: missing"),
        ("name: toy", "name: ../toy", "plan.yaml:1:1: name: "),
        (
            "size: pico",
            "size: pico\n  size: nano",
            "plan.yaml:5:3: the key 'size' stands here a second time",
        ),
        ("data: {root", "data: {root: [", "plan.yaml:"),
        (
            "freeze: decoder",
            "cache: {views: 2}",
            "cache keeps what frozen parts compute, but freeze is not set",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(old, new, words):
    assert old in PLAN
    message = complaint(PLAN.replace(old, new, 1))
    assert words in message
    assert "Traceback" not in message and "pydantic" not in message


def test_all_mistakes_are_listed_at_once():
    message = complaint(PLAN.replace("task: boxes", "task: box").replace("epochs: 5", "epochs: -1"))
    assert message.startswith("plan.yaml: 3 problems\n") and message.count("plan.yaml:") == 4


def test_overrides_reach_into_stages_by_name_and_number():
    plan = parse(
        PLAN,
        "x",
        ("stages.masks.epochs=9", "stages.0.optimizer.lr=1e-3", "model.size=nano", "wandb="),
    )
    assert plan.stages[1].epochs == 9 and plan.stages[0].optimizer.lr == 1e-3
    assert plan.model.size == "nano" and plan.wandb is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.mask.epochs=9", "no stage 'mask'; expected one of detector, masks"),
        ("epochs", "no '='; expected key=value"),
        ("modell.size=nano", "unknown key 'modell'; did you mean 'model'?"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(override, words):
    assert words in complaint(PLAN, override)


@pytest.mark.parametrize(
    "text", ["", "just words", "- a\n- b", "a: &x [*x]", "a: !!python/object/new:os.system [ls]"]
)
def test_what_is_no_plan_is_one_complaint(text):
    assert complaint(text)


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(PlanError, match="no such file; expected a plan; next: segue init"):
        load_plan(tmp_path / "plan.yaml")
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="not readable"):
        load_plan(tmp_path / "plan.yaml")


@given(some.text(max_size=200))
def test_any_text_is_a_plan_or_a_complaint(text):
    with contextlib.suppress(PlanError):
        parse(text, "plan.yaml")
