"""A detector, and a stage that began with it and thawed; trained once for the tests of this
room.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from segue.models import ModelSpec, rfdetr
from segue.models.parts.chain import Chain
from tests.conftest import toy_plan
from tests.toy import run
from tests.training.thawing import plan_of


@pytest.fixture(scope="session")
def parent(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = toy_plan(rendered, tmp_path_factory.mktemp("parent"), detector={"epochs": 1})
    return run(plan, "detector") / "1-detector" / "selected"


@pytest.fixture(scope="session")
def whole(rendered: Path, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return run(plan_of(rendered, folder, parent), drawn=True) / "1-tune"


@pytest.fixture
def chain() -> Chain:
    """A small detector with a mask head, new."""
    options, _ = rfdetr.resolve_options(
        rfdetr.Options(groups=2, queries=10), rfdetr.SIZES["pico"], 5, "cpu"
    )
    spec = ModelSpec(family="rfdetr", size="pico", classes=("a", "b"), options=options.model_dump())
    torch.manual_seed(0)
    return rfdetr.build(spec, masks=True)
