"""Terms of the loss by themselves."""

from __future__ import annotations

import torch

from segue.losses import terms
from segue.losses.matcher import Costs, match
from segue.structures.predictions import Predictions
from tests.losses.test_criterion import target


def test_confident_logits_cost_no_nan():
    logits = torch.tensor([200.0, -200.0]).reshape(1, 1, 2, 1).requires_grad_()
    wanted = target(1, 1)
    wanted.labels[:] = 0
    m = match(
        Predictions(logits, torch.full((1, 1, 2, 4), 0.5), ("0",)), [wanted], Costs(classes=0)
    )
    value = terms.iou_aware_bce(logits, m, torch.tensor([0]), torch.tensor([0.9]), torch.ones(1))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(logits.grad).all()
