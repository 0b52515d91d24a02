"""One stage of a plan with all that its functions have to know: handed on whole, never changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segue.data.dataset import DataSet
from segue.plan.schema import Plan, StagePlan
from segue.structures.seeds import seed_for


@dataclass(frozen=True, slots=True)
class StageContext:
    """One stage, its data, and where it is trained.

    device: of this process, such as "cuda:0". folder: where the stage keeps its checkpoints and its
    cache; where nothing is trained, any folder on the disk they would be on. say: shows a line to a
    person.
    """

    plan: Plan
    stage: StagePlan
    data: DataSet
    device: str
    folder: Path
    say: Callable[[str], None]

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def steps_per_epoch(self) -> int:
        """Updates of the weights in one pass over the train split."""
        return -(-len(self.data.splits["train"].records) // self.stage.images_per_step)

    @property
    def last(self) -> Path:
        """The checkpoint that a stopped stage goes on from."""
        return self.folder / "last"

    def report(self, line: str) -> None:
        """Show a line, with the stage's name before it."""
        self.say(f"{self.name}: {line}")


def stage_seed(plan: Plan, stage: StagePlan) -> int:
    """What all randomness of a stage follows from."""
    return seed_for(plan.seed, stage.name)
