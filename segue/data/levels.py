"""How many of its levels a file uses: 12 bits in files of 16 are nearly black to a model that is not told."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import yaml
from torch import Tensor

from segue.structures.channels import Channel

LARGEST = 65535  # of 16 bits
FAR = 4  # times; two bits less than there are, as 14 of 16


class Levels:
    """The largest value of each channel over images that pass by, as stored; 0 where the file says what it means.

    That is of 8 bits without a scale, of floating point, and of percentiles, which follow each image.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = channels
        self.largest = [0.0] * len(channels)

    def see(self, stored: Tensor) -> None:
        """An image (C, H, W) as `partners.read` gives it."""
        if stored.is_floating_point():
            return
        for row, channel in enumerate(self.channels):
            if channel.scale != "percentile" and (channel.scale is not None or stored.dtype != torch.uint8):
                self.largest[row] = max(self.largest[row], float(stored[row].numpy().max()))

    def unscaled(self) -> tuple[float, str]:
        """The largest value of channels without a scale that use a quarter of 16 bits or less, and what a plan needs.

        That is a line for data:, with scales; 0 and nothing if there are no such channels.
        """
        scales: dict[int, int] = {}
        for folder in {channel.folder for channel in self.channels}:
            rows = [r for r, channel in enumerate(self.channels) if channel.folder == folder and channel.scale is None]
            largest = max((self.largest[row] for row in rows), default=0.0)
            if 1 < largest < LARGEST / FAR:
                scales |= dict.fromkeys(rows, 2 ** int(largest).bit_length() - 1)
        if not scales:
            return 0.0, ""
        listed = [_as_given(channel, scales.get(row)) for row, channel in enumerate(self.channels)]
        line = yaml.safe_dump({"channels": listed}, default_flow_style=True, sort_keys=False, width=float("inf"))
        return max(self.largest[row] for row in scales), line.strip()[1:-1]

    def unlike(self) -> str:
        """What to say where values are far from those that the scale of a trained model expects; else nothing."""
        for largest, channel in zip(self.largest, self.channels, strict=True):
            if channel.scale == "percentile" or not largest:
                continue
            expected = channel.scale or LARGEST
            if largest > 1 and not expected / FAR <= largest <= expected * FAR:
                takes = f"the model expects values up to {expected:g} (segue inspect tells its scales)"
                return f"channel {channel.name}: the largest value is {largest:g}; {takes}"
        return ""


def _as_given(channel: Channel, scale: int | None) -> dict[str, object] | str:
    """What a plan has to say of a channel: its name, the scale, and what differs from a channel of that name."""
    plain = Channel.model_validate(channel.name).model_dump(mode="json")
    given = {key: value for key, value in channel.model_dump(mode="json").items() if value != plain[key]}
    given |= {} if scale is None else {"scale": scale}
    return {"name": channel.name, **given} if given else channel.name
