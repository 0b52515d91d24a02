"""A stage that thaws part after part, for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import toy_plan

TUNE = {
    "name": "tune",
    "task": "boxes",
    "epochs": 4,
    "freeze": "projector",
    "thaw": {1: "projector", 3: "backbone"},
}


def plan_of(rendered: Path, folder: Any, parent: Path | str, **changes: Any) -> dict[str, Any]:
    plan = toy_plan(
        rendered, folder, detector={**TUNE, "start": str(parent), "save_every_steps": 1, **changes}
    )
    plan["stages"] = plan["stages"][:1]
    return plan
