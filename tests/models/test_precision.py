"""What a GPU does by default: half precision, in every family and with every mask head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.pico import MODELS, batch_for, build, forward


@pytest.mark.parametrize(("family", "options"), MODELS)
def test_masks_are_trained_in_half_precision_and_the_loss_is_nearly_the_same(
    rendered: Path, family: Any, options: Any
) -> None:
    chain = build(family, **options).train()
    batch = batch_for(chain, rendered, 2)
    loss = {
        precision: forward(chain, batch, precision) for precision in (torch.float32, torch.bfloat16)
    }
    assert float(loss[torch.bfloat16].detach()) == pytest.approx(
        float(loss[torch.float32].detach()), rel=0.03
    )
    loss[torch.bfloat16].backward()
    head = [p for name, p in chain.named_parameters() if name.startswith(chain.order[-1] + ".")]
    assert sum(p.grad is not None for p in head) > 0.8 * len(head)
    assert all(p.grad.isfinite().all() for p in head if p.grad is not None)
