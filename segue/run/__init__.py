"""Running a plan.

Open `runner` first; `build` makes what a stage trains, `folder` is what lies on disk.
"""

from segue.run.runner import run_plan

__all__ = ["run_plan"]
