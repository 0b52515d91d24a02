"""Going on with a stage that was stopped, from its newest whole checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from segue.errors import CheckpointError
from segue.training import checkpoint, processes
from segue.training.learner import Learner


def model_options(last: Path) -> dict[str, Any] | None:
    """Options of the model that a stage has begun with, perhaps on another device, which would
    suggest others; None if it has saved nothing yet.
    """
    try:
        return checkpoint.read_card(last).spec.options
    except CheckpointError:
        return None  # `resume` says what is wrong with it


def resume(
    learner: Learner,
    stage: str,
    last: Path,
    images_per_forward: int | None,
    say: Callable[[str], None],
) -> None:
    """Go on from the newest whole checkpoint of this stage, if there is one: weights, optimizer,
    EMA, progress and random numbers are those it was saved with.

    stage: its name. images_per_forward: the micro-batch of the plan; if it leaves it open, the one
    that was saved, which memory may have made smaller.

    Raises:
        CheckpointError: if it is another stage's or another model's.
    """
    newest, messages = checkpoint.recover(last) if processes.rank() == 0 else (None, [])
    for line in messages:
        say(line)
    # waits for the first process, which may have to move folders
    if not processes.anywhere(newest is not None):
        return
    card, tensors = checkpoint.read(last)
    # a card's tuples are lists
    specs = [spec.model_dump(mode="json") for spec in (card.spec, learner.chain.spec)]
    if card.stage != stage or specs[0] != specs[1]:
        message = f"of stage {card.stage}, a {card.spec.family} {card.spec.size} model"
        raise CheckpointError(
            last, message, f"what {stage} has saved", "remove it, and the same command again"
        )
    learner.chain.load_state_dict(tensors)
    learner.load_state_dict(checkpoint.read_state(last))
    if images_per_forward is not None:
        learner.progress.images_per_forward = images_per_forward
    say(f"{stage}: resuming from {last} at epoch {card.epoch + 1}, step {card.step}")
