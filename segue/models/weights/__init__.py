"""Weights from files: our names for their tensors, and what their rows and channels mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from segue.models.weights.card import Card


@dataclass(slots=True)
class ModelWeights:
    """Tensors under the names our model gives them, with what a hand-over must know about them.

    classes: the name of each row of a class head; None for a row that never meant a class.
    channels: the name of each input channel. came_from: how the source is written into the card of
    what is trained from it. card: what a segue checkpoint, or a file of a recipe, says of
    itself; None for any other file.
    """

    tensors: dict[str, Tensor]
    classes: tuple[str | None, ...]
    channels: tuple[str, ...]
    source: str
    came_from: dict[str, Any] = field(default_factory=dict)
    card: Card | None = None

    @property
    def sha256(self) -> str:
        """Of the file they were read from; empty if it is not known."""
        return str(self.came_from.get("weights_sha256", ""))
