"""Faster and Mask R-CNN's heads on a feature pyramid (arXiv 1506.01497, 1703.06870): torchvision's
layers, called region by region.

Which regions a loss looks at follows from the targets, which a model does not see. So the chain's
parts say something about all anchors, and `Regions` classifies and outlines the boxes that a loss
or postprocess names. Boxes in this file are xyxy in pixels of the frame.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops import boxes as box_ops
from typing_extensions import override

from segue.models.parts.chain import tensors
from segue.models.parts.layers import precision_now
from segue.models.parts.state import State
from segue.structures.regions import Region

PYRAMID = tuple(f"pyramid_{i}" for i in range(5))  # of strides 4, 8, 16, 32, 64
STRIDES = (4, 8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)
POOLED, SAMPLING, MASK_POOLED = 7, 2, 14
ALL = 1_000_000  # as many detections as there are; what asks says how many it wants


class RegionHead(nn.Module):
    """A part: where something may be (region proposals), and what it is (classes and boxes of
    regions).

    Gives "objectness" (B, A) and "deltas" (B, A, 4) of all anchors. hidden: width of the box head.
    anchor: side of the smallest anchor in pixels; that of each level is twice the one before.
    regions: of an image, that a training step looks at. Thresholds are torchvision's.
    """

    reads = PYRAMID
    writes = answers = ("objectness", "deltas")

    def __init__(self, width: int, hidden: int, classes: int, anchor: int, regions: int) -> None:
        super().__init__()
        self.regions = regions
        sides = tuple((anchor * 2**i,) for i in range(len(PYRAMID)))
        self.rpn = RegionProposalNetwork(
            AnchorGenerator(sides, (RATIOS,) * len(sides)), RPNHead(width, len(RATIOS)),
            fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=256, positive_fraction=0.5,
            pre_nms_top_n={"training": 2000, "testing": 1000},
            post_nms_top_n={"training": 2000, "testing": 1000}, nms_thresh=0.7,
        )  # fmt: skip
        self.roi = RoIHeads(
            MultiScaleRoIAlign(list(PYRAMID), POOLED, SAMPLING, canonical_scale=7 * anchor),
            TwoMLPHead(width * POOLED**2, hidden), BoxPredictor(hidden, classes),
            fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=regions,
            positive_fraction=0.25, bbox_reg_weights=None, score_thresh=0.05, nms_thresh=0.5,
            detections_per_img=ALL,
        )  # fmt: skip

    @override
    def forward(self, state: State) -> State:
        objectness, deltas = self.rpn.head(tensors(state, PYRAMID))
        objectness, deltas = concat_box_prediction_layers(objectness, deltas)
        images = len(state["pyramid_0"])
        return {
            "objectness": objectness.reshape(images, -1),
            "deltas": deltas.reshape(images, -1, 4),
        }

    def anchors(self, sizes: Sequence[Sequence[int]], device: torch.device) -> Tensor:
        """All anchors (A, 4), xyxy in pixels of the frame, for maps of these sizes (height, width).

        In single precision whatever the maps have: half of it would move anchors by pixels.
        """
        generator = self.rpn.anchor_generator
        generator.set_cell_anchors(torch.float32, device)
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in STRIDES]
        return torch.cat(generator.grid_anchors([list(size) for size in sizes], strides))


class BoxPredictor(nn.Module):
    """torchvision's FastRCNNPredictor with the background's rows apart, so that class rows are
    classes only.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.class_head = nn.Linear(width, classes)
        # its logit and, for torchvision's layout, a box that nobody reads
        self.background = nn.Linear(width, 5)
        self.box_weight = nn.Parameter(
            torch.empty(classes, 4, width).uniform_(-(width**-0.5), width**-0.5)
        )
        self.box_bias = nn.Parameter(torch.empty(classes, 4).uniform_(-(width**-0.5), width**-0.5))

    @override
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (T, D) -> logits (T, K + 1) and deltas (T, 4 (K + 1)), the background first."""
        background = self.background(features)
        deltas = F.linear(features, self.box_weight.flatten(0, 1), self.box_bias.flatten())
        logits = torch.cat([background[:, :1], self.class_head(features)], 1)
        return logits, torch.cat([background[:, 1:], deltas], 1)


class MaskHead(nn.Module):
    """A part: Mask R-CNN's branch, 28 x 28 logits of each class inside a region.

    It writes nothing: which regions it is asked about is known when the loss or postprocess asks.
    """

    reads = PYRAMID
    writes: tuple[str, ...] = ()

    def __init__(self, width: int, layers: int, classes: int, anchor: int) -> None:
        super().__init__()
        self.pool = MultiScaleRoIAlign(
            list(PYRAMID[:4]), MASK_POOLED, SAMPLING, canonical_scale=7 * anchor
        )
        self.layers = MaskRCNNHeads(width, (width,) * layers, 1)
        self.predictor = MaskRCNNPredictor(width, width, classes)

    @override
    def forward(self, state: State) -> State:
        return {}


@dataclass(slots=True)
class Regions:
    """What a batch shows, region by region; `segue.losses.rcnn` and postprocess ask for what they
    need.

    objectness (B, A) and deltas (B, A, 4) of anchors (A, 4); size: height, width of the frame.
    precision: a context in which autocast is as it was for the rest of the model.
    """

    head: RegionHead
    mask_head: MaskHead | None
    pyramid: OrderedDict[str, Tensor]
    objectness: Tensor
    deltas: Tensor
    size: tuple[int, int]
    precision: Callable[[], AbstractContextManager[object]]

    @classmethod
    def of(cls, head: RegionHead, mask_head: MaskHead | None, state: State) -> Regions:
        pyramid = OrderedDict(zip(PYRAMID, tensors(state, PYRAMID), strict=True))
        finest = pyramid[PYRAMID[0]]
        size = (finest.shape[-2] * STRIDES[0], finest.shape[-1] * STRIDES[0])
        answers = (state["objectness"].float(), state["deltas"].float())
        return cls(head, mask_head, pyramid, *answers, size, precision_now(finest))

    @property
    def anchors(self) -> Tensor:
        return self.head.anchors(
            [each.shape[-2:] for each in self.pyramid.values()], self.objectness.device
        )

    @torch.no_grad()
    def proposals(self, anchors: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each image the anchors (P,) that are worth a look, best first, and where they say the
        object is (P, 4).

        torchvision's `filter_proposals`, which does not say which anchor a proposal comes from; the
        loss needs to know, because an anchor's index seeds the draw of its region.
        """
        rpn = self.head.rpn
        counts = [len(RATIOS) * each.shape[-2] * each.shape[-1] for each in self.pyramid.values()]
        starts = [0, *itertools.accumulate(counts)]
        levels = torch.repeat_interleave(torch.tensor(counts, device=anchors.device))
        proposals = []
        # one image at a time: each keeps another number of proposals
        for objectness, deltas in zip(self.objectness, self.deltas, strict=True):
            most = [min(rpn.pre_nms_top_n(), count) for count in counts]
            # the best of each level by itself, or the finest one's many anchors would crowd out all
            levelwise = zip(starts, objectness.split(counts), most, strict=False)
            best = torch.cat([start + of.topk(count).indices for start, of, count in levelwise])
            boxes = rpn.box_coder.decode_single(deltas[best], anchors[best])
            boxes = box_ops.clip_boxes_to_image(boxes, self.size)
            # also drops boxes that are NaN, at which RoIAlign ends the process
            kept = box_ops.remove_small_boxes(boxes, rpn.min_size)
            best, boxes = best[kept], boxes[kept]
            # suppression within a level only, as torchvision's
            kept = box_ops.batched_nms(
                boxes, objectness[best].sigmoid(), levels[best], rpn.nms_thresh
            )
            kept = kept[: rpn.post_nms_top_n()]
            proposals.append((best[kept], boxes[kept]))
        return proposals

    def classify(self, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (T, K + 1), background first, and deltas (T, K + 1, 4) of the boxes (T_i, 4) of
        each image.
        """
        roi = self.head.roi
        with self.precision():
            pooled = roi.box_roi_pool(self.pyramid, boxes, [self.size] * len(boxes))
            logits, deltas = roi.box_predictor(roi.box_head(pooled))
        return logits.float(), deltas.float().unflatten(1, (-1, 4))

    def mask_logits(self, boxes: list[Tensor]) -> Tensor:
        """Mask logits (T, K, 28, 28) inside the boxes (T_i, 4) of each image."""
        assert self.mask_head is not None, "masks need a model with a mask head"
        with self.precision():
            pooled = self.mask_head.pool(self.pyramid, boxes, [self.size] * len(boxes))
            return self.mask_head.predictor(self.mask_head.layers(pooled)).float()

    def detections(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Boxes (N, 4), scores (N,) and labels (N,) from 0 of each image, best first."""
        boxes = [boxes for _, boxes in self.proposals(self.anchors)]
        logits, deltas = self.classify(boxes)
        sizes = [self.size] * len(boxes)
        boxes_xyxy, scores, labels = self.head.roi.postprocess_detections(
            logits, deltas.flatten(1), boxes, sizes
        )
        return boxes_xyxy, scores, [each - 1 for each in labels]

    def mask_loss_tensors(self, objects: int, points: int | None) -> list[Tensor]:
        """What a step asks about the regions of one image, and a prediction with `objects` objects,
        whatever it shows: their classes, boxes and masks. Also on meta tensors, which have no
        values to choose by.
        """
        roi, finest = self.head.roi, self.pyramid[PYRAMID[0]]
        regions, outlined = self.head.rpn.post_nms_top_n(), objects
        if self.head.training or torch.is_grad_enabled():
            regions, outlined = self.head.regions, self.head.regions // 4

        def pooled(count: int, side: int) -> Tensor:
            return finest.new_zeros(count, finest.shape[1], side, side).requires_grad_(
                finest.requires_grad
            )

        values = list(roi.box_predictor(roi.box_head(pooled(regions, POOLED))))
        if self.mask_head is not None:
            values.append(
                self.mask_head.predictor(self.mask_head.layers(pooled(outlined, MASK_POOLED)))
            )
        return values


def pasted(mask_logits: Tensor, box_xyxy: Tensor, height: int, width: int) -> Region:
    """A region's mask (h, w) in its box, pixels of an image of height x width: positive logits at
    pixel centres.
    """
    x0, y0, x1, y1 = box_xyxy.tolist()
    left, top = max(int(x0), 0), max(int(y0), 0)
    columns = torch.arange(left, min(int(x1) + 1, width)) + 0.5
    rows = torch.arange(top, min(int(y1) + 1, height)) + 0.5
    columns, rows = columns[(columns >= x0) & (columns < x1)], rows[(rows >= y0) & (rows < y1)]
    if not len(columns) or not len(rows):
        return Region(left, top, 0, 0, b"")
    across, down = 2 * (columns - x0) / (x1 - x0) - 1, 2 * (rows - y0) / (y1 - y0) - 1
    grid = torch.stack(torch.meshgrid(down, across, indexing="ij")[::-1], -1)[None]
    values = F.grid_sample(
        mask_logits[None, None], grid, padding_mode="border", align_corners=False
    )
    return Region.of((values[0, 0] > 0).numpy(), int(columns[0]), int(rows[0]))
