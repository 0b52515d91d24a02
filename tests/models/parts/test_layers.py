"""Small things that several families use."""

from __future__ import annotations

import pytest
import torch

from segue.models.parts.layers import Normalise, precision_now, sides_around
from segue.structures.channels import Channel

CHANNELS = (Channel(name="a", mean=0.5, std=0.25), Channel(name="b", mean=0.0, std=2.0))


def test_bytes_and_shares_become_the_same_network_values_by_channel():
    layer = Normalise(CHANNELS)
    stored = torch.tensor([0, 255], dtype=torch.uint8)[None, :, None, None]
    assert layer(stored).flatten().tolist() == [-2.0, 0.5]
    assert torch.equal(layer(stored), layer(stored / 255)) and layer(stored).dtype == torch.float32


def test_its_numbers_are_the_cards_and_not_weights():
    assert Normalise(CHANNELS).state_dict() == {} and not list(Normalise(CHANNELS).parameters())


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_precision_is_what_it_was_when_it_was_noted(dtype):
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        context = precision_now(torch.zeros(1))
    with context():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (dtype or torch.float32)


def test_sides_are_around_the_base_and_not_below_the_least():
    assert sides_around(384, 32, 0, expanded=False) == (288, 320, 352, 384, 416, 448, 480, 512)
    assert len(sides_around(384, 32, 0, expanded=True)) == 11
    assert sides_around(64, 32, 32, expanded=True) == (32, 64, 96, 128, 160, 192, 224)
