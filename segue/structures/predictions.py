"""What a set-prediction model says about a batch, in the one layout every criterion and postprocess reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class MaskSource(Protocol):
    """Masks not yet computed: only those asked for ever are.

    size: height, width of a mask. trained_from: number of the first layer whose masks the loss looks at.
    """

    size: tuple[int, int]
    trained_from: int

    def at(self, image: Tensor, layer: Tensor, query: Tensor) -> Tensor:
        """Mask logits (T, h, w) of the queries at three index vectors (T,)."""
        ...

    def sample(self, points: Tensor) -> Tensor:
        """Mask logits (B, L, Q, P) of all queries at points (B, P, 2), x and y in 0..1, bilinear."""
        ...


@dataclass(slots=True)
class Predictions:
    """Raw outputs of all layers that are supervised; the last one is what the model answers with.

    logits (B, L, Q, K); boxes_cxcywh (B, L, Q, 4) in 0..1, None for a model of masks alone; layers: a name for each
    of the L, such as "enc", "0", "1"; groups: Q is this many equal groups of queries that are matched separately.
    """

    logits: Tensor
    boxes_cxcywh: Tensor | None
    layers: tuple[str, ...]
    groups: int = 1
    masks: MaskSource | None = None
