"""Freezing is proven: not a bit of what is frozen moves, and one that does is noticed."""

from __future__ import annotations

import pytest
import torch

from segue.training import optim
from segue.training.ema import Ema
from segue.training.freeze import FrozenProof, digest
from tests.models.parts.test_chain import chain


def test_frozen_means_frozen_after_many_steps_with_decay_average_and_train_mode() -> None:
    model = chain()
    model.freeze_through("two")
    proof = FrozenProof.of(model)
    learned = digest(model.learning_tensors())
    optimizer, average = (
        optim.build(model, optim.Optimizer(lr=0.1, weight_decay=0.5)),
        Ema(model, 0.9),
    )
    for _ in range(25):
        model.train()
        model({"images": torch.randn(8, 4)})["z"].square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(model)
    with average.applied(model):
        assert "unchanged" in proof.check(model)
    assert proof.check(model) == (
        f"frozen one, two: {len(proof.names)} tensors, {proof.values:,} values unchanged (sha256 "
        f"{proof.sha256[:12]})"
    )
    assert digest(model.learning_tensors()) != learned


def test_the_proof_notices_a_single_bit() -> None:
    from segue.errors import TrainingError

    model = chain()
    model.freeze_through("one")
    proof = FrozenProof.of(model)
    with torch.no_grad():
        model.one.norm.running_mean[2] += 1e-7
    with pytest.raises(TrainingError, match="changed while it was frozen"):
        proof.check(model)
