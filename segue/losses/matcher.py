"""Which query answers for which object: a minimal-cost assignment for every image, layer and query
group.

DETR (arXiv 2005.12872) with the focal class cost of Deformable DETR, and Group DETR (arXiv
2207.13085). All layers and groups share one cost tensor and one transfer to the CPU; only pairs
within an image are ever computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from segue.base.settings import Settings
from segue.errors import NonFiniteError
from segue.structures.boxes import cxcywh_to_xyxy, iou_and_giou
from segue.structures.masks import PackedMasks
from segue.structures.predictions import Predictions
from segue.structures.seeds import points as points_of
from segue.structures.target import Target

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0


class Costs(Settings):
    """How much each disagreement costs when queries are assigned; masks are compared only if their
    cost is not 0.
    """

    classes: float = 2.0
    l1: float = 5.0
    giou: float = 2.0
    mask_bce: float = 0.0
    dice: float = 0.0


@dataclass(slots=True)
class Matches:
    """T pairs of a query and an object: index vectors (T,) int64.

    image, layer, query point into Predictions; target counts through the objects of all images of
    the batch. key: a number for the pair that does not depend on what else is in the batch, for
    drawing points.
    """

    image: Tensor
    layer: Tensor
    query: Tensor
    target: Tensor
    key: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def keep(self, chosen: Tensor) -> Matches:
        return Matches(
            *(t[chosen] for t in (self.image, self.layer, self.query, self.target, self.key))
        )


@torch.no_grad()
def match(
    predictions: Predictions,
    targets: list[Target],
    costs: Costs,
    scores: Literal["sigmoid", "softmax"] = "sigmoid",
    points: int | None = None,
) -> Matches:
    """Assign at most one query of each group to each object, at every layer.

    points: at how many points masks are compared, a sixteenth of a mask's cells if None.

    Raises:
        NonFiniteError: if a cost is NaN or infinite, which means that logits, boxes or masks are.
    """
    # (B, L, Q, N) padded to the most objects of an image
    cost = _cost(predictions, targets, costs, scores)
    if predictions.masks is not None and (costs.mask_bce or costs.dice):
        _add_mask_cost(cost, predictions, targets, costs, points)
    # (B, L, N, Q): fewer rows than columns suits the solver
    cost = cost.transpose(2, 3).double().cpu().numpy()
    group_size = cost.shape[3] // predictions.groups
    rows: list[Tensor] = []
    first_target = 0
    for image, target in enumerate(targets):
        for layer in range(cost.shape[1]):
            block = cost[image, layer, : len(target)]
            if not (abs(block) < float("inf")).all():
                found = (
                    f"logits, boxes or masks of layer {predictions.layers[layer]} became NaN "
                    "or infinite"
                )
                raise NonFiniteError("matching", found, "finite values")
            for group in range(predictions.groups):
                start = group * group_size
                local, query = linear_sum_assignment(block[:, start : start + group_size])
                local = torch.from_numpy(local)
                rows.append(
                    torch.stack(
                        [
                            torch.full_like(local, image),
                            torch.full_like(local, layer),
                            torch.from_numpy(query) + start,
                            local + first_target,
                            pair_key(target.key, layer, group) + local,
                        ]
                    )
                )
        first_target += len(target)
    table = torch.cat(rows, 1) if rows else torch.zeros(5, 0, dtype=torch.int64)
    return Matches(*table.to(predictions.logits.device).unbind(0))


def pair_key(image_key: int, layer: int, group: int) -> int:
    """A signed 64-bit number for one layer and group of an image; the object's number is added to
    it.
    """
    key = (image_key + layer * 0x9E3779B97F4A7C15 + group * 0xD1B54A32D192ED03) % 2**64
    return key - 2**64 if key >= 2**63 else key


def _cost(predictions: Predictions, targets: list[Target], costs: Costs, scores: str) -> Tensor:
    """(B, L, Q, N) float32; columns beyond an image's objects are padding."""
    device = predictions.logits.device
    most = max((len(target) for target in targets), default=0)
    labels = torch.zeros(len(targets), most, dtype=torch.int64, device=device)
    boxes = torch.zeros(len(targets), most, 4, device=device)
    for i, target in enumerate(targets):
        labels[i, : len(target)] = target.labels
        boxes[i, : len(target)] = target.boxes_cxcywh
    logits = predictions.logits.float()
    wanted = labels[:, None, None, :].expand(-1, *logits.shape[1:3], -1)  # (B, L, Q, N)
    if scores == "softmax":
        cost = -costs.classes * logits.softmax(-1).gather(-1, wanted)
    else:
        cost = costs.classes * _focal_cost(logits.gather(-1, wanted))
    if predictions.boxes_cxcywh is None:
        return cost
    found = predictions.boxes_cxcywh.float()[:, :, :, None]  # (B, L, Q, 1, 4)
    given = boxes[:, None, None]  # (B, 1, 1, N, 4)
    cost += costs.l1 * sum((found[..., i] - given[..., i]).abs() for i in range(4))
    cost -= costs.giou * iou_and_giou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(given))[1]
    return cost


def _focal_cost(logits: Tensor) -> Tensor:
    """Focal loss as a positive minus focal loss as a negative; finite for any finite logit."""
    p, log_p, log_not_p = logits.sigmoid(), F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = FOCAL_ALPHA * (1 - p) ** FOCAL_GAMMA * -log_p
    negative = (1 - FOCAL_ALPHA) * p**FOCAL_GAMMA * -log_not_p
    return positive - negative


def _add_mask_cost(
    cost: Tensor, predictions: Predictions, targets: list[Target], costs: Costs, count: int | None
) -> None:
    """Compare all queries' masks with all objects' at the same points of an image (Mask2Former,
    arXiv 2112.01527).
    """
    assert predictions.masks is not None
    height, width = predictions.masks.size
    keys = torch.tensor([pair_key(target.key, -1, 0) for target in targets], device=cost.device)
    where = points_of(keys, count or max(1, height * width // 16))  # (B, P, 2)
    logits = predictions.masks.sample(where)  # (B, L, Q, P)
    for i, target in enumerate(targets):
        if not len(target):
            continue
        wanted = sample_targets(target, where[i])  # (N, P)
        has = target.has_mask.float()
        for layer in range(logits.shape[1]):
            bce, dice = _pairwise_mask_costs(logits[i, layer].float(), wanted)
            cost[i, layer, :, : len(target)] += (costs.mask_bce * bce + costs.dice * dice) * has


def sample_targets(target: Target, where: Tensor) -> Tensor:
    """Values (N, P) of an image's masks at common points (P, 2)."""
    assert isinstance(target.masks, PackedMasks)
    objects = torch.arange(len(target), device=where.device)
    return target.masks.sample(objects, where.expand(len(target), -1, -1))


def _pairwise_mask_costs(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean BCE and dice loss (Q, N) between logits (Q, P) and 0/1 values (N, P)."""
    count = logits.shape[1]
    bce = (F.softplus(-logits) @ wanted.T + F.softplus(logits) @ (1 - wanted).T) / count
    p = logits.sigmoid()
    dice = 1 - (2 * p @ wanted.T + 1) / (p.sum(-1)[:, None] + wanted.sum(-1)[None] + 1)
    return bce, dice
