"""Fusions of two streams."""

from __future__ import annotations

import pytest
import torch

from segue.models import rgbx_rcnn
from segue.structures.target import Batch
from tests.models.rgbx import build, pixels, two_targets


@pytest.mark.parametrize("fusion", ["cross", "add", "concat", "gated", "none"])
@pytest.mark.parametrize("zero_init", [True, False])
def test_every_fusion_learns(fusion, zero_init):
    """A few steps on one batch lower the loss, and move every parameter that is not the
    background's unread box.
    """
    chain = build(classes=("a", "b"), fusion=fusion, zero_init=zero_init)
    loss, targets = rgbx_rcnn.criterion(chain, "boxes", {}), two_targets()
    optimizer = torch.optim.AdamW(chain.parameters(), lr=2e-3, weight_decay=0.0)
    before, values = {n: p.detach().clone() for n, p in chain.named_parameters()}, []
    for _ in range(6):
        sums = loss(rgbx_rcnn.predictions(chain, chain.train()({"images": pixels()})), targets)
        total = loss.total(sums, Batch({}, targets).counts())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert min(values[3:]) < 0.8 * values[0]
    still = {name for name, p in chain.named_parameters() if torch.equal(p, before[name])}
    assert still == set()
