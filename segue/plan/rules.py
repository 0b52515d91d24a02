"""What a stage may not say of the plan's family and data, though it makes sense alone.

A rule looks at one stage and raises ValueError, which pydantic turns into a complaint with its
place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from segue import models
from segue.errors import PlanError
from segue.models.parts.chain import span
from segue.plan.stage import StagePlan
from segue.structures.channels import Channel, rows_of

MASK_TERMS = ("mask_bce", "dice", "mask")
BLOCK_KEYS = ("freeze", "thaw")  # may name some blocks of a part


@contextmanager
def in_stage(name: str) -> Iterator[None]:
    """Around rules for one stage of several.

    Raises:
        ValueError: of the rule that was broken, behind the stage's name.
    """
    try:
        yield
    except PlanError:
        raise  # of the family itself, which all stages share
    except ValueError as error:
        raise ValueError(f"stage {name}: {error}") from None


def task_is_trainable(stage: StagePlan, family: str) -> None:
    tasks = models.get(family).TASKS
    if stage.task not in tasks:
        hint = " or ".join(f"task: {task}" for task in tasks)
        raise ValueError(f"task: {stage.task}: {family} has {hint}")


def loss_terms_exist(stage: StagePlan, family: str) -> None:
    terms = [t for t in models.get(family).TERMS if stage.with_masks or t not in MASK_TERMS]
    for name, weight in stage.loss.items():
        if name not in terms or weight < 0:
            hint = f"task: {stage.task} has {', '.join(terms)}, at least 0 each"
            raise ValueError(f"loss: {name}: {weight}; {hint}")


def parts_exist(stage: StagePlan, family: str) -> None:
    """Every part, or place in one, that a setting names is one of the chain's."""
    parts = models.get(family).PARTS
    for key, name in stage.places():
        try:
            span(name, parts)
        except PlanError as error:
            raise ValueError(f"{key}: {error.found}; {error.expected}") from None
        if "." in name and key not in BLOCK_KEYS:
            raise ValueError(f"{key}: {name} is only some blocks of a part")


def something_learns(stage: StagePlan, family: str) -> None:
    """Freezing leaves parts that the task has a loss for, and freezes no random weights."""
    parts, tasks = models.get(family).PARTS, models.get(family).TASKS
    if stage.task == "masks" and stage.freeze != parts[-2]:
        hint = f"freeze: {parts[-2]}, or task: joint to train both"
        raise ValueError(f"task: masks trains the mask head alone; {hint}")
    if stage.freeze is None:
        return
    boundary = span(stage.freeze, parts)[1]  # positions up to it do not learn
    # a family that finds boxes only has no mask head to leave out
    last = parts[-1] if stage.with_masks or tuple(tasks) == ("boxes",) else parts[-2]
    if boundary > parts.index(last):
        raise ValueError(f"freeze: {stage.freeze} leaves nothing that learns")
    random = [part for part in stage.fresh if parts.index(part) < boundary]
    if random:
        raise ValueError(f"fresh: {random[0]} would be frozen with new, random weights")


def thaws_follow(stage: StagePlan, family: str) -> None:
    """Each thaw happens within the stage, and moves the boundary of what is frozen further back."""
    parts = models.get(family).PARTS
    frozen = 0.0 if stage.freeze is None else span(stage.freeze, parts)[1]
    for epoch, thaw in sorted(stage.thaw.items()):
        where = f"thaw: {epoch}: {thaw.part}"
        if stage.task == "masks":
            raise ValueError(f"{where}: task: masks has no loss for the detector; use task: joint")
        if epoch < 1 or (stage.epochs is not None and epoch >= stage.epochs):
            raise ValueError(f"{where} never happens: the stage has epochs 1 to {stage.epochs}")
        position, _ = span(thaw.part, parts)
        if position >= frozen:
            raise ValueError(f"{where}: {thaw.part} is not frozen then")
        frozen = position


def dropped_channels_exist(stage: StagePlan, channels: Sequence[Channel]) -> None:
    """augment.drop names channels there are, and leaves one."""
    for name in stage.augment.drop if stage.augment else ():
        try:
            dropped = len(rows_of(name, channels))
        except PlanError as error:
            raise ValueError(f"augment.drop: {error.found}; {error.expected}") from None
        if dropped == len(channels):
            raise ValueError(f"augment.drop: {name} would leave no channel")
