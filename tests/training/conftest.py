"""A detector, and a stage that began with it and thawed; trained once for the tests of this
room.
"""

from __future__ import annotations

import pytest

from tests.conftest import toy_plan
from tests.toy import run
from tests.training.thawing import plan_of


@pytest.fixture(scope="session")
def parent(rendered, tmp_path_factory):
    plan = toy_plan(rendered, tmp_path_factory.mktemp("parent"), detector={"epochs": 1})
    return run(plan, "detector") / "1-detector" / "selected"


@pytest.fixture(scope="session")
def whole(rendered, parent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return run(plan_of(rendered, folder, parent), drawn=True) / "1-tune"
