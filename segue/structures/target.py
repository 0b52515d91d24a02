"""The ground truth of one image as losses read it, and several images with theirs as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from segue.structures.masks import PackedMasks


@dataclass(slots=True)
class Target:
    """The ground truth of one image, in the frame the model sees.

    labels (N,) int64, 0..K-1; boxes_cxcywh (N, 4) float32 in 0..1 of the frame; has_mask (N,) bool:
    objects without a mask take part in class and box terms only; object_weights (N,) float32: how
    much an object's terms count (1 for a manual label); masks: of N objects, None if the stage
    needs none. unexplained: bool (h, w), true in cells where the image shows something that no
    object covers; None unless the stage's noise settings need it. key: a 63-bit number that names
    this view of this image; all randomness of its losses follows from it. record: position of the
    image in its split. size: height, width of the original image in pixels.
    """

    labels: Tensor
    boxes_cxcywh: Tensor
    has_mask: Tensor
    object_weights: Tensor
    masks: PackedMasks | None = None
    unexplained: Tensor | None = None
    key: int = 0
    record: int = 0
    size: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.labels)

    def keep(self, chosen: Tensor) -> Target:
        """Only the objects where bool `chosen` (N,) is true, in every field that has an entry for
        each object.
        """
        return replace(
            self,
            labels=self.labels[chosen],
            boxes_cxcywh=self.boxes_cxcywh[chosen],
            has_mask=self.has_mask[chosen],
            object_weights=self.object_weights[chosen],
            masks=None if self.masks is None else self.masks.keep(chosen),
        )

    def to(self, device: torch.device | str) -> Target:
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor | PackedMasks)
        }
        return replace(self, **moved)


@dataclass(slots=True)
class Batch:
    """The images of one optimizer step, or of one micro-batch of it, with their targets.

    inputs: named tensors with B first: "images" (B, C, H, W) float32, or, where the outputs of the
    frozen parts come from the cache, these under the names the model gives them.
    """

    inputs: dict[str, Tensor]
    targets: list[Target]

    def __len__(self) -> int:
        return len(self.targets)

    def split(self, images: int) -> list[Batch]:
        """Consecutive micro-batches of at most `images` images each, for gradient accumulation."""
        return [
            Batch(
                {name: t[i : i + images] for name, t in self.inputs.items()},
                self.targets[i : i + images],
            )
            for i in range(0, len(self), images)
        ]

    def to(self, device: torch.device | str) -> Batch:
        inputs = {name: t.to(device, non_blocking=True) for name, t in self.inputs.items()}
        return Batch(inputs, [target.to(device) for target in self.targets])

    def counts(self) -> dict[str, float]:
        """What loss terms may be divided by: images, objects, their weights, and the weights of
        those with a mask. Summed over all micro-batches and processes of a step, these do not
        depend on how the step is split.
        """
        return {
            "images": float(len(self)),
            "objects": float(sum(len(target) for target in self.targets)),
            "object_weights": float(
                sum(float(target.object_weights.sum()) for target in self.targets)
            ),
            "masked_object_weights": float(
                sum(float(target.object_weights[target.has_mask].sum()) for target in self.targets)
            ),
        }


def collate(samples: Sequence[tuple[dict[str, Tensor], Target]]) -> Batch:
    """Samples, each inputs without B and their target, as one batch; no samples give an empty batch
    without inputs. All inputs of one name must have one shape.
    """
    if not samples:
        return Batch({}, [])
    names = samples[0][0].keys()
    return Batch(
        {name: torch.stack([inputs[name] for inputs, _ in samples]) for name in names},
        [target for _, target in samples],
    )
