"""Optimizer groups by part, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from segue.base.settings import Settings
from segue.models.parts.chain import Chain, block_numbers

UNDECAYED = (
    "position_embeddings",
    "pos_embed",
    "cls_token",
    "mask_token",
    "reg_token",
    "dist_token",
)


class Optimizer(Settings):
    """AdamW, or SGD with its `momentum`; the learning rate of a part is multiplied by its factor.

    layer_decay: in the backbone, each block further from the output learns this much slower than
    the next. clip: largest norm of the whole gradient; 0 leaves it alone.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-4, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    lr_factors: dict[str, float] = Field(default_factory=dict)
    layer_decay: float = Field(1.0, gt=0, le=1)
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(0.1, ge=0)


class Schedule(Settings):
    """Learning-rate schedule: how the learning rate moves, as a factor of each group's own.

    cosine falls to `floor` at the end. step multiplies by `factor` at each fraction of the stage in
    `at`, or, if it is given, after every `every_epochs` epochs. thaw_warmup_epochs: over how many
    epochs the rate of a part rises once it is thawed, unless its thaw says. plateau multiplies by
    `factor` after `patience` epochs in which the stage's metric did not improve.
    """

    kind: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0)
    thaw_warmup_epochs: float = Field(0.0, ge=0)
    floor: float = Field(0.0, ge=0, le=1)
    factor: float = Field(0.1, gt=0, lt=1)
    at: tuple[float, ...] = (0.8,)
    every_epochs: int | None = Field(None, ge=1)
    patience: int = Field(4, ge=1)

    def at_step(self, step: int, steps: int, steps_per_epoch: int, drops: int = 0) -> float:
        """The factor for optimizer step `step` (from 0) of `steps`.

        drops: how often a plateau lowered the rate.
        """
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1.0, steps - warmup)
        if self.kind == "cosine":
            return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        if self.kind == "step" and self.every_epochs is not None:
            return self.factor ** (step // (self.every_epochs * steps_per_epoch))
        if self.kind == "step":
            return self.factor ** sum(step >= at * steps for at in self.at)
        return max(self.floor, self.factor**drops) if self.kind == "plateau" else 1.0


class Thaw(Settings):
    """What learns from an epoch on, with all behind it: a part, or some of its blocks such as
    backbone.last_half.

    lr_factor: of what thaws here, instead of its part's in optimizer.lr_factors. warmup_epochs:
    over which its rate rises, instead of schedule.thaw_warmup_epochs. The name of the part alone is
    enough.
    """

    part: str
    lr_factor: float | None = Field(None, gt=0)
    warmup_epochs: float | None = Field(None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"part": value} if isinstance(value, str) else value


def build(chain: Chain, settings: Optimizer) -> torch.optim.Optimizer:
    """The optimizer over the learning parts, in few groups; each group keeps its own rate as
    `base_lr`.
    """
    groups = groups_of(chain, settings)
    return (
        torch.optim.AdamW(groups)
        if settings.kind == "adamw"
        else torch.optim.SGD(groups, momentum=settings.momentum)
    )


def extend(
    optimizer: torch.optim.Optimizer, chain: Chain, settings: Optimizer, thawed: Mapping[str, Any]
) -> None:
    """Add what learns since a thaw in groups of its own; the others keep their state.

    thawed: what is noted in these groups: "thawed_at" (step), "warmup" (steps), "drops" (of a
    plateau until then).
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for group in groups_of(chain, settings):
        group["params"] = [p for p in group["params"] if id(p) not in held]
        if group["params"]:
            optimizer.add_param_group({**group, **thawed})


def set_rates(
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    step: int,
    steps: int,
    steps_per_epoch: int,
    drops: int,
) -> None:
    """Every group's learning rate for optimizer step `step` of `steps`; what was thawed warms up,
    and has only the drops of a plateau since.
    """
    for group in optimizer.param_groups:
        factor = schedule.at_step(step, steps, steps_per_epoch, drops - group["drops"])
        warm = min(1.0, (step - group["thawed_at"] + 1) / (group["warmup"] + 1))
        group["lr"] = group["base_lr"] * factor * warm


def groups_of(chain: Chain, settings: Optimizer) -> list[dict[str, Any]]:
    """The learning parameters by rate and decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in chain.named_parameters():
        if parameter.requires_grad:
            decay = (
                0.0 if parameter.dim() <= 1 or name.endswith(UNDECAYED) else settings.weight_decay
            )
            groups.setdefault((rate(chain, name, settings), decay), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr,
            "base_lr": lr,
            "weight_decay": decay,
            "thawed_at": 0,
            "warmup": 0,
            "drops": 0,
        }
        for (lr, decay), parameters in groups.items()
    ]


def rate(chain: Chain, name: str, settings: Optimizer) -> float:
    """The base learning rate of one parameter."""
    part = name.split(".", 1)[0]
    lr = settings.lr * settings.lr_factors.get(part, 1.0)
    if part != chain.order[0] or settings.layer_decay == 1.0:
        return lr
    numbers, count = block_numbers(name for name, _ in chain.part(part).named_parameters(part))
    return lr * settings.layer_decay ** (count - numbers[name])
