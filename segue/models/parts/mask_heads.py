"""Mask heads for detectors with queries: from image features and query features to masks, for
chosen queries only.

All take the detector's feature map `memory` (B, D, h, w), each cell `stride` pixels wide, and query
features (B, L, Q, D), and give masks whose cells are `mask_stride` pixels wide: 4, as RF-DETR's, or
less. Every layer is built at once, so that the optimizer and the checkpoint know all of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from segue.models._transformers import (
    RfDetrConfig,
    RfDetrSegmentationBlock,
    RfDetrSegmentationMLPBlock,
)
from segue.models.parts.layers import precision_now
from segue.models.parts.state import State

# channels before the output: with 4, all of them died behind their ReLU inside the masks
NARROWEST = 16


@dataclass(slots=True)
class DotMasks:
    """Masks as products of query vectors (B, L, Q, D) and pixel vectors, one map (B, D, h, w) for
    each layer.
    """

    pixels: list[Tensor]
    queries: Tensor
    bias: Tensor
    trained_from: int = 0  # each layer has a block of its own

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels[0].shape[-2], self.pixels[0].shape[-1]

    def at(self, image: Tensor, layer: Tensor, query: Tensor) -> Tensor:
        """Mask logits (T, h, w)."""
        chosen = self.queries[image, layer, query]  # (T, D)
        logits = chosen.new_zeros(len(chosen), *self.size)
        for number, pixels in enumerate(self.pixels):
            for i in range(len(pixels)):
                here = ((layer == number) & (image == i)).nonzero()[:, 0].to(logits.device)
                logits = logits.index_add(
                    0, here, (chosen[here] @ pixels[i].flatten(1)).unflatten(1, self.size)
                )
        return logits + self.bias

    def sample(self, points: Tensor) -> Tensor:
        """Mask logits (B, L, Q, P) at points (B, P, 2): sampling commutes with the product.

        In single precision: half of it would move points by more than a cell.
        """
        grid = 2 * points[:, :, None] - 1
        # L x (B, D, P)
        sampled = [F.grid_sample(p.float(), grid, align_corners=False)[..., 0] for p in self.pixels]
        return (
            torch.einsum("blqd,bldp->blqp", self.queries.float(), torch.stack(sampled, 1))
            + self.bias
        )


class DotMaskHead(nn.Module):
    """RF-DETR's head: depthwise blocks on the enlarged features, one for each decoder layer, dot
    product with queries.

    roboflow/rf-detr `models/heads/segmentation.py`; the layers are transformers'. Proposals of the
    two-stage encoder (layer "enc") skip the blocks but not the projection (transformers 5.23 skips
    both).
    """

    reads = ("memory_0", "queries")  # and enc_queries, where the decoder wrote them
    writes = ("masks",)

    def __init__(self, width: int, layers: int, stride: int, mask_stride: int = 4) -> None:
        super().__init__()
        config = RfDetrConfig(d_model=width, intermediate_size=4 * width)
        self.stride, self.mask_stride = stride, mask_stride
        self.blocks = nn.ModuleList(RfDetrSegmentationBlock(config) for _ in range(layers))
        self.spatial_proj = nn.Conv2d(width, width, 1)
        self.query_block = RfDetrSegmentationMLPBlock(config)
        self.query_proj = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(1))

    @override
    def forward(self, state: State) -> State:
        size = mask_size(state["memory_0"], self.stride, self.mask_stride)
        features = F.interpolate(state["memory_0"], size=size, mode="bilinear", align_corners=False)
        queries = state["queries"]
        pixels: list[Tensor] = []
        if "enc_queries" in state:
            pixels.append(self.spatial_proj(features))
            queries = torch.cat([state["enc_queries"], queries], 1)
        for block in self.blocks:
            features = block(features)
            pixels.append(self.spatial_proj(features))
        return {"masks": DotMasks(pixels, self.query_proj(self.query_block(queries)), self.bias)}


@dataclass(slots=True)
class AttentionMasks:
    """Masks that a small convolutional head computes for each chosen query when they are asked for,
    under the autocast of the forward pass.

    memory (B, D, h, w); queries (B, L, Q, D); boxes_cxcywh (B, L, Q, 4) in 0..1.
    """

    head: AttentionMaskHead
    memory: Tensor
    queries: Tensor
    boxes_cxcywh: Tensor
    precision: Callable[[], AbstractContextManager[object]]

    @property
    def trained_from(self) -> int:
        """The last layer: all share the same weights, and only its masks are ever the answer."""
        return self.queries.shape[1] - 1

    @property
    def size(self) -> tuple[int, int]:
        return mask_size(self.memory, self.head.stride, self.head.mask_stride)

    def at(self, image: Tensor, layer: Tensor, query: Tensor) -> Tensor:
        """Mask logits (T, h, w)."""
        chosen = (image, layer, query)
        with self.precision():
            return self.head.masks(
                self.memory, image, self.queries[chosen], self.boxes_cxcywh[chosen].detach()
            )

    def sample(self, points: Tensor) -> Tensor:
        """Not offered: all queries of all layers would be thousands of convolutions.

        Match on boxes instead.
        """
        raise NotImplementedError("attention heads match on boxes only")


class AttentionMaskHead(nn.Module):
    """DETRsegm's head (arXiv 2005.12872, section 4.4): where a query looks, refined by
    convolutions.

    Eight attention maps of the query, and which cells its box covers, are joined with the features
    and go through 3x3 convolutions of widths `stem`; then the map doubles until its cells are
    `mask_stride` pixels wide, each time with a 1x1 adapter of the features added and half the
    channels. The first convolution is split by its inputs, so that its larger half runs once for an
    image instead of once for a query.

    The box is ours, not DETRsegm's: what comes out is added to the filled box, which a new head
    therefore starts with. A frozen detector's queries know their boxes better than their outlines
    (docs/benchmarks.md).
    """

    reads = ("memory_0", "queries", "boxes_cxcywh")  # and enc_*, where the decoder wrote them
    writes = ("masks",)
    HEADS = 8

    def __init__(self, width: int, stride: int, stem: Sequence[int], mask_stride: int = 4) -> None:
        super().__init__()
        self.stride, self.mask_stride = stride, mask_stride
        self.query_proj, self.key_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.from_memory = nn.Conv2d(width, stem[0], 3, padding=1, bias=False)
        self.from_query = nn.Conv2d(self.HEADS + 1, stem[0], 3, padding=1)
        self.norm = nn.GroupNorm(math.gcd(8, stem[0]), stem[0])
        self.stem = nn.ModuleList(_ConvNormReLU(a, b) for a, b in itertools.pairwise(stem))
        doublings = max(1, math.ceil(math.log2(stride / mask_stride)))
        widths = [stem[-1], *(max(stem[-1] // 2**i, NARROWEST) for i in range(1, doublings + 1))]
        self.adapters = nn.ModuleList(nn.Conv2d(width, c, 1) for c in widths[:-1])
        self.growth = nn.ModuleList(_ConvNormReLU(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Conv2d(widths[-1], 1, 3, padding=1)
        self.box_weight = nn.Parameter(torch.tensor([2.0]))

    @override
    def forward(self, state: State) -> State:
        queries, boxes_cxcywh = state["queries"], state["boxes_cxcywh"]
        if "enc_queries" in state:
            queries = torch.cat([state["enc_queries"], queries], 1)
            boxes_cxcywh = torch.cat([state["enc_boxes_cxcywh"], boxes_cxcywh], 1)
        return {
            "masks": AttentionMasks(
                self, state["memory_0"], queries, boxes_cxcywh, precision_now(queries)
            )
        }

    def masks(self, memory: Tensor, image: Tensor, queries: Tensor, boxes_cxcywh: Tensor) -> Tensor:
        """Mask logits (T, h, w) of T queries (T, D) with boxes (T, 4), each for the image (T,) it
        belongs to.
        """
        height, width = memory.shape[-2:]
        # stem: from_memory runs once for each image and is picked by index for each query
        covered = box_cover(boxes_cxcywh, height, width).to(memory.dtype)
        maps = torch.cat([self.attention(memory, image, queries), covered[:, None]], 1)
        x = self.norm(self.from_memory(memory)[image] + self.from_query(maps)).relu()
        for conv in self.stem:
            x = conv(x)
        size = mask_size(memory, self.stride, self.mask_stride)
        for number, (adapter, conv) in enumerate(zip(self.adapters, self.growth, strict=True)):
            last = number == len(self.growth) - 1
            # the last step goes to the exact size, which need not be a power of two away
            step = size if last else (x.shape[-2] * 2, x.shape[-1] * 2)
            # FPN-like: features enter each size again through a 1x1 adapter, once per image
            adapted = F.interpolate(adapter(memory), size=step, mode="bilinear")
            x = conv(F.interpolate(x, size=step, mode="nearest") + adapted[image])
        return self.out(x)[:, 0] + self.box_weight * (
            2 * box_cover(boxes_cxcywh, *size).to(x.dtype) - 1
        )

    def attention(self, memory: Tensor, image: Tensor, queries: Tensor) -> Tensor:
        """Where each head of a query looks (T, heads, h, w): softmax over all cells, so that their
        mean is 1.
        """
        # (B, hw, heads, d)
        keys = self.key_proj(memory.flatten(2).transpose(1, 2)).unflatten(-1, (self.HEADS, -1))
        queried = self.query_proj(queries).unflatten(-1, (self.HEADS, -1))  # (T, heads, d)
        scores = torch.einsum("thd,tshd->ths", queried * queried.shape[-1] ** -0.5, keys[image])
        return scores.softmax(-1).mul(scores.shape[-1]).unflatten(-1, tuple(memory.shape[-2:]))


class _ConvNormReLU(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(math.gcd(8, outputs), outputs)

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).relu()


def box_cover(boxes_cxcywh: Tensor, height: int, width: int) -> Tensor:
    """How much of each cell of a grid a box covers, (T, height, width) in 0..1, for boxes (T, 4) in
    0..1.
    """

    def along(centre: Tensor, extent: Tensor, cells: int) -> Tensor:
        edges = torch.arange(cells + 1, device=centre.device) / cells
        low, high = (centre - extent / 2)[:, None], (centre + extent / 2)[:, None]
        return (edges.clamp(low, high).diff(dim=1) * cells).float()

    x, y, w, h = boxes_cxcywh.float().unbind(1)
    return along(y, h, height)[:, :, None] * along(x, w, width)[:, None, :]


def mask_size(memory: Tensor, stride: int, mask_stride: int) -> tuple[int, int]:
    """Height and width of masks for the features (B, D, h, w) of an image."""
    return memory.shape[-2] * stride // mask_stride, memory.shape[-1] * stride // mask_stride


def build(kind: str, width: int, layers: int, stride: int, mask_stride: int = 4) -> nn.Module:
    """The mask head called `kind` for features of `width` channels at `stride` and this many
    decoder layers.
    """
    if kind == "dot":
        return DotMaskHead(width, layers, stride, mask_stride)
    stems = {
        "attention": (width + AttentionMaskHead.HEADS, width // 2),
        "attention-nano": (width // 4,),
    }
    return AttentionMaskHead(width, stride, stems[kind], mask_stride)
