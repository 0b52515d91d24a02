"""Corruptions under which a model is measured: displaced and missing channels."""

from __future__ import annotations

import numpy as np
import torch

from segue.data.pipeline.corruptions import CorruptedView, displace_channels
from segue.data.pipeline.transforms import View
from segue.models.parts.layers import Normalise
from tests.data.pipeline.test_transforms import BOX, FIVE, OUTLINE, five


def test_a_displaced_channel_moves_by_pixels_of_the_image_and_repeats_its_edge() -> None:
    view = CorruptedView((96, 96), FIVE, displaced=[0, 3], right=3, down=-2)
    expected = five()
    for row in (0, 3):
        expected[row] = torch.from_numpy(
            np.pad(five()[row].numpy(), ((0, 2), (3, 0)), mode="edge")[2:, :-3]
        )
    image, boxes, points = view(five(), BOX, OUTLINE, 0)
    fitted, same_boxes, same_points = View(96, 96)(expected, BOX, OUTLINE, 0)
    assert (
        torch.equal(image, fitted)
        and torch.equal(boxes, same_boxes)
        and torch.equal(points, same_points)
    )
    far = displace_channels(five(), [0], right=-500, down=0)
    assert torch.equal(far[0], five()[0][:, -1:].expand(-1, 48)) and torch.equal(
        far[1:], five()[1:]
    )


def test_a_missing_channel_is_zero_for_the_network() -> None:
    image = CorruptedView((48, 48), FIVE, missing=[0, 2])(five(torch.uint8), BOX, OUTLINE, 0)[0]
    values, whole = Normalise(FIVE)(image[None])[0], Normalise(FIVE)(five(torch.uint8)[None])[0]
    assert not values[[0, 2]].any() and torch.equal(values[[1, 3, 4]], whole[[1, 3, 4]])
