"""A step that became NaN or infinite: kept whole when it happens, and run again to see where that
begins.

Kept is a checkpoint folder whose weights are those the step began with, because none moves before
the step is known to be finite, and whose state is the rest of what it began with: images and
targets as the model saw them, and random numbers. Of several processes each keeps its share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, ValuesView
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segue.errors import NonFiniteError
from segue.models.parts.chain import Chain
from segue.models.weights.card import Card
from segue.structures.target import Batch
from segue.training import checkpoint, processes
from segue.training.cache import target_bytes, target_from
from segue.training.learner import Learner, set_random_state
from segue.training.loop import StepSnapshot, accumulate, not_finite

FOLDER = "bad-step"


def keep(
    stage: Path,
    learner: Learner,
    card: Callable[[], Card],
    images: Sequence[Path],
    step: StepSnapshot,
    error: NonFiniteError,
) -> NonFiniteError:
    """Write the step into the stage's folder; returns the error to end with, which says how to run
    it again.

    images: files of the training part, by position.
    """
    folder, progress = stage / FOLDER, learner.progress
    if processes.world() > 1:
        folder = folder.with_name(f"{FOLDER}-{processes.rank()}")
    state = {
        "found": error.found,
        "epoch": progress.epoch,
        "step": progress.step,
        "images_per_forward": progress.images_per_forward,
        "frozen_to": float(learner.chain.frozen_to),
        "device": learner.device,
        "scaler": learner.scaler.state_dict(),
        "rng": step.rng,
        "inputs": step.batch.inputs,
        "targets": [
            torch.frombuffer(bytearray(target_bytes(t)), dtype=torch.uint8)
            for t in step.batch.targets
        ],
        "keys": [str(target.key) for target in step.batch.targets],
        "images": [str(images[target.record]) if images else "" for target in step.batch.targets],
    }
    run = f"segue inspect {folder}, which runs that step again; often a lower optimizer.lr helps"
    try:
        checkpoint.write(folder, learner.chain.state_dict(), card(), state)
    except (OSError, NonFiniteError) as why:
        run = f"a lower optimizer.lr (the step could not be kept: {why})"
    where = f"{stage}, epoch {progress.epoch + 1}, step {progress.step + 1}"
    return NonFiniteError(where, error.found, "finite values", run)


def is_one(folder: Path) -> bool:
    """Whether a folder holds a step that was kept."""
    return folder.name.startswith(FOLDER) and (folder / checkpoint.STATE).is_file()


def snapshot_from(state: dict[str, Any]) -> StepSnapshot:
    """What the step began with, from what `keep` wrote."""
    targets = [target_from(packed.numpy().tobytes()) for packed in state["targets"]]
    targets = [
        replace(target, key=int(key)) for target, key in zip(targets, state["keys"], strict=True)
    ]
    return StepSnapshot(Batch(state["inputs"], targets), state["rng"])


@dataclass(frozen=True, slots=True)
class Again:
    """What a step gave when it was run again.

    found: what was not finite, "" if all was. terms: the loss and its terms, of the step and, one
    by one, of each of its images; {} where not even they could be computed. first: the module whose
    output is the first that is not finite while its inputs are, "" if there is none. gradients: the
    parameters whose gradient is not finite.
    """

    found: str
    terms: dict[str, float]
    of_images: list[dict[str, float]]
    first: str
    gradients: list[str]


def run_again(learner: Learner, step: StepSnapshot) -> Again:
    """Forward, loss and backward of the step as it was, and of each of its images alone; no weight
    moves.
    """
    learner.chain.train()
    with first_not_finite(learner.chain) as first:
        message, terms = _attempt(learner, step.batch, step.rng)
    gradients = [
        name
        for name, p in learner.chain.named_parameters()
        if p.grad is not None and not bool(p.grad.isfinite().all())
    ]
    bad = not_finite(terms) or (["the gradient"] if gradients else [])
    if not message and bad:
        message = f"{', '.join(bad)} became NaN or infinite"
    alone = [_attempt(learner, part, step.rng)[1] for part in step.batch.split(1)]
    return Again(message, terms, alone, first[0] if first else "", gradients)


def _attempt(
    learner: Learner, batch: Batch, rng: dict[str, Tensor]
) -> tuple[str, dict[str, float]]:
    set_random_state(rng, learner.device)
    learner.optimizer.zero_grad(set_to_none=True)
    try:
        return "", accumulate(learner, batch, batch.counts())
    except NonFiniteError as error:
        return error.found, {}


@contextmanager
def first_not_finite(chain: Chain) -> Iterator[list[str]]:
    """Names of the modules, in order, that put out NaN or infinity while all they were given was
    finite.
    """
    modules: list[str] = []

    def look(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, given, output: (
            modules.append(name) if _finite(given) and not _finite(output) else None
        )

    hooks = [
        module.register_forward_hook(look(name)) for name, module in chain.named_modules() if name
    ]
    try:
        yield modules
    finally:
        for hook in hooks:
            hook.remove()


def _finite(values: Any) -> bool:
    if isinstance(values, Tensor):
        return not values.is_floating_point() or bool(values.isfinite().all())
    if isinstance(values, dict):
        values = values.values()
    return all(map(_finite, values)) if isinstance(values, (list, tuple, ValuesView)) else True
