from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou, generalized_box_iou

from segue.structures.boxes import (
    cxcywh_to_xyxy,
    iou_and_giou,
    scale_xy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)
from tests.optional import present


def random_boxes(count: int, seed: int) -> torch.Tensor:
    corners = torch.rand(
        count, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return torch.cat([corners.amin(1), corners.amax(1) + 0.01], 1)


@given(st.integers(0, 50), st.integers(0, 2**31))
def test_formats_come_back_after_a_round_trip(count: Any, seed: int) -> None:
    boxes = random_boxes(count, seed)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


def test_a_box_in_each_format() -> None:
    xyxy = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    assert xyxy_to_cxcywh(xyxy).tolist() == [[20.0, 40.0, 20.0, 40.0]]
    assert xyxy_to_xywh(xyxy).tolist() == [[10.0, 20.0, 20.0, 40.0]]
    assert scale_xy(xyxy, 0.1, 0.5).tolist() == [[1.0, 10.0, 3.0, 30.0]]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**31))
def test_all_pairs_equal_torchvision(m: Any, n: Any, seed: int) -> None:
    a, b = random_boxes(m, seed), random_boxes(n, seed + 1)
    iou, giou = iou_and_giou(a[:, None], b[None])
    torch.testing.assert_close(iou, box_iou(a, b))
    torch.testing.assert_close(giou, generalized_box_iou(a, b))


def test_a_box_without_area_overlaps_nothing_and_has_a_gradient() -> None:
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]], requires_grad=True)
    iou, giou = iou_and_giou(point, point.detach())
    assert iou.item() == 0.0
    (iou + giou).sum().backward()
    assert torch.isfinite(present(point.grad)).all()
