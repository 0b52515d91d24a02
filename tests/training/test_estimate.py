"""What a plan will cost: counted without weights or data, and equal to what real steps then do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from segue import models
from segue.training.estimate import _Counted, free_bytes, needs
from segue.training.freeze_benefit import counted
from tests.models.pico import MODELS, batch_for, build, forward


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("family", "options"), MODELS)
def test_what_is_counted_is_what_a_real_step_does(
    rendered: Path, family: Any, options: Any, frozen: bool
) -> None:
    chain = build(family, **options)
    if frozen:
        chain.freeze_through(chain.order[0])
    batch = batch_for(chain, rendered, 1)
    found = needs(chain.train(), len(batch.targets[0]))
    with _Counted() as real:
        losses = []
        kept = counted(chain, lambda: losses.append(forward(chain, batch)))
        losses[0].backward()
    # as many regions are counted as may be looked at; this image proposes fewer
    if family == "rgbx_rcnn":
        assert (
            kept < found.activations < 2 * kept
            and real.operations < found.step < 2 * real.operations
        )
    else:
        assert found.activations == pytest.approx(kept, rel=0.02)
        assert found.step == pytest.approx(real.operations, rel=0.02)
    assert found.learned < found.parameters if frozen else found.learned == found.parameters
    assert found.parameters == sum(p.numel() for p in chain.parameters())
    assert 0 < found.forward < found.step < 8 * found.forward
    assert chain.training and all(p.grad is None or p.requires_grad for p in chain.parameters())


def test_every_family_is_counted() -> None:
    assert {family for family, _ in MODELS} == set(models.names())


def test_resnet50_has_its_published_operations() -> None:
    """4.09 billion multiplications and additions for 224 x 224 pixels (torchvision's table of
    weights: 4.09 GFLOPS).
    """
    with torch.device("meta"), torch.no_grad(), _Counted() as found:
        timm.create_model("resnet50").eval()(torch.zeros(1, 3, 224, 224))
    assert found.operations == pytest.approx(2 * 4.09e9, rel=0.01)


def test_freezing_saves_operations_and_memory() -> None:
    whole, frozen = build("rfdetr"), build("rfdetr")
    frozen.freeze_through("decoder")
    a, b = needs(whole, 10), needs(frozen, 10)
    assert a.forward == b.forward and b.step < 0.6 * a.step and b.activations < 0.6 * a.activations


def test_more_objects_and_masks_ask_for_more() -> None:
    chain = build("rfdetr", objects=40)
    few, many = needs(chain, 4), needs(chain, 40)
    assert few.activations < many.activations and few.step < many.step
    assert needs(build("rfdetr", masks=False), 4).activations < few.activations


def test_images_fit_as_memory_allows() -> None:
    found = needs(build("detr"), 10)
    takes = found.bytes_of(7, torch.float32, averaged=True)
    assert found.images_in(takes, torch.float32, True) == 7
    assert found.images_in(int(0.99 * takes), torch.float32, True) == 6
    assert found.images_in(takes, torch.bfloat16, True) > 7
    assert found.bytes_of(7, torch.float32, averaged=False) == takes - 4 * found.learned
    assert found.images_in(1000, torch.float32, True) == 0
    assert (free_bytes("cpu") or 0) > 1e8
