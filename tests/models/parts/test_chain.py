from __future__ import annotations

import pytest
import torch
from torch import nn

from segue import models
from segue.errors import PlanError
from segue.models import ModelSpec
from segue.models.parts.chain import Chain
from segue.models.parts.state import State
from tests.models import pico

SPEC = ModelSpec(family="rfdetr", size="pico", classes=("a",))


class Part(nn.Module):
    """A part with everything that moves by itself: batch statistics, dropout, weights."""

    def __init__(self, reads: str, writes: str) -> None:
        super().__init__()
        self.reads, self.writes = (reads,), (writes,)
        self.linear, self.norm, self.dropout = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, state):
        self.recorded = torch.is_grad_enabled()
        return {self.writes[0]: self.dropout(self.norm(self.linear(state[self.reads[0]])))}


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


def test_the_prefix_holds_what_later_parts_read_and_the_rest_can_start_from_it():
    model = chain()
    model.freeze_through("two")
    model.eval()
    inputs = {"images": torch.randn(8, 4)}
    kept = model.prefix(inputs)
    assert set(kept) == {"y"} and not kept["y"].requires_grad
    assert torch.equal(model(kept, start=2)["z"], model(inputs)["z"])


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ("y", "part three: reads y, which nothing before it writes; expected some of images, x, z"),
        ("logits", "part three: reads logits, which nothing before it writes"),
    ],
)
def test_a_part_that_reads_what_nothing_before_it_writes_is_refused(reads, message):
    """Also what a later part writes, or the part itself."""
    parts = {"one": Part("images", "x"), "two": Part("x", "z"), "three": Part(reads, "y")}
    with pytest.raises(PlanError) as caught:
        Chain(SPEC, {**parts, "four": Part("x", "logits")})
    assert message in caught.value.message


def test_a_part_that_declares_nothing_is_refused():
    with pytest.raises(PlanError, match="part one: a Linear that declares no reads and no writes"):
        Chain(SPEC, {"one": nn.Linear(4, 4)})


@pytest.mark.parametrize("family", models.names())
def test_parts_read_and_write_what_they_declare(family):
    """In training and in eval mode, with and without a mask head, on a spy of the state."""
    declared = 0
    for masks in (False, True):
        chain = pico.build(family, masks=masks)
        height, width = models.get(family).input_size(chain.spec)
        state: dict = {"images": torch.zeros(2, 3, height, width)}
        written: dict[str, set[str]] = {name: set() for name in chain.order}
        for training in (False, True):
            chain.train(training)
            values = dict(state)
            for name in chain.order:
                part = chain.part(name)
                readable = {key: values[key] for key in part.reads}
                optional = {key: value for key, value in values.items() if key.startswith("enc_")}
                added = part({**readable, **optional})
                written[name] |= set(added)
                values |= added
        for name in chain.order:
            assert written[name] == set(chain.part(name).writes), name
            assert set(getattr(chain.part(name), "answers", ())) <= written[name]
            declared += len(written[name])
        assert written[chain.order[0]] <= State.__annotations__.keys()
        assert set().union(*written.values()) <= State.__annotations__.keys()
    assert declared == {"detr": 11, "mask2former": 20, "rfdetr": 19, "rgbx_rcnn": 22}[family]
