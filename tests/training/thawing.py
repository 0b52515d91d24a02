"""A stage that thaws part after part, for the tests of this room."""

from __future__ import annotations

from tests.conftest import toy_plan

TUNE = {
    "name": "tune",
    "task": "boxes",
    "epochs": 4,
    "freeze": "projector",
    "thaw": {1: "projector", 3: "backbone"},
}


def plan_of(rendered, folder, parent, **changes) -> dict:
    plan = toy_plan(
        rendered, folder, detector={**TUNE, "start": str(parent), "save_every_steps": 1, **changes}
    )
    plan["stages"] = plan["stages"][:1]
    return plan
