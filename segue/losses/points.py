"""Where the mask losses look: a few points for each mask, most of them where the mask is undecided.

PointRend's importance sampling (arXiv 1912.08193), as Mask2Former and RF-DETR use it, on points
that follow from each pair's key alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.structures.seeds import points

OVERSAMPLE = 3
IMPORTANT = 0.75


def point_count(height: int, width: int) -> int:
    """Points for masks of height x width: a sixteenth of the cells, at least one row's worth (as
    RF-DETR).
    """
    return max(height, height * width // 16)


@torch.no_grad()
def uncertain_points(mask_logits: Tensor, keys: Tensor, count: int) -> Tensor:
    """Points (T, count, 2), x and y in 0..1, for mask_logits (T, h, w).

    Three quarters are those of 3 x count candidates whose logit is nearest to 0, the rest is spread
    evenly.
    """
    important = int(IMPORTANT * count)
    drawn = points(keys, OVERSAMPLE * count + count - important)
    candidates, spread = drawn[:, : OVERSAMPLE * count], drawn[:, OVERSAMPLE * count :]
    nearest = (
        sample_logits(mask_logits, candidates).abs().topk(important, dim=1, largest=False).indices
    )
    chosen = candidates.gather(1, nearest[:, :, None].expand(-1, -1, 2))
    return torch.cat([chosen, spread], dim=1)


def sample_logits(mask_logits: Tensor, where: Tensor) -> Tensor:
    """Bilinear values (T, P) of mask_logits (T, h, w) at points (T, P, 2), x and y in 0..1."""
    if not len(mask_logits):
        # empty, still in the graph
        return mask_logits.flatten(1).sum(1, keepdim=True).expand(-1, where.shape[1])
    sampled = F.grid_sample(mask_logits[:, None], 2 * where[:, :, None] - 1, align_corners=False)
    return sampled[:, 0, :, 0]
