"""What a model's answers would take in memory for masks, without any values."""

from __future__ import annotations

import torch

from segue.structures.predictions import Predictions


class Cells:
    """Masks of 8 x 8 cells that only the last two of three layers train."""

    size, trained_from = (8, 8), 1

    def at(self, image: torch.Tensor, layer: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(image), 8, 8)

    def sample(self, points: torch.Tensor) -> torch.Tensor:
        raise AssertionError("not for an estimate")


def predictions(masks: Cells | None, groups: int = 1) -> Predictions:
    return Predictions(torch.zeros(1, 3, 4, 2), None, ("enc", "0", "1"), groups, masks)


def test_every_object_is_matched_in_every_layer_and_group_that_trains_masks():
    for points, expected in ((None, 4), (20, 20)):
        values, products = predictions(Cells(), groups=3).mask_loss_tensors(5, points)
        assert values.shape == products.shape == (5 * 3 * 2, 1, expected, 1)


def test_without_masks_or_objects_there_is_nothing_to_hold():
    assert predictions(None).mask_loss_tensors(5, None) == []
    assert predictions(Cells()).mask_loss_tensors(0, None) == []
