"""Where masks are compared: at undecided points, drawn from a key."""

from __future__ import annotations

import torch

from segue.losses.points import point_count, uncertain_points
from segue.structures.seeds import points


def test_uncertain_points_are_where_the_mask_is_undecided_and_follow_from_the_key():
    # undecided along the middle column
    logits = torch.linspace(-10, 10, 32).expand(2, 32, 32).contiguous()
    count = point_count(32, 32)
    keys = torch.tensor([5, 6])
    where = uncertain_points(logits, keys, count)
    assert where.shape == (2, count, 2) and torch.equal(
        where, uncertain_points(logits, keys, count)
    )
    assert not torch.equal(where[0], where[1])
    near = (where[..., 0] - 0.5).abs() < 0.15
    assert near.float().mean() > 0.7


def test_points_are_evenly_spread():
    where = points(torch.arange(4), 256)
    for axis in range(2):
        counts = torch.histc(where[0, :, axis], 16, 0, 1)
        assert counts.min() >= 12 and counts.max() <= 20
