"""Images with other values than the model was trained with are noticed, and fixed ranges are
not.
"""

from __future__ import annotations

import pytest
import torch

from segue.data.images.value_range import ValueRange
from segue.structures.channels import Channel


def message(largest: int, dtype=torch.uint16, **channel) -> str:
    values = ValueRange((Channel(name="x", **channel),))
    values.update(torch.full((1, 4, 4), largest, dtype=dtype))
    return values.mismatch()


def test_twelve_bits_where_sixteen_are_expected_are_named_with_both_values():
    assert "channel x: the largest value is 4095; the model expects values up to 65535" in message(
        4095
    )
    assert "expects values up to 255" in message(4095, scale=255)


@pytest.mark.parametrize(
    ("largest", "channel"),
    [
        (16384, {}),
        (4095, {"scale": 4095}),
        (1100, {"scale": 4095}),
        (9, {"scale": "percentile"}),
        (0, {}),
        (1, {}),
    ],
)
def test_values_near_what_is_expected_say_nothing(largest, channel):
    assert message(largest, **channel) == ""


def test_bytes_and_floating_point_have_a_range_of_their_own():
    assert message(3, torch.uint8) == ""
    assert message(3000, torch.float32) == ""


def test_the_largest_of_all_images_counts():
    values = ValueRange((Channel(name="x"),))
    for largest in (100, 65000, 50):
        values.update(torch.full((1, 2, 2), largest, dtype=torch.uint16))
    assert values.largest == [65000.0] and values.mismatch() == ""
