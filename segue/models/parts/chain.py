"""A model is an ordered chain of parts, input to output, and freezing moves one boundary along it.

Parts before the boundary do not learn. That means all of: no gradient, eval behaviour (norm statistics, dropout,
query groups), forward without recording, and therefore an output that may be computed ahead and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segue.models import ModelSpec

State = dict[str, Any]


class Chain(nn.Module):
    """Parts that run one after another, each reading named values and adding its own.

    A part is a module whose forward takes the state (a dict) and returns what it adds. It says in `reads` which
    names it needs; tensors in the state have the batch as their first dimension.
    """

    def __init__(self, spec: ModelSpec, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.spec = spec
        self.order = tuple(parts)
        self.boundary = 0  # how many leading parts are frozen
        for name, part in parts.items():
            self.add_module(name, part)

    def part(self, name: str) -> nn.Module:
        return getattr(self, name)

    @property
    def frozen(self) -> tuple[str, ...]:
        return self.order[: self.boundary]

    @property
    def learning(self) -> tuple[str, ...]:
        return self.order[self.boundary :]

    def freeze_through(self, part: str | None) -> None:
        """Freeze every part up to and including `part`, let all later ones learn; None lets all learn."""
        self.boundary = 0 if part is None else self.order.index(part) + 1
        for name in self.order:
            self.part(name).requires_grad_(name not in self.frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Chain:
        """As nn.Module.train, except that frozen parts stay in eval mode."""
        super().train(mode)
        for name in self.frozen:
            self.part(name).eval()
        return self

    def forward(self, inputs: Mapping[str, Tensor], start: int = 0) -> State:
        """Run the parts from number `start` on; with start > 0, `inputs` are what the parts before it gave."""
        state = self.run(inputs, start, self.boundary, learn=False)
        return self.run(state, max(start, self.boundary), len(self.order), learn=True)

    def run(self, inputs: Mapping[str, Tensor], start: int, stop: int, learn: bool) -> State:
        """Run parts start..stop-1 and return everything known then."""
        state = dict(inputs)
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
            for name in self.order[start:stop]:
                state.update(self.part(name)(state))
        return state

    def prefix(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of all frozen parts that later parts or the answer still need: what a cache stores."""
        state = self.run(inputs, 0, self.boundary, learn=False)
        needed = {name for part in self.learning for name in getattr(self.part(part), "reads", ())}
        needed |= {name for part in self.frozen for name in getattr(self.part(part), "answers", ())}
        return {name: value for name, value in state.items() if name in needed and isinstance(value, Tensor)}

    def named_tensors(self, parts: tuple[str, ...] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Parameters and persistent buffers of the given parts (default all), by their name in the state dict."""
        for name, tensor in self.state_dict().items():
            if parts is None or name.split(".", 1)[0] in parts:
                yield name, tensor
