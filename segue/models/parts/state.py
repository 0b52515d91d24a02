"""What the parts of a chain hand to each other: named values of a batch."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor

from segue.structures.predictions import MaskSource


class State(TypedDict, total=False):
    """The values that the published families write, under one name each. Each comment says the
    shape (letters as in `segue.structures`) and who writes it.

    At run time it is a plain dict: a family of yours may add names, as long as the part that writes
    one declares it in `writes`. Every tensor has the batch as its first dimension. Numbered names
    (`map_0`, `map_1`, ...) go from the finest map to the coarsest unless their comment says
    otherwise; streams are numbered in the order of the plan's `groups`.
    """

    images: Tensor  # (B, C, H, W) uint8, or floating point in 0..1; the input of every chain

    # Maps of a backbone.
    features: Tensor  # (B, D, h, w): detr's last map; rfdetr's chosen layers side by side in D
    map_0: Tensor  # (B, D, H/4, W/4): mask2former's backbone, whose D doubles with each map
    map_1: Tensor  # (B, D, H/8, W/8)
    map_2: Tensor  # (B, D, H/16, W/16)
    map_3: Tensor  # (B, D, H/32, W/32)
    rgb_0: Tensor  # (B, D, H/4, W/4): rgbx_rcnn's RGB stream after its first stage
    x_0: Tensor  # (B, D, H/4, W/4): its other streams after theirs; x_1, x_2, ... with `groups`

    # What queries or region heads look at.
    memory_0: Tensor  # (B, D, h, w): detr's encoder; rfdetr's projector
    memory_1: Tensor  # (B, D, h, w): rfdetr large only
    level_0: (
        Tensor  # (B, D, h, w): rgbx_rcnn's fused levels, H/4; mask2former's, coarse (H/32) first
    )
    level_1: Tensor  # (B, D, h, w): H/8; H/16
    level_2: Tensor  # (B, D, h, w): H/16; H/8
    level_3: Tensor  # (B, D, h, w): H/32; rgbx_rcnn only
    pixels: Tensor  # (B, D, H/4, W/4): what masks are products with, of mask2former's pixel decoder
    pyramid_0: Tensor  # (B, D, H/4, W/4): rgbx_rcnn's feature pyramid
    pyramid_1: Tensor  # (B, D, H/8, W/8)
    pyramid_2: Tensor  # (B, D, H/16, W/16)
    pyramid_3: Tensor  # (B, D, H/32, W/32)
    pyramid_4: Tensor  # (B, D, H/64, W/64)

    # The answer of families with queries.
    queries: Tensor  # (B, L, Q, D): the output of each decoder layer
    logits: Tensor  # (B, L, Q, K), or K + 1 with "no object" last
    boxes_cxcywh: Tensor  # (B, L, Q, 4) in 0..1
    groups: int  # Q is this many equal groups of queries (Group DETR); rfdetr only
    enc_queries: Tensor  # (B, 1, Q, D): the two-stage encoder's proposals; rfdetr in training only
    enc_logits: Tensor  # (B, 1, Q, K)
    enc_boxes_cxcywh: Tensor  # (B, 1, Q, 4) in 0..1
    masks: MaskSource  # of all queries of all layers, computed where somebody asks for them

    # The answer of families with regions.
    objectness: Tensor  # (B, A): logits of all anchors
    deltas: Tensor  # (B, A, 4): from each anchor to the box it proposes, torchvision's coding
