"""Where an image shows something that no label covers: for labels that leave objects out.

Predictions there are no false positives, and `losses/noise.py` does not punish them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.structures.masks import PackedMasks

CELL = 4  # pixels a side
BLOCKS, AROUND = 16, 7  # blocks along the longer side, and along the surroundings of one
SIGMAS = 3.0  # differences above so many standard deviations are not noise
TO_SIGMA = 1.4826  # median absolute deviation to standard deviation, of a normal distribution


def visible(image: Tensor) -> Tensor:
    """Cells (H // 4, W // 4) of an image (C, H, W) clearly brighter or darker than their
    surroundings, bool.

    The surroundings are a median, so that objects may cover up to half of them. What is clear
    follows from the image: SIGMAS times the usual difference.
    """
    grey = image.float().mean(0)[None, None]
    fine = F.avg_pool2d(grey, CELL)
    rough = F.avg_pool2d(fine, max(1, max(fine.shape[-2:]) // BLOCKS), ceil_mode=True)
    padded = F.pad(rough, [AROUND // 2] * 4, mode="replicate")
    # the median on blocks, not cells: 7 x 7 of them reach across any object
    around = F.unfold(padded, AROUND).median(1).values.view_as(rough)
    differs = (fine - F.interpolate(around, fine.shape[-2:], mode="bilinear")).abs()[0, 0]
    # the median of all differences: objects, which are few of the cells, hardly change it
    usual = TO_SIGMA * differs.median()
    return differs > SIGMAS * usual.clamp(min=1e-6)


def unlabelled_cells(image: Tensor, masks: PackedMasks) -> Tensor:
    """Cells (H // 4, W // 4) of an image (C, H, W) where something is visible that none of `masks`
    covers, bool.
    """
    free = visible(image)
    height, width = free.shape
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    centres = torch.stack([xs / width, ys / height], -1).view(1, -1, 2)
    for number in range(len(masks)):
        free &= masks.sample(torch.tensor([number]), centres).view(height, width) == 0
    return free
