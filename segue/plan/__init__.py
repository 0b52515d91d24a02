"""Plans: what a run does, as validated data (`schema`), read from YAML (`reading`); `recipes` are
those we ship.
"""

from segue.plan.reading import load_plan
from segue.plan.schema import Data, Model, Plan, StagePlan

__all__ = ["Data", "Model", "Plan", "StagePlan", "load_plan"]
