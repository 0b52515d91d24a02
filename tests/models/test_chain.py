from __future__ import annotations

import pytest
import torch
from torch import nn

from segue.models import ModelSpec
from segue.models.parts.chain import Chain
from segue.training import optim
from segue.training.freeze import FrozenProof, digest

SPEC = ModelSpec(family="rfdetr", size="pico", classes=("a",))


class Part(nn.Module):
    """A part with everything that moves by itself: batch statistics, dropout, weights."""

    def __init__(self, reads: str, writes: str) -> None:
        super().__init__()
        self.reads, self.writes = (reads,), writes
        self.linear, self.norm, self.dropout = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, state):
        self.recorded = torch.is_grad_enabled()
        return {self.writes: self.dropout(self.norm(self.linear(state[self.reads[0]])))}


def chain() -> Chain:
    torch.manual_seed(0)
    return Chain(SPEC, {"one": Part("images", "x"), "two": Part("x", "y"), "three": Part("y", "z")})


def test_freezing_moves_a_boundary_along_the_chain():
    model = chain()
    model.freeze_through("two")
    assert model.frozen == ("one", "two") and model.learning == ("three",)
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == {"three"}
    model.freeze_through(None)
    assert model.frozen == () and all(p.requires_grad for p in model.parameters())


def test_frozen_parts_stay_in_eval_mode_and_record_nothing():
    model = chain()
    model.freeze_through("two")
    model.train()
    assert [model.part(n).training for n in model.order] == [False, False, True]
    inputs = {"images": torch.randn(8, 4)}
    model(inputs)
    assert [model.part(n).recorded for n in model.order] == [False, False, True]
    assert torch.equal(
        model.run(inputs, 0, 2, learn=False)["y"], model.run(inputs, 0, 2, learn=False)["y"]
    )


def test_frozen_means_frozen_after_many_steps_with_decay_average_and_train_mode():
    model = chain()
    model.freeze_through("two")
    proof = FrozenProof.of(model)
    learned = digest(model.learning_tensors())
    optimizer, average = (
        optim.build(model, optim.Optimizer(lr=0.1, weight_decay=0.5)),
        optim.Ema(model, 0.9),
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


def test_the_proof_notices_a_single_bit():
    from segue.errors import TrainingError

    model = chain()
    model.freeze_through("one")
    proof = FrozenProof.of(model)
    with torch.no_grad():
        model.one.norm.running_mean[2] += 1e-7
    with pytest.raises(TrainingError, match="changed while it was frozen"):
        proof.check(model)


def test_the_prefix_holds_what_later_parts_read_and_the_rest_can_start_from_it():
    model = chain()
    model.freeze_through("two")
    model.eval()
    inputs = {"images": torch.randn(8, 4)}
    kept = model.prefix(inputs)
    assert set(kept) == {"y"} and not kept["y"].requires_grad
    assert torch.equal(model(kept, start=2)["z"], model(inputs)["z"])
