"""What other people's code may import stays where it is, whatever moves behind it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import segue

# Module and names, as 0.1.0 had them; new names may come, none of these may go.
PUBLIC = {
    "segue": ["Detections", "Plan", "SegueError", "load", "load_plan", "run_plan"],
    "segue.errors": [
        "CheckpointError",
        "DataError",
        "HandoverError",
        "Interrupted",
        "NonFiniteError",
        "OutOfMemoryError",
        "PlanError",
        "SegueError",
        "TrainingError",
    ],
    "segue.plan": ["Data", "Model", "Plan", "StagePlan", "load_plan"],
    "segue.rfdetr": [
        "Found",
        "RFDETRBase",
        "RFDETRLarge",
        "RFDETRMedium",
        "RFDETRNano",
        "RFDETRPico",
        "RFDETRSmall",
    ],
    "segue.run": ["run_plan"],
    "segue.cli": ["main"],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_importable(module: str) -> None:
    home = importlib.import_module(module)
    assert [name for name in PUBLIC[module] if not hasattr(home, name)] == []


def test_the_package_lists_its_names_and_loads_none_of_them_unasked() -> None:
    assert sorted(segue.__all__) == PUBLIC["segue"] and set(PUBLIC["segue"]) <= set(dir(segue))
    script = "import sys, segue, segue.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
