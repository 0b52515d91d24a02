"""Everything that changes while a stage trains, and nothing else: what a checkpoint must hold to go
on exactly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from segue.models.parts.chain import Chain
from segue.structures.target import Target
from segue.training import optim
from segue.training.ema import Ema


class Loss(Protocol):
    """A family's loss: sums for any part of a step, and the number they make once the whole step is
    known.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that are computed."""
        ...

    def __call__(self, predictions: Any, targets: list[Target]) -> dict[str, Tensor]: ...

    def total(self, sums: dict[str, Tensor], counts: dict[str, float]) -> Tensor: ...


@dataclass(slots=True)
class Progress:
    """Where a stage is. epoch and step (of the epoch) point at the next step to do; steps counts
    all done.

    images_per_forward may have been lowered by running out of memory. evaluated: steps that were
    done at the last evaluation. best and stale: the metric's best value, and evaluations since;
    drops: how often a plateau lowered the learning rate. thawed: where each thaw moved the boundary
    ("position") and with what "lr_factor", by the step it happened at.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    images_per_forward: int = 1
    evaluated: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    drops: int = 0
    skipped: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    thawed: dict[int, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Learner:
    """A model with all that trains it.

    seed: of the stage; every random draw of a step follows from it.
    """

    chain: Chain
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: optim.Schedule
    ema: Ema | None
    scaler: torch.amp.GradScaler
    progress: Progress
    device: str
    precision: torch.dtype
    settings: optim.Optimizer
    seed: int
    scales: tuple[int, ...] = ()

    def thaw(self, position: float, lr_factor: float | None = None, warmup: float = 0.0) -> None:
        """Move the boundary of what is frozen to `position`. Nothing changes for what has learned
        before.

        lr_factor: of what begins to learn, instead of its part's. warmup: steps over which its rate
        rises.
        """
        settings = self.settings
        if lr_factor is not None:
            factors = dict.fromkeys(self.chain.order, lr_factor)
            settings = settings.model_copy(update={"lr_factors": factors})
        self.chain.freeze_to(position)
        noted = {"thawed_at": self.progress.steps, "warmup": warmup, "drops": self.progress.drops}
        optim.extend(self.optimizer, self.chain, settings, noted)
        if self.ema is not None:
            self.ema.extend(self.chain)
        self.progress.thawed[self.progress.steps] = {"position": position, "lr_factor": lr_factor}
        self.progress.stale = 0  # what did not help so far says nothing of what learns now

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, so that torch's weights-only loader reads it."""
        state: dict[str, Any] = {
            "progress": asdict(self.progress),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": random_state(self.device),
        }
        if self.ema is not None:
            state["ema"] = self.ema.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for step, thawed in state["progress"]["thawed"].items():
            self.progress.steps = step
            self.thaw(**thawed)
        self.progress = Progress(**state["progress"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # of a device without half precision it is empty
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        set_random_state(state["rng"], self.device)


def random_state(device: str) -> dict[str, Tensor]:
    """The states of the generators that a step draws from (dropout), by "cpu" and "cuda"."""
    states = {"cpu": torch.get_rng_state()}
    return states | (
        {"cuda": torch.cuda.get_rng_state(device)} if device.startswith("cuda") else {}
    )


def set_random_state(states: dict[str, Tensor], device: str) -> None:
    """Draw the numbers again that follow `states`."""
    torch.set_rng_state(states["cpu"])
    if device.startswith("cuda") and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
