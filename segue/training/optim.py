"""Optimizer groups by part, learning rates over time, and the moving average of weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from segue.models.parts.chain import Chain
from segue.settings import Settings

UNDECAYED = ("position_embeddings", "cls_token", "mask_token")
BLOCK = re.compile(r"\.(?:layers?|blocks|stages)\.(\d+)\.")


class Optimizer(Settings):
    """AdamW, with the learning rate of a part multiplied by its factor.

    layer_decay: in the backbone, each block further from the output learns this much slower than the next.
    clip: largest norm of the whole gradient; 0 leaves it alone.
    """

    lr: float = Field(1e-4, gt=0)
    lr_factors: dict[str, float] = Field(default_factory=dict)
    layer_decay: float = Field(1.0, gt=0, le=1)
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(0.1, ge=0)


class Schedule(Settings):
    """How the learning rate moves, as a factor of each group's own.

    cosine falls to `floor` at the end. step multiplies by `factor` at each fraction of the stage in `at`.
    thaw_warmup_epochs: over how many epochs the rate of a part rises once it is thawed.
    plateau multiplies by `factor` after `patience` epochs in which the stage's metric did not improve.
    """

    kind: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0)
    thaw_warmup_epochs: float = Field(0.0, ge=0)
    floor: float = Field(0.0, ge=0, le=1)
    factor: float = Field(0.1, gt=0, lt=1)
    at: tuple[float, ...] = (0.8,)
    patience: int = Field(4, ge=1)

    def at_step(self, step: int, steps: int, steps_per_epoch: int, drops: int = 0) -> float:
        """The factor for optimizer step `step` (from 0) of `steps`. drops: how often a plateau was met."""
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1.0, steps - warmup)
        if self.kind == "cosine":
            return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if self.kind == "step":
            return self.factor ** sum(step >= at * steps for at in self.at)
        return self.factor**drops if self.kind == "plateau" else 1.0

    def after_thaw(self, steps_since: int, steps_per_epoch: int) -> float:
        """A further factor for a group that was thawed this many steps ago."""
        return min(1.0, (steps_since + 1) / (self.thaw_warmup_epochs * steps_per_epoch + 1))


def build(chain: Chain, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW over the learning parts, in few groups; each group keeps its own rate as `base_lr`."""
    return torch.optim.AdamW(groups_of(chain, settings))


def extend(optimizer: torch.optim.Optimizer, chain: Chain, settings: Optimizer, step: int) -> None:
    """Add what learns since a thaw at optimizer step `step`, in groups of its own; the others keep their state."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for group in groups_of(chain, settings):
        group["params"] = [p for p in group["params"] if id(p) not in held]
        if group["params"]:
            optimizer.add_param_group({**group, "thawed_at": step})


def groups_of(chain: Chain, settings: Optimizer) -> list[dict[str, Any]]:
    """The learning parameters by rate and decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in chain.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if parameter.dim() <= 1 or name.endswith(UNDECAYED) else settings.weight_decay
            groups.setdefault((rate(chain, name, settings), decay), []).append(parameter)
    return [
        {"params": parameters, "lr": lr, "base_lr": lr, "weight_decay": decay, "thawed_at": 0}
        for (lr, decay), parameters in groups.items()
    ]


def rate(chain: Chain, name: str, settings: Optimizer) -> float:
    """The base learning rate of one parameter."""
    part = name.split(".", 1)[0]
    lr = settings.lr * settings.lr_factors.get(part, 1.0)
    if part != chain.order[0] or settings.layer_decay == 1.0:
        return lr
    depths = [int(m[1]) for n, _ in chain.part(part).named_parameters(part) if (m := BLOCK.search(n))]
    last = max(depths, default=0) + 1
    found = BLOCK.search(name)
    # what comes before the first block counts as deepest, what comes after the last as shallowest
    depth = int(found[1]) if found else (-1 if "embed" in name else last)
    return lr * settings.layer_decay ** (last - depth)


class Ema:
    """An exponential moving average of the learning weights (and their buffers); frozen ones are not in it.

    The average moves by `lerp`, so that weights which do not change keep every bit. Its decay grows from 0 to
    `decay` over about `ramp` steps.
    """

    def __init__(self, chain: Chain, decay: float, ramp: float = 100.0) -> None:
        self.decay, self.ramp, self.steps = decay, ramp, 0
        self.average = {name: tensor.detach().clone() for name, tensor in _learning(chain).items()}

    @torch.no_grad()
    def update(self, chain: Chain) -> None:
        self.steps += 1
        weight = 1 - self.decay * (1 - math.exp(-self.steps / self.ramp))
        for name, tensor in _learning(chain).items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor.detach(), weight)
            else:
                self.average[name].copy_(tensor)

    def extend(self, chain: Chain) -> None:
        """Follow what learns since a thaw, from what it is now."""
        for name, tensor in _learning(chain).items():
            self.average.setdefault(name, tensor.detach().clone())

    @contextmanager
    def applied(self, chain: Chain) -> Iterator[None]:
        """The chain with averaged weights, for evaluating and saving; put back afterwards, bit for bit."""
        self._swap(chain)
        try:
            yield
        finally:
            self._swap(chain)

    @torch.no_grad()
    def _swap(self, chain: Chain) -> None:
        for name, tensor in _learning(chain).items():
            kept = tensor.detach().clone()
            tensor.copy_(self.average[name])
            self.average[name] = kept

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
        for name, tensor in state["average"].items():
            self.average[name].copy_(tensor)


def _learning(chain: Chain) -> dict[str, Tensor]:
    """Weights and buffers of the parts that learn; the live tensors, not copies."""
    return dict(chain.named_tensors(chain.learning))
