"""Box formats and overlaps; the only place where one format becomes another.

A box tensor's name carries its format. Inside models: `boxes_cxcywh` in 0..1 of the image the model
sees. Outside: `boxes_xyxy` in pixels of the original image. In COCO files: `xywh` in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

# An area below which overlaps count as none; a single pixel of a 10,000 px image is ten times
# larger.
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
    """Multiply x values by `width` and y values by `height`; any format."""
    return boxes * boxes.new_tensor([width, height, width, height])


def iou_and_giou(a_xyxy: Tensor, b_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and generalised IoU (arXiv 1902.09630), of broadcast pairs of boxes.

    a_xyxy and b_xyxy (..., 4) broadcast against each other, so that (T, 4) with (T, 4) gives T
    pairs and (M, 1, 4) with (1, N, 4) gives all M x N: never a square matrix of which only the
    diagonal is wanted. Boxes without area give an IoU of 0, not NaN.
    """
    low = torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area_a = (a_xyxy[..., 2:] - a_xyxy[..., :2]).prod(-1)
    area_b = (b_xyxy[..., 2:] - b_xyxy[..., :2]).prod(-1)
    union = area_a + area_b - intersection
    iou = intersection / union.clamp(min=NO_AREA)
    hull_low = torch.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    hull_high = torch.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    hull = (hull_high - hull_low).prod(-1)
    return iou, iou - (hull - union) / hull.clamp(min=NO_AREA)
