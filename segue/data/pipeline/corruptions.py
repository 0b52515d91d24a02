"""Corruptions under which a trained model is measured: channels that are missing or displaced.

Their counterpart in training is `transforms.ChannelDropout`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segue.data.pipeline.transforms import View, at_mean
from segue.structures.channels import Channel


class CorruptedView(View):
    """A view without augmentation in which channels are missing or displaced.

    size: height and width of the frame, in pixels. channels: those of the image, in its order.
    missing: rows of channels that are set to their mean, which is 0 for the network. displaced:
    rows of channels that are moved by `right` and `down` pixels of the image as stored, before it
    is resized; negative numbers move them left and up.
    """

    def __init__(
        self,
        size: tuple[int, int],
        channels: Sequence[Channel],
        *,
        missing: Sequence[int] = (),
        displaced: Sequence[int] = (),
        right: int = 0,
        down: int = 0,
    ) -> None:
        super().__init__(*size)
        self.channels, self.missing = channels, missing
        self.displaced, self.right, self.down = displaced, right, down

    def __call__(
        self, image: Tensor, boxes_xyxy: Tensor, points: Tensor, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `View.__call__`; boxes and points stay with the channels that are not moved."""
        image = displace_channels(image, self.displaced, right=self.right, down=self.down)
        image, boxes_xyxy, points = super().__call__(image, boxes_xyxy, points, seed)
        if self.missing:
            image = at_mean(image, self.missing, self.channels)
        return image, boxes_xyxy, points


def displace_channels(image: Tensor, rows: Sequence[int], *, right: int, down: int) -> Tensor:
    """A copy of an image (C, H, W) in which the channels `rows` are moved by whole pixels.

    What moves in from outside repeats the edge, as a camera next to the first one would see more of
    the scene; black would be a corruption of its own.
    """
    height, width = image.shape[-2:]
    source_y = (torch.arange(height) - down).clamp(0, height - 1)
    source_x = (torch.arange(width) - right).clamp(0, width - 1)
    moved = image.clone()
    for row in rows:
        moved[row] = image[row][source_y][:, source_x]
    return moved
