"""EMA: the exponential moving average of weights, which evaluation and checkpoints use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from segue.models.parts.chain import Chain


class Ema:
    """An exponential moving average of the learning weights (and their buffers); frozen ones are
    not in it.

    The average moves by `lerp`, so that weights which do not change keep every bit. Its decay grows
    from 0 to `decay` over about `ramp` steps.
    """

    def __init__(self, chain: Chain, decay: float, ramp: float = 100.0) -> None:
        self.decay, self.ramp, self.steps = decay, ramp, 0
        self.average = {
            name: tensor.detach().clone() for name, tensor in chain.learning_tensors().items()
        }

    @torch.no_grad()
    def update(self, chain: Chain) -> None:
        self.steps += 1
        weight = 1 - self.decay * (1 - math.exp(-self.steps / self.ramp))
        for name, tensor in chain.learning_tensors().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor.detach(), weight)
            else:
                self.average[name].copy_(tensor)

    def extend(self, chain: Chain) -> None:
        """Follow what learns since a thaw, from what it is now."""
        for name, tensor in chain.learning_tensors().items():
            self.average.setdefault(name, tensor.detach().clone())

    @contextmanager
    def applied(self, chain: Chain) -> Iterator[None]:
        """The chain with EMA weights, for evaluating and saving; put back afterwards, bit for
        bit.
        """
        self._swap(chain)
        try:
            yield
        finally:
            self._swap(chain)

    @torch.no_grad()
    def _swap(self, chain: Chain) -> None:
        for name, tensor in chain.learning_tensors().items():
            kept = tensor.detach().clone()
            tensor.copy_(self.average[name])
            self.average[name] = kept

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
        for name, tensor in state["average"].items():
            self.average[name].copy_(tensor)
