"""Box formats and overlaps; the only place where one format becomes another.

A box tensor's name carries its format. Inside models: `boxes_cxcywh` in 0..1 of the image the model
sees. Outside: `boxes_xyxy` in pixels of the original image. In COCO files: `xywh` in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The least area that is divided by, in squared units of the boxes, so that a box without area gives
# an IoU of 0 instead of NaN. A single pixel of a 10,000 px image, in 0..1, is ten times larger.
NO_AREA = 1e-9


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """(..., 4) centre and size -> (..., 4) corners; the unit (pixels or 0..1) is kept."""
    centre, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """(..., 4) corners -> (..., 4) centre and size; the unit is kept."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def xyxy_to_xywh(boxes_xyxy: Tensor) -> Tensor:
    """(..., 4) corners -> (..., 4) low corner and size, as COCO files write boxes; the unit is
    kept.
    """
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat([low, high - low], dim=-1)


def scale_xy(boxes: Tensor, width: float, height: float) -> Tensor:
    """Boxes (..., 4) of any format, x values times `width` and y values times `height`: from 0..1
    to pixels, or back with 1 / width and 1 / height.
    """
    return boxes * boxes.new_tensor([width, height, width, height])


def iou_and_giou(a_xyxy: Tensor, b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and generalised IoU (arXiv 1902.09630), of broadcast pairs of boxes.

    a_xyxy and b_xyxy (..., 4), in one unit, broadcast against each other: (T, 4) with (T, 4) gives
    T pairs and (M, 1, 4) with (1, N, 4) gives all M x N, so that no square matrix is built of which
    only the diagonal is needed. Returns IoU in 0..1 and GIoU in -1..1, each of the broadcast shape
    without its last axis. Boxes without area give an IoU of 0, not NaN.
    """
    low = torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area_a = (a_xyxy[..., 2:] - a_xyxy[..., :2]).prod(-1)
    area_b = (b_xyxy[..., 2:] - b_xyxy[..., :2]).prod(-1)
    union = area_a + area_b - intersection
    iou = intersection / union.clamp(min=NO_AREA)
    # The hull is the smallest box around both; what neither box covers of it is the penalty that
    # still has a gradient where the two do not overlap.
    hull_low = torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    hull_high = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    hull = (hull_high - hull_low).prod(-1)
    return iou, iou - (hull - union) / hull.clamp(min=NO_AREA)
