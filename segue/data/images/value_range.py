"""How many of its levels a file uses: 12 bits in files of 16 are nearly black to a model that is
not told.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segue.structures.channels import Channel

LARGEST = 65535  # of 16 bits
FAR = 4  # times; two bits less than there are, as 14 of 16


class ValueRange:
    """The largest value of each channel over images that pass by, as stored; 0 where the file says
    what it means.

    That is of 8 bits without a scale, of floating point, and of percentiles, which follow each
    image.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = channels
        self.largest = [0.0] * len(channels)

    def update(self, stored: Tensor) -> None:
        """An image (C, H, W) as `partners.read` gives it."""
        if stored.is_floating_point():
            return
        for row, channel in enumerate(self.channels):
            if channel.scale != "percentile" and (
                channel.scale is not None or stored.dtype != torch.uint8
            ):
                self.largest[row] = max(self.largest[row], float(stored[row].numpy().max()))

    def mismatch(self) -> str:
        """What to say where values are far from those that the scale of a trained model expects;
        else nothing.
        """
        for largest, channel in zip(self.largest, self.channels, strict=True):
            if channel.scale == "percentile" or not largest:
                continue
            expected = channel.scale or LARGEST
            if largest > 1 and not expected / FAR <= largest <= expected * FAR:
                takes = (
                    f"the model expects values up to {expected:g} (segue inspect tells its scales)"
                )
                return f"channel {channel.name}: the largest value is {largest:g}; {takes}"
        return ""
