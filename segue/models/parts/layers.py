"""Small things that several families use: layers, and the sides of multi-scale training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from typing_extensions import override

from segue.structures.channels import Channel

# The class prior of focal training: a fresh head says 1 % everywhere (RetinaNet, arXiv 1708.02002).
PRIOR_BIAS = -math.log(99)


class Normalise(nn.Module):
    """Stored values to network values, as each channel says; uint8 is divided by 255 first.

    The numbers are buffers outside the state dict: they belong to the card.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: Sequence[Channel]) -> None:
        super().__init__()
        for name in ("mean", "std"):
            values = torch.tensor([getattr(channel, name) for channel in channels])
            self.register_buffer(name, values[:, None, None], persistent=False)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, H, W) uint8, or floating point in 0..1 -> float32."""
        values = images / 255 if images.dtype == torch.uint8 else images.float()
        return (values - self.mean) / self.std


def precision_now(like: Tensor) -> Callable[[], AbstractContextManager[object]]:
    """Makes contexts in which autocast is what it is now, on the device of `like`: for what a model
    computes later, when its loss asks for it.
    """
    kind = like.device.type
    if kind == "meta":
        return nullcontext
    dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
    return partial(torch.autocast, kind, dtype=dtype, enabled=enabled)


def sides_around(base: int, step: int, least: int, expanded: bool) -> tuple[int, ...]:
    """The sides multi-scale training draws from: 8 around `base`, 11 if expanded, in steps; none
    below `least`.
    """
    offsets = range(-5, 6) if expanded else range(-3, 5)
    return tuple(side for side in (base + step * offset for offset in offsets) if side >= least)
