"""Where the mask losses look: a few points for each mask, most of them where the mask is undecided.

PointRend's importance sampling (arXiv 1912.08193), as Mask2Former and RF-DETR use it, on points
that follow from each pair's key alone, so that a step's loss does not depend on how it is split.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.structures.seeds import points

# PointRend's values: candidates for each point, and the share of points taken from them
OVERSAMPLE = 3
IMPORTANT = 0.75


def point_count(height: int, width: int) -> int:
    """How many points a mask of height x width cells is compared at: a sixteenth of the cells, at
    least one row's worth (as in RF-DETR).
    """
    return max(height, height * width // 16)


@torch.no_grad()
def uncertain_points(mask_logits: Tensor, keys: Tensor, count: int) -> Tensor:
    """Points (T, count, 2), x and y in 0..1, for mask_logits (T, h, w); keys (T,) int64.

    Three quarters are those of 3 x count candidates whose logit is nearest to 0; the rest is spread
    evenly, so that a mask that is surely wrong somewhere is still seen there.
    """
    important = int(IMPORTANT * count)
    # One drawing for both uses: points of a low-discrepancy sequence do not repeat each other.
    drawn = points(keys, OVERSAMPLE * count + count - important)
    candidates, spread = drawn[:, : OVERSAMPLE * count], drawn[:, OVERSAMPLE * count :]
    certainty = sample_logits(mask_logits, candidates).abs()  # (T, 3 count)
    nearest = certainty.topk(important, dim=1, largest=False).indices
    chosen = candidates.gather(1, nearest[:, :, None].expand(-1, -1, 2))
    return torch.cat([chosen, spread], dim=1)


def sample_logits(mask_logits: Tensor, where: Tensor) -> Tensor:
    """Bilinear values (T, P) of mask_logits (T, h, w) at points (T, P, 2), x and y in 0..1."""
    if not len(mask_logits):
        # grid_sample refuses an empty batch; the empty result must stay connected to the logits,
        # so that a step without objects can still run backward.
        return mask_logits.flatten(1).sum(1, keepdim=True).expand(-1, where.shape[1])
    sampled = F.grid_sample(mask_logits[:, None], 2 * where[:, :, None] - 1, align_corners=False)
    return sampled[:, 0, :, 0]
