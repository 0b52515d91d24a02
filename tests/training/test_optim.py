"""Groups, rates over time, and the average of weights."""

from __future__ import annotations

import pytest
import torch

from segue.models.parts.chain import Chain
from segue.training.optim import Optimizer, Schedule, build, rate


def test_only_what_learns_is_in_the_optimizer_and_each_parameter_once(chain: Chain) -> None:
    chain.freeze_through("decoder")
    optimizer = build(chain, Optimizer())
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert (
        len(held) == len({id(p) for p in held}) == len(list(chain.part("mask_head").parameters()))
    )


def test_norms_biases_and_embeddings_do_not_decay(chain: Chain) -> None:
    optimizer = build(chain, Optimizer(weight_decay=0.1))
    names = {id(p): name for name, p in chain.named_parameters()}
    decayed = {
        names[id(p)]
        for group in optimizer.param_groups
        if group["weight_decay"]
        for p in group["params"]
    }
    assert decayed and all(dict(chain.named_parameters())[name].dim() > 1 for name in decayed)
    assert not any(
        "bias" in name or "position_embeddings" in name or "cls_token" in name for name in decayed
    )


def test_deeper_blocks_learn_slower_by_the_layer_decay(chain: Chain) -> None:
    settings = Optimizer(lr=1.0, lr_factors={"backbone": 0.5}, layer_decay=0.8)
    names = [name for name, _ in chain.named_parameters() if name.startswith("backbone")]
    for block in range(4):
        rates = {rate(chain, name, settings) for name in names if f".layer.{block}." in name}
        assert sorted(rates) == pytest.approx([0.5 * 0.8 ** (4 - block)])
    (patches,) = (n for n in names if "patch_embeddings" in n and n.endswith("weight"))
    assert rate(chain, patches, settings) == pytest.approx(0.5 * 0.8**5)
    assert rate(chain, "decoder.class_head.weight", settings) == 1.0


def test_cosine_starts_after_the_warm_up_and_ends_at_the_floor() -> None:
    schedule = Schedule(warmup_epochs=1, floor=0.1)
    factors = [schedule.at_step(step, 50, 10) for step in range(50)]
    assert factors[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert factors[10] == 1.0 and factors[10:] == sorted(factors[10:], reverse=True)
    assert schedule.at_step(50, 50, 10) == pytest.approx(0.1)


def test_steps_and_plateaus_multiply() -> None:
    step = Schedule(kind="step", at=(0.5, 0.9))
    assert [step.at_step(s, 10, 5) for s in (0, 4, 5, 8, 9)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01]
    )
    plateau = Schedule(kind="plateau", factor=0.5)
    assert [plateau.at_step(3, 10, 5, drops) for drops in (0, 1, 2)] == [1, 0.5, 0.25]
    assert Schedule(kind="constant").at_step(9, 10, 5) == 1.0


def test_sgd_has_its_momentum_and_the_same_groups(chain: Chain) -> None:
    adam, sgd = (
        build(chain, Optimizer(kind=kind, weight_decay=0.1, momentum=0.8))
        for kind in ("adamw", "sgd")
    )
    assert isinstance(sgd, torch.optim.SGD) and {
        group["momentum"] for group in sgd.param_groups
    } == {0.8}
    for one, other in zip(adam.param_groups, sgd.param_groups, strict=True):
        assert one["base_lr"] == other["base_lr"] and one["weight_decay"] == other["weight_decay"]
        assert [id(p) for p in one["params"]] == [id(p) for p in other["params"]]


@pytest.mark.parametrize(("every", "epochs"), [(10, 30), (7, 30), (1, 3), (5, 4)])
def test_a_step_after_every_few_epochs_is_torchs_own(every: int, epochs: int) -> None:
    schedule = Schedule(kind="step", every_epochs=every, factor=0.5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    peer = torch.optim.lr_scheduler.StepLR(optimizer, every, 0.5)
    for epoch in range(epochs):
        factors = {
            schedule.at_step(step, epochs * 7, 7) for step in range(epoch * 7, epoch * 7 + 7)
        }
        assert factors == {peer.get_last_lr()[0]}
        optimizer.step()
        peer.step()
