"""The outputs of a model for a batch, in the layouts that criterion and postprocess read: of
queries, or of regions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class MaskSource(Protocol):
    """Masks that are computed only for the queries they are requested for: all of them, at every
    layer, would take gigabytes.

    size: height, width of a mask in cells. trained_from: number of the first of the L layers whose
    masks the loss looks at.
    """

    @property
    def size(self) -> tuple[int, int]: ...

    @property
    def trained_from(self) -> int: ...

    def at(self, image: Tensor, layer: Tensor, query: Tensor) -> Tensor:
        """Mask logits (T, h, w) of the queries at three index vectors (T,)."""
        ...

    def sample(self, points: Tensor) -> Tensor:
        """Mask logits (B, L, Q, P) of all queries at points (B, P, 2), x and y in 0..1 of the
        frame, bilinear.
        """
        ...


@dataclass(slots=True)
class Predictions:
    """Raw outputs of all supervised layers; the last layer's are the model's result.

    logits (B, L, Q, K), or K + 1 with "no object" last for a softmax; boxes_cxcywh (B, L, Q, 4) in
    0..1 of the frame, None for a model of masks alone; layers: a name for each of the L, such as
    "enc", "0", "1"; groups: the Q queries are this many equal groups, one after another, that are
    matched separately (Group DETR, arXiv 2207.13085).
    """

    logits: Tensor
    boxes_cxcywh: Tensor | None
    layers: tuple[str, ...]
    groups: int = 1
    masks: MaskSource | None = None

    def mask_loss_tensors(self, objects: int, points: int | None) -> list[Tensor]:
        """Tensors as the mask terms hold them for one image with `objects` objects, to estimate
        memory by; their values mean nothing.

        points: where masks are compared, a sixteenth of the cells if None. Works on meta tensors,
        which have no values that a matcher could choose by: query 0 stands for every match.
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
        values = F.grid_sample(masks[:, None], where, align_corners=False)
        truth = torch.empty_like(values)
        return [
            F.binary_cross_entropy_with_logits(values, truth, reduction="none"),
            values.sigmoid() * truth,
        ]


class RegionSource(Protocol):
    """Outputs of a model that proposes regions and then looks at them (Faster R-CNN, arXiv
    1506.01497); boxes are xyxy in pixels of the frame.

    objectness: logits (B, A) that an anchor has an object; deltas (B, A, 4): from the anchors (A,
    4) to the boxes of their objects, as torchvision's BoxCoder encodes them; size: height, width of
    the frame.
    """

    objectness: Tensor
    deltas: Tensor
    size: tuple[int, int]

    @property
    def anchors(self) -> Tensor:
        """Boxes_xyxy (A, 4) in pixels of the frame, the same for every image of the batch."""
        ...

    def proposals(self, anchors: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each image the positions (R,) of the R best anchors after non-maximum suppression,
        and the boxes (R, 4) that these propose.
        """
        ...

    def classify(self, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (T, K + 1), background first, and box deltas (T, K + 1, 4), one for each
        class, of T boxes in all, given as (T_i, 4) for each image.
        """
        ...

    def mask_logits(self, boxes: list[Tensor]) -> Tensor:
        """Mask logits (T, K, h, w) of T boxes in all, given as (T_i, 4) for each image; the h x w
        cells span a box.
        """
        ...
