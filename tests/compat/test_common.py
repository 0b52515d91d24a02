"""What the recipes share: refusals with a plan's keys, options, and exit codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.compat.common import chosen, main, plain, plan_errors
from segue.data.dataset import Data
from segue.errors import DataError, PlanError
from segue.models import rfdetr
from segue.plan.schema import Plan, StagePlan
from segue.structures.channels import RGB
from segue.training.optim import Optimizer


@pytest.mark.parametrize(
    ("build", "words"),
    [
        # pyrefly: ignore[bad-argument-type]  # what is refused is the subject
        (lambda: Optimizer(lr=-1), "here: stages.0.optimizer.lr: Input should be greater than 0"),
        (lambda: StagePlan(name="a"), "here: stages.0: needs either epochs or steps"),
        (lambda: Data(root=Path("a"), channels=(*RGB, RGB[0])), "here: data: channels: two are"),
        # pyrefly: ignore[bad-argument-type]  # what is refused is the subject
        (lambda: rfdetr.Options(queries=0), "here: model.queries: Input should be greater than 0"),
        (lambda: Plan(data=Data(root=Path("a")), stages=()), "here: stages: needs at least one"),
    ],
)
def test_what_a_setting_refuses_is_said_with_the_plans_key(
    build: Callable[..., Any], words: str
) -> None:
    with pytest.raises(PlanError) as refusal, plan_errors("here"):
        build()
    assert refusal.value.message.startswith(words)


def test_settings_that_are_not_part_of_a_plan_have_their_own_keys() -> None:
    with pytest.raises(PlanError) as refusal, plan_errors("here", Data):
        Data()
    assert refusal.value.message.startswith("here: needs root: FOLDER")


def test_our_own_errors_pass_as_they_are() -> None:
    with pytest.raises(DataError, match="elsewhere"), plan_errors("here"):
        raise DataError("elsewhere", "nothing", "something")


def test_only_options_that_were_given_stand_in_a_plan() -> None:
    options = rfdetr.Options(resolution=None, queries=30)
    assert chosen(options) == {"queries": 30}


def test_flags_are_plain_values_for_json() -> None:
    assert plain({"data": Path("a/b"), "epochs": 3}) == {"data": "a/b", "epochs": 3}


@pytest.mark.parametrize(("result", "code"), [(None, 0), (1, 1)])
def test_a_command_ends_with_what_it_returns(result: int | None, code: int) -> None:
    with pytest.raises(SystemExit) as end:
        main(lambda: result)
    assert (end.value.code or 0) == code


def test_an_error_is_one_line_with_the_name_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise DataError("a.json", "no images", "at least one")

    monkeypatch.setattr("sys.argv", ["scripts/thaw/train.py"])
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 2
    assert "a.json: no images; expected at least one" in capsys.readouterr().err
