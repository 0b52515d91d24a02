"""Pictures with objects drawn on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segue.data.records import Annotation, Record
from segue.evaluation.overlay import as_picture, colour, draw_truth
from segue.structures.channels import Channel
from segue.structures.masks import encoded


def channels(names: str) -> list[Channel]:
    return [Channel.model_validate(name) for name in names]


def test_r_g_and_b_are_shown_wherever_they_lie():
    pixels = torch.tensor([7, 30, 20, 10], dtype=torch.uint8)[:, None, None].expand(4, 2, 2)
    assert as_picture(pixels, channels("xbgr")).getpixel((0, 0)) == (10, 20, 30)
    assert as_picture(pixels).getpixel((0, 0)) == (7, 30, 20)
    assert as_picture(pixels[:1]).getpixel((0, 0)) == (7, 7, 7)


def test_values_of_more_than_8_bits_are_stretched_to_black_and_white():
    pixels = torch.linspace(1000, 4000, 10_000).to(torch.uint16).reshape(1, 100, 100)
    values = np.asarray(as_picture(pixels))
    assert values.min() == 0 and values.max() == 255 and abs(values.mean() - 127.5) < 2


def test_neighbours_have_colours_far_apart():
    shades = np.array([colour(n) for n in range(8)], dtype=float)
    distances = np.abs(shades[:, None] - shades[None]).sum(-1) + np.eye(8) * 1e3
    assert distances.min() > 60


def test_truth_is_masks_or_boxes_of_the_named_classes_without_crowds():
    mask = encoded(np.ones((10, 10), bool), 20, 30, 64, 64)
    box = (20.0, 30.0, 30.0, 40.0)
    objects = (
        Annotation(box, "cell", mask),
        Annotation((2, 50, 12, 60), "rod"),
        Annotation((40, 2, 60, 60), "cell", crowd=True),
    )
    record, black = Record(Path("a.png"), 64, 64, 1, objects), Image.new("RGB", (64, 64))
    for masks in (True, False):
        drawn = np.asarray(draw_truth(black, record, ("cell",), masks))
        assert tuple(drawn[35, 20]) == colour(0)  # on the outline of both
        assert not drawn[50:60, 2:12].any() and not drawn[45:60, 40:60].any()
    assert np.asarray(draw_truth(black, record, ("cell",), True))[35, 25].any()
    assert not np.asarray(draw_truth(black, record, ("cell",), False))[35, 25].any()
