"""What a model says about a batch, in the layouts that criteria and postprocess read: of queries,
or of regions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class MaskSource(Protocol):
    """Masks not yet computed: only those asked for ever are.

    size: height, width of a mask. trained_from: number of the first layer whose masks the loss
    looks at.
    """

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def trained_from(self) -> int: ...

    def at(self, image: Tensor, layer: Tensor, query: Tensor) -> Tensor:
        """Mask logits (T, h, w) of the queries at three index vectors (T,)."""
        ...

    def sample(self, points: Tensor) -> Tensor:
        """Mask logits (B, L, Q, P) of all queries at points (B, P, 2), x and y in 0..1, bilinear."""
        ...


@dataclass(slots=True)
class Predictions:
    """Raw outputs of all layers that are supervised; the last one is what the model answers with.

    logits (B, L, Q, K); boxes_cxcywh (B, L, Q, 4) in 0..1, None for a model of masks alone; layers:
    a name for each of the L, such as "enc", "0", "1"; groups: Q is this many equal groups of
    queries that are matched separately.
    """

    logits: Tensor
    boxes_cxcywh: Tensor | None
    layers: tuple[str, ...]
    groups: int = 1
    masks: MaskSource | None = None

    def mask_loss_tensors(self, objects: int, points: int | None) -> list[Tensor]:
        """What the loss of one image with `objects` objects asks for: each matched query's masks
        (T, h, w), compared at `points` points (a sixteenth of the cells if None). Also on meta
        tensors, which have no values to choose by.
        """
        if self.masks is None or not objects:
            return []
        layers = torch.arange(self.masks.trained_from, len(self.layers), device="cpu")
        layers = layers.repeat_interleave(objects * self.groups)
        first = torch.zeros_like(layers)
        masks = self.masks.at(first, layers, first).float()
        where = masks.new_zeros(
            len(masks), points or self.masks.size[0] * self.masks.size[1] // 16, 1, 2
        )
        found = F.grid_sample(masks[:, None], where, align_corners=False)
        wanted = torch.empty_like(found)
        return [
            F.binary_cross_entropy_with_logits(found, wanted, reduction="none"),
            found.sigmoid() * wanted,
        ]


class RegionSource(Protocol):
    """Outputs of a model that proposes regions and then looks at them; boxes are xyxy in pixels of
    the frame.

    objectness (B, A) and deltas (B, A, 4) of the anchors (A, 4); size: height, width of the frame.
    """

    objectness: Tensor
    deltas: Tensor
    size: tuple[int, int]

    @property
    def anchors(self) -> Tensor: ...

    def proposals(self, anchors: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each image the anchors (P,) that are worth a look, and the boxes (P, 4) they stand
        for.
        """
        ...

    def classify(self, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (T, K + 1), background first, and deltas (T, K + 1, 4) of the boxes (T_i, 4) of
        each image.
        """
        ...

    def mask_logits(self, boxes: list[Tensor]) -> Tensor:
        """Mask logits (T, K, h, w) inside the boxes (T_i, 4) of each image."""
        ...
