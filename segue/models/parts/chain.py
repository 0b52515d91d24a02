"""A model is an ordered chain of parts, input to output, and freezing moves one boundary along it.

What lies before the boundary does not learn. That means all of: no gradient, eval behaviour (norm
statistics, dropout, query groups), forward without recording, and therefore, for whole parts, an
output that may be computed ahead and kept. The boundary may also lie within a part, between two of
its blocks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from segue import models
from segue.errors import PlanError
from segue.models import ModelSpec
from segue.models.parts.state import State

# The blocks of a part: "layers.3.", "blocks.3." or "stages.3.", and ResNet's "layer3.".
BLOCK = re.compile(r"(?:^|\.)(?:(?:layers?|blocks|stages)\.|layer)(\d+)(?:\.|$)")
# Places within a part, as the share of its blocks that lies before them: where first_half ends,
# last_half begins.
SHARES = {
    "first_quarter": 1 / 4, "first_third": 1 / 3, "first_half": 1 / 2,
    "last_half": 1 / 2, "last_third": 2 / 3, "last_quarter": 3 / 4,
}  # fmt: skip


def span(place: str, parts: Sequence[str]) -> tuple[float, float]:
    """Where a place such as `decoder` or `backbone.last_half` begins and ends along the chain, in
    parts.

    Raises:
        PlanError: if there is no such place.
    """
    part, _, share = place.partition(".")
    known = [*parts, *(f"{parts[0]}.{name}" for name in SHARES)]
    if place not in known:
        near = difflib.get_close_matches(place, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "parts are " + ", ".join(parts)
        raise PlanError(place, f"no part '{place}'", hint)
    number = float(parts.index(part))
    if not share:
        return number, number + 1
    return (
        (number, number + SHARES[share])
        if share.startswith("first")
        else (number + SHARES[share], number + 1)
    )


def block_numbers(names: Iterable[str]) -> tuple[dict[str, int], int]:
    """The block, from 0, that each of a backbone's tensors or modules belongs to, and how many
    blocks there are.

    names: in the order of the state dict. What stands before the first block gets -1, what comes
    after the last one their count.
    """
    names = list(names)
    blocks = {name: int(m[1]) for name in names if (m := BLOCK.search(name))}
    ranks = {number: rank for rank, number in enumerate(sorted(set(blocks.values())))}
    # a norm behind the last block belongs to the blocks' end, a stem before the first to the start
    numbers: dict[str, int] = {}
    inside = False
    for name in names:
        inside = inside or name in blocks
        numbers[name] = ranks[blocks[name]] if name in blocks else len(ranks) if inside else -1
    return numbers, len(ranks)


class Chain(nn.Module):
    """Parts that run one after another, each reading named values and adding its own.

    A part is a module whose forward takes the state and returns what it adds. It declares

        reads: tuple[str, ...]    the names that it cannot do without
        writes: tuple[str, ...]   the names that it may add; in eval mode, or in training, some only
        answers: tuple[str, ...]  of `writes`, what postprocess reads; may be left out

    The names that segue's families use are listed in `State`.
    """

    def __init__(self, spec: ModelSpec, parts: Mapping[str, nn.Module]) -> None:
        """Put parts together, in their order.

        Raises:
            PlanError: if a part declares nothing, or reads what no part before it writes.
        """
        _check_order(parts)
        super().__init__()
        self.spec = spec
        self.order = tuple(parts)
        # the boundary, in parts: 2.0 is after two of them, 0.5 half-way through the first
        self.frozen_to = 0.0
        for name, part in parts.items():
            self.add_module(name, part)

    def part(self, name: str) -> nn.Module:
        """The part called `name`, one of `order`."""
        return getattr(self, name)

    @property
    def has_masks(self) -> bool:
        """Whether it answers with masks: it has a mask head, or is of a family that knows nothing
        else.
        """
        return self.order[-1] == "mask_head" or "boxes" not in models.get(self.spec.family).TASKS

    @property
    def boundary(self) -> int:
        """How many leading parts are frozen as a whole."""
        return int(self.frozen_to)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the parts before the boundary."""
        return self.order[: self.boundary]

    @property
    def learning(self) -> tuple[str, ...]:
        """Names of the parts behind the boundary, and of the one it divides."""
        return self.order[self.boundary :]

    def freeze_through(self, place: str | None) -> None:
        """Freeze everything up to and including `place`, let all behind it learn; None lets all
        learn.
        """
        self.freeze_to(0.0 if place is None else span(place, self.order)[1])

    def freeze_to(self, position: float) -> None:
        """Move the boundary to a position along the chain.

        Raises:
            PlanError: if it would divide a part that has too few blocks for that.
        """
        self.frozen_to = position
        blocks, count = self._frozen_blocks()
        if position % 1 and not 0 < blocks < count:
            message = f"{count} blocks, which cannot be divided at {position % 1:.2f} of them"
            raise PlanError(self.order[self.boundary], message, "another place")
        frozen = set(self.frozen_tensors())
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.train(self.training)

    def _frozen_blocks(self) -> tuple[int, int]:
        """How many blocks of the divided part are frozen, and how many it has; 0, 0 if no part is
        divided.
        """
        if not self.frozen_to % 1:
            return 0, 0
        count = block_numbers(self.part(self.order[self.boundary]).state_dict())[1]
        return round(self.frozen_to % 1 * count), count

    def frozen_label(self) -> str:
        """What is frozen, in words; empty if nothing is."""
        blocks, count = self._frozen_blocks()
        divided = (
            (f"{self.order[self.boundary]} (blocks 1 to {blocks} of {count})",) if blocks else ()
        )
        return ", ".join((*self.frozen, *divided))

    @override
    def train(self, mode: bool = True) -> Chain:
        """As nn.Module.train, except that what is frozen stays in eval mode."""
        super().train(mode)
        for name in self.frozen:
            self.part(name).eval()
        blocks, _ = self._frozen_blocks()
        if blocks:
            modules = dict(self.part(self.order[self.boundary]).named_modules())
            numbers = block_numbers(modules)[0]
            learning = [name for name, number in numbers.items() if number >= blocks]
            for name, module in modules.items():
                holds = not name or any(other.startswith(f"{name}.") for other in learning)
                if numbers[name] < blocks and not holds:
                    module.training = False
        return self

    @override
    def forward(self, inputs: Mapping[str, Tensor], start: int = 0) -> State:
        """Run the parts from number `start` on; with start > 0, `inputs` are what the parts before
        it gave.
        """
        state = self.run(inputs, start, self.boundary, learn=False)
        return self.run(state, max(start, self.boundary), len(self.order), learn=True)

    def run(self, inputs: Mapping[str, Any], start: int, stop: int, learn: bool) -> State:
        """Run parts start..stop-1 and return everything known then."""
        # the keys are checked by _check_order, not by the type checker
        state = cast(State, dict(inputs))
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
            for name in self.order[start:stop]:
                state.update(self.part(name)(state))
        return state

    def prefix(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of all frozen parts that later parts or the answer still need: what a cache
        stores.

        Raises:
            PlanError: if a part that learns reads the images, too.
        """
        state = self.run(inputs, 0, self.boundary, learn=False)
        needed = {name for part in self.learning for name in _names(self.part(part), "reads")}
        needed |= {name for part in self.frozen for name in _names(self.part(part), "answers")}
        if "images" in needed:  # half precision and no range of its own would be another input
            late = [part for part in self.learning if "images" in _names(self.part(part), "reads")]
            message = f"frozen parts' outputs alone, but {late[-1]} learns and reads images"
            raise PlanError("cache", message, f"freeze: {late[-1]} or a later part; or no cache")
        return {
            name: value
            for name, value in state.items()
            if name in needed and isinstance(value, Tensor)
        }

    def frozen_tensors(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers before the boundary, by name in the state dict."""
        blocks, _ = self._frozen_blocks()
        frozen = {
            name: t for name, t in self.state_dict().items() if name.split(".", 1)[0] in self.frozen
        }
        if blocks:
            part = self.order[self.boundary]
            tensors = self.part(part).state_dict()
            numbers = block_numbers(tensors)[0]
            frozen |= {f"{part}.{name}": t for name, t in tensors.items() if numbers[name] < blocks}
        return frozen

    def learning_tensors(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers behind the boundary; the live tensors, not copies."""
        frozen = self.frozen_tensors()
        return {name: tensor for name, tensor in self.state_dict().items() if name not in frozen}


def tensors(state: State, names: Iterable[str]) -> list[Tensor]:
    """The tensors under these names, for parts whose names depend on how they were built."""
    values = cast(Mapping[str, Tensor], state)
    return [values[name] for name in names]


def _check_order(parts: Mapping[str, nn.Module]) -> None:
    """Refuse a part that reads what nothing before it writes, when the model is built and not in
    the middle of its first batch.
    """
    known = {"images"}
    for name, part in parts.items():
        silent = [key for key in ("reads", "writes") if not hasattr(part, key)]
        if silent:
            message = f"a {type(part).__name__} that declares no {' and no '.join(silent)}"
            raise PlanError(f"part {name}", message, "reads and writes, tuples of names")
        unwritten = [key for key in _names(part, "reads") if key not in known]
        if unwritten:
            message = f"reads {', '.join(unwritten)}, which nothing before it writes"
            raise PlanError(f"part {name}", message, f"some of {', '.join(sorted(known))}")
        known |= set(_names(part, "writes"))


def _names(part: nn.Module, kind: str) -> tuple[str, ...]:
    """What a part declares under `reads`, `writes` or `answers`."""
    return getattr(part, kind, ())
