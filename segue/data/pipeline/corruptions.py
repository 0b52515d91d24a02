"""Cameras that fail: channels missing or displaced when a model is measured.

See `transforms.Drop` for training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segue.data.pipeline.transforms import View, at_mean
from segue.structures.channels import Channel


class DisturbedView(View):
    """A view without augmentation in which channels are missing (at their mean) or displaced.

    shift: channels moved by so many pixels of the image as stored, to the right and down; its edges
    are repeated.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: Sequence[Channel],
        missing: Sequence[int] = (),
        shift: tuple[Sequence[int], int, int] = ((), 0, 0),
    ) -> None:
        super().__init__(*size)
        self.channels, self.missing, self.shift = channels, missing, shift

    def __call__(
        self, image: Tensor, boxes_xyxy: Tensor, points: Tensor, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        image, boxes_xyxy, points = super().__call__(
            shifted(image, *self.shift), boxes_xyxy, points, seed
        )
        return (
            at_mean(image, self.missing, self.channels) if self.missing else image,
            boxes_xyxy,
            points,
        )


def shifted(image: Tensor, rows: Sequence[int], x: int, y: int) -> Tensor:
    """An image (C, H, W) with these channels moved by x, y pixels to the right and down."""
    height, width = image.shape[-2:]
    from_y = (torch.arange(height) - y).clamp(0, height - 1)
    from_x = (torch.arange(width) - x).clamp(0, width - 1)
    moved = image.clone()
    for row in rows:
        moved[row] = image[row][from_y][:, from_x]
    return moved
