"""segue trains object detectors and instance-segmentation models in stages.

The public names below are imported when first used, so that `import segue` and `segue --help` stay
light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what _HOMES imports when first used, for type checkers
    from segue.errors import SegueError
    from segue.inference.loading import load
    from segue.plan import Plan, load_plan
    from segue.run import run_plan
    from segue.structures.detections import Detections

__version__ = "0.1.0"

_HOMES = {
    "Detections": "segue.structures.detections",
    "Plan": "segue.plan",
    "SegueError": "segue.errors",
    "load": "segue.inference.loading",
    "load_plan": "segue.plan",
    "run_plan": "segue.run",
}
__all__ = ["Detections", "Plan", "SegueError", "load", "load_plan", "run_plan"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'segue' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
