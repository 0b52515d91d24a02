"""Several streams of features as one: rectified by each other between their stages, then fused at
each level.

`cross` is CMX (arXiv 2203.04838): feature rectification (FRM), then cross attention and a mixed
embedding (FFM). The others are what it has to be better than. The first stream is the main one:
with several others, each of them is rectified against it and fused with it alone, the corrections
add up, and the fused maps are averaged.

`zero_init` puts a convolution of zeros behind everything the main stream is given, as ControlNet
does (arXiv 2302.05543), so that a new fusion changes no bit of what the main stream alone would
say. A gate of one number for each channel would do that, too, but with AdamW it opens by no more
than the learning rate in a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

Kind = Literal["cross", "add", "concat", "gated", "none"]
SHARE = 0.5  # of a rectification that is by channel, and by place


class Level(nn.Module):
    """All that joins the streams behind one of their stages: maps (B, C, h, w), the main stream's
    first.
    """

    def __init__(self, kind: Kind, width: int, heads: int, others: int, zero_init: bool) -> None:
        super().__init__()
        rectified = others if kind == "cross" else 0
        self.rectify = nn.ModuleList(Rectification(width) for _ in range(rectified))
        self.gates = nn.ModuleList(
            _closed(width) if zero_init else nn.Identity() for _ in range(rectified)
        )
        self.merge = _merge(kind, width, heads, others)
        self.gate = _closed(width) if zero_init else None

    def rectified(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """What the next stage of each stream reads."""
        corrected = list(maps)
        for number, (rectify, gate) in enumerate(zip(self.rectify, self.gates, strict=True), 1):
            to_main, to_other = rectify(maps[0], maps[number])
            corrected[0] = corrected[0] + gate(to_main)
            corrected[number] = maps[number] + to_other
        return corrected

    @override
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        merged = self.merge(maps)
        return merged if self.gate is None else maps[0] + self.gate(merged)


class Rectification(nn.Module):
    """CMX's FRM: what each of two maps is given of the other, weighed by channel and by place.

    The weights by channel see the mean and the largest value of both maps, those by place all
    channels of a cell.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.by_channel = nn.Sequential(
            nn.Linear(4 * width, 4 * width),
            nn.ReLU(),
            nn.Linear(4 * width, 2 * width),
            nn.Sigmoid(),
        )
        self.by_place = nn.Sequential(
            nn.Conv2d(2 * width, width, 1), nn.ReLU(), nn.Conv2d(width, 2, 1), nn.Sigmoid()
        )

    @override
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, C, h, w) -> what is to be added to each."""
        both = torch.cat([a, b], 1)
        pooled = torch.cat([both.mean((2, 3)), both.amax((2, 3))], 1)  # (B, 4C)
        channels = self.by_channel(pooled)[:, :, None, None].chunk(2, 1)
        places = self.by_place(both).chunk(2, 1)
        return SHARE * (channels[1] + places[1]) * b, SHARE * (channels[0] + places[0]) * a


class CrossAttention(nn.Module):
    """CMX's FFM: each map asks the other's summary, and both become one.

    The summary is the product of keys and values over all cells (D x D for each head), so that its
    cost grows with the cells and not with their square. Published with BatchNorm; here its place is
    taken by GroupNorm, with as many parameters: a step must be the same however it is split.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.split = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.key_value = nn.ModuleList(nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.join = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.residual = nn.Conv2d(2 * width, width, 1, bias=False)
        self.embed = nn.Sequential(
            nn.Conv2d(2 * width, width, 1),
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            _norm(width),
        )
        self.norm = _norm(width)

    @override
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        tokens = [each.flatten(2).transpose(1, 2) for each in (a, b)]  # (B, hw, C)
        # half of each map's channels goes on as it is, the other half asks
        residuals: list[Tensor] = []
        queries: list[Tensor] = []
        for split, x in zip(self.split, tokens, strict=True):
            residual, query = split(x).relu().chunk(2, -1)  # (B, hw, C) each
            residuals.append(residual)
            queries.append(query)
        summaries = [self.summary(number, query) for number, query in enumerate(queries)]
        # crosswise: each map reads the other's summary
        answers = [self.ask(queries[0], summaries[1]), self.ask(queries[1], summaries[0])]
        joined = []
        for i in (0, 1):
            update = self.join[i](torch.cat([residuals[i], answers[i]], -1))
            joined.append(self.norms[i](tokens[i] + update).transpose(1, 2))  # (B, C, hw)
        both = torch.cat(joined, 1).unflatten(2, a.shape[-2:])
        return self.norm(self.residual(both) + self.embed(both))

    def summary(self, number: int, u: Tensor) -> Tensor:
        """Keys times values (B, heads, d, d), normed over keys; in float32, because it is a sum
        over all cells.
        """
        # (B, hw, heads, d)
        key, value = self.key_value[number](u).float().unflatten(-1, (2, self.heads, -1)).unbind(2)
        # meta has no autocast
        with nullcontext() if u.is_meta else torch.autocast(u.device.type, enabled=False):
            product = torch.einsum("bshd,bshe->bhde", key, value) * key.shape[-1] ** -0.5
        return product.softmax(-2)

    def ask(self, u: Tensor, summary: Tensor) -> Tensor:
        """Tokens (B, hw, C) times a summary (B, heads, d, d), per head; again (B, hw, C)."""
        return torch.einsum(
            "bshd,bhde->bshe", u.unflatten(-1, (self.heads, -1)), summary.to(u.dtype)
        ).flatten(2)


class CrossMerge(nn.Module):
    """The mean of the main map fused with each other one."""

    def __init__(self, width: int, heads: int, others: int) -> None:
        super().__init__()
        self.pairs = nn.ModuleList(CrossAttention(width, heads) for _ in range(others))

    @override
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        fused = [pair(maps[0], other) for pair, other in zip(self.pairs, maps[1:], strict=True)]
        return fused[0] if len(fused) == 1 else torch.stack(fused).mean(0)


class AddMerge(nn.Module):
    """The sum of all maps."""

    @override
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(maps)).sum(0)


class ConcatMerge(nn.Module):
    """A 1x1 convolution of all maps side by side."""

    def __init__(self, width: int, streams: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(streams * width, width, 1)

    @override
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.mix(torch.cat(list(maps), 1))


class GatedMerge(nn.Module):
    """A mean of all maps, weighted at each cell and channel by what all of them show there."""

    def __init__(self, width: int, streams: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(streams * width, streams * width, 1)

    @override
    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        weights = self.weigh(torch.cat(list(maps), 1)).unflatten(1, (len(maps), -1)).softmax(1)
        return (weights * torch.stack(list(maps), 1)).sum(1)


def _merge(kind: Kind, width: int, heads: int, others: int) -> nn.Module:
    if kind == "cross":
        return CrossMerge(width, heads, others)
    if kind == "add":
        return AddMerge()
    return ConcatMerge(width, others + 1) if kind == "concat" else GatedMerge(width, others + 1)


def _closed(width: int) -> nn.Conv2d:
    """A 1x1 convolution that gives exactly 0 until it learns otherwise."""
    gate = nn.Conv2d(width, width, 1)
    for parameter in gate.parameters():
        nn.init.zeros_(parameter)
    return gate


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, width), width)
