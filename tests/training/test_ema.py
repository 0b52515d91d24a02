"""EMA: frozen weights stay bit for bit, and averaged ones can be applied and taken back."""

from __future__ import annotations

import copy
from typing import Any

import torch

from segue.models.parts.chain import Chain
from segue.training.ema import Ema


def test_the_average_leaves_weights_that_do_not_move_bit_for_bit(chain: Chain) -> None:
    chain.freeze_through("projector")
    average = Ema(chain, 0.9)
    before = {name: tensor.clone() for name, tensor in chain.state_dict().items()}
    assert not any(name.startswith(("backbone", "projector")) for name in average.average)
    for _ in range(25):
        average.update(chain)
    assert all(torch.equal(average.average[name], before[name]) for name in average.average)


def test_the_average_is_applied_and_taken_back_bit_for_bit(chain: Chain) -> None:
    average = Ema(chain, 0.5, ramp=1e-9)
    name, parameter = next(iter(chain.part("mask_head").named_parameters("mask_head")))
    start = parameter.detach().clone()
    with torch.no_grad():
        parameter += 1
    average.update(chain)
    moved = copy.deepcopy(chain.state_dict())
    with average.applied(chain):
        torch.testing.assert_close(chain.state_dict()[name], start + 0.5)
    assert all(torch.equal(tensor, moved[key]) for key, tensor in chain.state_dict().items())


def test_the_average_follows_quickly_at_first(chain: Any) -> None:
    average, parameter = Ema(chain, 0.993), chain.part("mask_head").query_proj.weight
    with torch.no_grad():
        parameter.fill_(1.0)
        average.average["mask_head.query_proj.weight"].fill_(0.0)
    average.update(chain)
    assert float(average.average["mask_head.query_proj.weight"][0, 0]) > 0.98
