"""The networks behind rgbx_rcnn's streams and fusion: transformers' SegFormer encoders (MiT), stage
by stage.

The streams give features to each other between their stages, so they cannot run one after the
other. Each runs its first stage, which no other stream reaches; the fusion then runs the rest of
all of them, interleaved. What is frozen of them stays as it is there, but gradients pass through it
to what the fusion has fed into it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from typing_extensions import override

from segue.models._transformers import SegformerConfig, SegformerModel
from segue.models.parts.chain import tensors
from segue.models.parts.fusion import Kind, Level
from segue.models.parts.layers import Normalise
from segue.models.parts.regions import PYRAMID
from segue.models.parts.state import State
from segue.structures.channels import Channel

LEVELS = tuple(f"level_{i}" for i in range(4))  # of strides 4, 8, 16, 32


@dataclass(frozen=True)
class Mit:
    """A Mix Transformer (SegFormer, arXiv 2105.15203): widths, depths and attention heads of its
    four stages.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...] = (1, 2, 5, 8)


WIDE = (64, 128, 320, 512)
MITS = {
    "pico": Mit((16, 32, 48, 64), (1, 1, 1, 1), (1, 2, 3, 4)),
    "mit_b0": Mit((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": Mit(WIDE, (2, 2, 2, 2)),
    "mit_b2": Mit(WIDE, (3, 4, 6, 3)),
    "mit_b3": Mit(WIDE, (3, 4, 18, 3)),
    "mit_b4": Mit(WIDE, (3, 8, 27, 3)),
    "mit_b5": Mit(WIDE, (3, 6, 40, 3)),
}


class Stream(nn.Module):
    """One encoder over some of the image's channels.

    Without drop-path, which would depend on how a step is split.
    """

    def __init__(self, mit: Mit, channels: Sequence[Channel], positions: Sequence[int]) -> None:
        super().__init__()
        self.positions = list(positions)
        self.normalise = Normalise(channels)
        config = SegformerConfig(
            num_channels=len(channels), depths=mit.depths, hidden_sizes=mit.widths,
            num_attention_heads=mit.heads, drop_path_rate=0.0,
        )  # fmt: skip
        self.stages = SegformerModel(config).stages

    def begin(self, images: Tensor) -> Tensor:
        """The first stage's map of images (B, C, H, W) that have all channels, as stored."""
        return self.stages[0](self.normalise(images[:, self.positions]))


class Streams(nn.Module):
    """A part: the streams of one kind.

    Gives their first maps; a stream that is alone gives all its levels.
    """

    reads = ("images",)
    streams: Any

    def __init__(self, name: str, streams: Sequence[Stream], alone: bool) -> None:
        super().__init__()
        self.streams = nn.ModuleList(streams)
        self.alone = alone
        first_maps = tuple(f"{name}_{number}" for number in range(len(streams)))
        self.writes = LEVELS if alone else first_maps

    @override
    def forward(self, state: State) -> State:
        maps = [stream.begin(state["images"]) for stream in self.streams]
        if self.alone:  # there is nobody to wait for: the later stages follow at once
            (stream,) = self.streams
            for number in range(1, len(LEVELS)):
                maps.append(stream.stages[number](maps[-1]))
        return cast(State, dict(zip(self.writes, maps, strict=True)))


class Fusion(nn.Module):
    """A part: runs the streams' later stages, rectifies them by each other in between, and fuses
    each level.

    The streams' weights are their own parts'; here is only the way to them.
    """

    writes = LEVELS
    levels: Any

    def __init__(self, parts: Sequence[Streams], kind: Kind, mit: Mit, zero_init: bool) -> None:
        super().__init__()
        self.parts = tuple(parts)  # a tuple's modules are not this one's
        self.reads = tuple(name for part in parts for name in part.writes)
        others = len(self.reads) - 1
        self.levels = nn.ModuleList(
            Level(kind, width, heads, others, zero_init)
            for width, heads in zip(mit.widths, mit.heads, strict=True)
        )

    @override
    def forward(self, state: State) -> State:
        maps = tensors(state, self.reads)
        streams = [stream for part in self.parts for stream in part.streams]
        fused = {}
        for number, (name, level) in enumerate(zip(LEVELS, self.levels, strict=True)):
            if number:
                maps = [
                    stream.stages[number](each) for stream, each in zip(streams, maps, strict=True)
                ]
            maps = level.rectified(maps)
            fused[name] = level(maps)
        return cast(State, fused)


class Neck(nn.Module):
    """A part: torchvision's feature pyramid with a pooled level on top; all maps have the same
    width.
    """

    reads = LEVELS
    writes = answers = PYRAMID

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.fpn = FeaturePyramidNetwork(list(widths), width, LastLevelMaxPool())

    @override
    def forward(self, state: State) -> State:
        maps = self.fpn(OrderedDict(zip(LEVELS, tensors(state, LEVELS), strict=True)))
        return cast(State, dict(zip(PYRAMID, maps.values(), strict=True)))
