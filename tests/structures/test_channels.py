"""Channels: what a bare name means, what is refused, and which rows a name stands for."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from segue.errors import PlanError
from segue.structures.channels import RGB, Channel, rows_of


def test_r_g_and_b_have_the_statistics_of_imagenet_and_others_do_not():
    assert [channel.mean for channel in RGB] == [0.485, 0.456, 0.406]
    assert (Channel.model_validate("x").mean, Channel.model_validate("x").std) == (0.5, 0.25)
    assert Channel.model_validate({"name": "r", "mean": 0.1}).mean == 0.1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scale": 0}, "a number above 0, or percentile"),
        ({"scale": True}, "a number above 0, or percentile"),
        ({"plane": -1}, "expected max, or the number of a plane"),
        ({"folder": "../x"}, "a folder next to the images"),
        ({"folder": "/x"}, "a folder next to the images"),
        ({"std": 0}, "greater than 0"),
        ({"scale": "percentile", "percentiles": (90, 10)}, "the smaller first"),
        ({"percentiles": (1, 99)}, "no effect without scale: percentile"),
    ],
)
def test_values_that_mean_nothing_are_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        Channel(name="x", **fields)


CHANNELS = (*RGB, Channel(name="t", folder="thermal"), Channel(name="u", folder="thermal"))


@pytest.mark.parametrize(
    ("name", "rows"), [("g", [1]), ("b+r", [2, 0]), ("thermal", [3, 4]), ("u+thermal", [4, 3])]
)
def test_a_name_is_a_channel_a_folder_or_several(name, rows):
    assert rows_of(name, CHANNELS) == rows


def test_a_channel_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(PlanError, match="no channel 'x'; expected some of r, g, b, t, u"):
        rows_of("r+x", CHANNELS)
