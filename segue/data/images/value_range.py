"""Whether images have the value range that a model was trained on.

12 bits in files of 16 are nearly black to a model whose value scale is that of 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from segue.structures.channels import Channel

LARGEST = 65535  # of 16 bits
FAR = 4  # times what is expected, up or down: 14 bits in files of 16 pass, 12 do not


class ValueRange:
    """The largest stored value of each channel over the images seen; 0 where it tells nothing.

    It tells nothing of 8 bits without a value scale and of floating point, whose range is fixed,
    and of percentiles, which follow each image.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = channels
        self.largest = [0.0] * len(channels)

    def update(self, stored: Tensor) -> None:
        """Take an image (C, H, W), as `multi_file.read` returns it, into account."""
        if stored.is_floating_point():
            return
        for row, channel in enumerate(self.channels):
            if channel.scale != "percentile" and (
                channel.scale is not None or stored.dtype != torch.uint8
            ):
                self.largest[row] = max(self.largest[row], float(stored[row].numpy().max()))

    def mismatch(self) -> str:
        """A message where values are far from what the trained model's value scale expects; else
        the empty text.
        """
        for largest, channel in zip(self.largest, self.channels, strict=True):
            if channel.scale == "percentile" or not largest:
                continue
            expected = channel.scale or LARGEST
            if largest > 1 and not expected / FAR <= largest <= expected * FAR:
                return (
                    f"channel {channel.name}: the largest value is {largest:g}; the model expects "
                    f"values up to {expected:g} (segue inspect tells its scales)"
                )
        return ""
