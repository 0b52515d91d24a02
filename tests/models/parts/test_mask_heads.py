"""Mask heads: their size, where they begin, and masks that do not depend on what else is
computed.
"""

from __future__ import annotations

import pytest
import torch

from segue.models.parts import mask_heads
from tests.models.test_rfdetr import count


@pytest.mark.parametrize(("width", "stride"), [(256, 16), (256, 12), (256, 14), (96, 8), (384, 7)])
def test_the_nano_attention_head_has_at_least_seventy_percent_fewer_parameters(width, stride):
    full, small = (
        mask_heads.build(kind, width, 2, stride) for kind in ("attention", "attention-nano")
    )
    assert count(small) <= 0.3 * count(full)


@pytest.mark.parametrize("kind", ["dot", "attention", "attention-nano"])
@pytest.mark.parametrize(("cells", "stride"), [(8, 8), (6, 16), (10, 14), (8, 12)])
def test_masks_have_a_quarter_of_the_input_and_the_same_whatever_else_is_asked_for(
    kind, cells, stride
):
    torch.manual_seed(0)
    head = mask_heads.build(kind, 32, 2, stride).eval()
    masks = head(random_state(cells))["masks"]
    image, layer, query = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1]), torch.tensor([4, 0, 3])
    several = masks.at(image, layer, query)
    assert (
        several.shape == (3, cells * stride // 4, cells * stride // 4)
        and masks.size == several.shape[1:]
    )
    for i in range(3):
        torch.testing.assert_close(
            masks.at(*(t[i : i + 1] for t in (image, layer, query)))[0], several[i]
        )
    none = masks.at(*(t[:0] for t in (image, layer, query)))
    assert none.shape == (0, *masks.size)
    none.sum().backward()  # nothing asked for is still part of the graph


def random_state(cells: int) -> dict:
    queries, boxes = torch.randn(2, 2, 5, 32), 0.2 + 0.3 * torch.rand(2, 2, 5, 4)
    return {"memory_0": torch.randn(2, 32, cells, cells), "queries": queries, "boxes_cxcywh": boxes}


@pytest.mark.parametrize("kind", ["attention", "attention-nano"])
def test_a_new_attention_head_starts_with_the_filled_box(kind):
    torch.manual_seed(0)
    head, state = mask_heads.build(kind, 32, 2, 8), random_state(16)
    state["boxes_cxcywh"][0, 1, 2] = torch.tensor([0.5, 0.25, 0.5, 0.25])
    mask = head(state)["masks"].at(*(torch.tensor([i]) for i in (0, 1, 2)))[0] > 0
    box = torch.zeros(32, 32, dtype=torch.bool)
    box[4:12, 8:24] = True
    assert (mask & box).sum() / (mask | box).sum() > 0.95


def test_a_box_covers_its_share_of_each_cell():
    cover = mask_heads.box_cover(torch.tensor([[0.5, 0.5, 0.5, 0.25], [0.1, 0.1, 0.1, 0.1]]), 4, 8)
    assert cover[0, 1].tolist() == pytest.approx([0, 0, 0.5, 0.5, 0.5, 0.5, 0, 0])
    assert cover[1, 0, :2].tolist() == pytest.approx([0.24, 0.08])
    assert (cover.sum((1, 2)) / 32).tolist() == pytest.approx([0.125, 0.01])  # the box's area


def test_sampled_dot_masks_are_the_masks_sampled():
    torch.manual_seed(0)
    head = mask_heads.build("dot", 32, 2, 8)
    masks = head({"memory_0": torch.randn(2, 32, 8, 8), "queries": torch.randn(2, 2, 5, 32)})[
        "masks"
    ]
    where = torch.rand(2, 11, 2)
    sampled = masks.sample(where)  # (B, L, Q, P)
    image, layer, query = (
        t.flatten() for t in torch.meshgrid(*map(torch.arange, (2, 2, 5)), indexing="ij")
    )
    whole = masks.at(image, layer, query)
    expected = torch.nn.functional.grid_sample(
        whole[:, None], 2 * where[image][:, :, None] - 1, align_corners=False
    )
    torch.testing.assert_close(sampled.flatten(0, 2), expected[:, 0, :, 0], atol=1e-5, rtol=1e-4)
