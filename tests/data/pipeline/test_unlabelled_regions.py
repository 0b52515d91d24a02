"""What is visible in an image and covered by no label."""

from __future__ import annotations

import torch

from segue.data.pipeline.unlabelled_regions import unlabelled_cells, visible
from tests.losses.test_noise import LABELLED, MISSED, packed, picture


def test_what_is_visible_is_where_discs_are_and_noise_is_not():
    cells = visible(picture(LABELLED, MISSED))
    truth = torch.from_numpy(LABELLED | MISSED)[2::4, 2::4]
    assert (cells & truth).sum() / (cells | truth).sum() > 0.6
    assert visible(picture()).float().mean() < 0.1


def test_what_no_label_covers_is_unexplained():
    free = unlabelled_cells(picture(LABELLED, MISSED), packed(LABELLED))
    assert free[torch.from_numpy(MISSED)[2::4, 2::4]].float().mean() > 0.8
    assert not free[torch.from_numpy(LABELLED)[2::4, 2::4]].any()
