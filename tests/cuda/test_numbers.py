"""The same numbers on a GPU as on a CPU: random draws to the bit, losses, gradients and answers
within rounding.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from segue import models
from segue.inference.predict import Predictor
from segue.structures.detections import Detections
from segue.structures.seeds import points, uniform
from segue.training.checkpoint import Card
from tests.models.pico import MODELS, batch_for, build, loss_of
from tests.optional import present


def test_random_numbers_of_a_key_are_the_same_bits(device: str) -> None:
    keys = torch.tensor([0, 1, -1, 2**62, -(2**63)], dtype=torch.int64)
    assert torch.equal(uniform(keys.to(device), 1000).cpu(), uniform(keys, 1000))
    assert torch.equal(points(keys.to(device), 1000).cpu(), points(keys, 1000))


def test_targets_are_the_same_at_every_point(device: str, rendered: Path) -> None:
    target = batch_for(build("mask2former"), rendered, 1).targets[0]
    where = points(torch.arange(len(target)), 500)
    objects = torch.arange(len(target))
    there = present(target.to(device).masks).sample(objects.to(device), where.to(device))
    assert len(target) >= 5 and torch.equal(
        there.cpu(), present(target.masks).sample(objects, where)
    )


def learned(
    family: str, options: dict[str, Any], rendered: Path, device: str, precision: torch.dtype
) -> tuple[dict[str, float], float]:
    """Every term of the loss of a batch, and the length of its gradient."""
    chain = build(family, **options).to(device).train()
    batch, criterion = batch_for(chain, rendered, 3), loss_of(chain)
    part = batch.to(device)
    with torch.autocast(device.split(":")[0], precision, enabled=precision != torch.float32):
        predictions = models.get(family).predictions(chain, chain(part.inputs))
    sums = criterion(predictions, part.targets)
    criterion.total(sums, batch.counts()).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in chain.parameters() if p.grad is not None])
    return {
        name: float(criterion.total({name: value}, batch.counts())) for name, value in sums.items()
    }, float(norm)


@pytest.mark.parametrize(
    ("family", "options"), MODELS, ids=[f"{name}-{options}" for name, options in MODELS]
)
def test_losses_and_gradients_are_those_of_a_cpu(
    device: str, rendered: Path, family: Any, options: Any
) -> None:
    terms, norm = learned(family, options, rendered, "cpu", torch.float32)
    found, length = learned(family, options, rendered, device, torch.float32)
    assert found == pytest.approx(terms, rel=5e-3, abs=1e-4)
    assert length == pytest.approx(norm, rel=2e-2)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("family", "options"), MODELS, ids=[f"{name}-{options}" for name, options in MODELS]
)
def test_losses_in_half_precision_are_near_those_in_single(
    device: str, rendered: Path, family: Any, options: Any, precision: Any
) -> None:
    terms, _ = learned(family, options, rendered, device, torch.float32)
    found, length = learned(family, options, rendered, device, precision)
    assert sum(found.values()) == pytest.approx(sum(terms.values()), rel=0.05)
    assert found == pytest.approx(terms, rel=0.25, abs=0.05)
    assert 0 < length < float("inf")


@pytest.mark.parametrize(
    ("family", "options"), MODELS, ids=[f"{name}-{options}" for name, options in MODELS]
)
def test_predict_answers_as_on_a_cpu(device: str, family: Any, options: Any) -> None:
    chain = build(family, **options)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(2)]
    found: OrderedDict[str, list[Detections]] = OrderedDict()
    for where in ("cpu", device):
        predictor = Predictor(chain.to(where).eval(), Card(spec=chain.spec))
        found[where + str(len(found))] = predictor.predict(images, threshold=0.0, most=20)
    for a, b in zip(*found.values(), strict=True):
        assert len(a) == len(b) and len(a) > 0
        torch.testing.assert_close(a.scores, b.scores, atol=2e-3, rtol=0)
        shares = [agreement(a, b, i) for i in range(len(a))]
        assert sum(share > 0.95 for share in shares) >= 0.8 * len(shares), shares
        assert not b.boxes_xyxy.is_cuda and not b.scores.is_cuda


def agreement(a: Detections, b: Detections, i: int) -> float:
    """How well the best of `b` with the label and the score of object `i` of `a` agrees with it: by
    its mask, or by its box if there are none. Neighbours in score may have changed places.
    """
    like = (b.labels == a.labels[i]) & ((b.scores - a.scores[i]).abs() < 2e-3)
    others = like.nonzero()[:, 0].tolist()
    if not a.has_masks:
        return max(
            (float(box_iou(a.boxes_xyxy[i : i + 1], b.boxes_xyxy[j : j + 1])) for j in others),
            default=0.0,
        )
    mask, masks = present(a.masks)[i], b.masks
    return max((float((present(masks)[j] == mask).float().mean()) for j in others), default=0.0)
