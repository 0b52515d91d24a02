"""Which query is responsible for which object: a minimal-cost assignment for every image, layer and
query group.

The Hungarian matcher of DETR (arXiv 2005.12872) with the focal class cost of Deformable DETR (arXiv
2010.04159), for groups of queries as in Group DETR (arXiv 2207.13085). All layers and groups share
one cost tensor and one transfer to the CPU; only pairs within an image are ever computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
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
    """What each disagreement costs when queries are assigned; masks are compared only if one of
    their costs is not 0.
    """

    classes: float = 2.0
    l1: float = 5.0
    giou: float = 2.0
    mask_bce: float = 0.0
    dice: float = 0.0


@dataclass(slots=True)
class Matches:
    """T pairs of a query and an object, as index vectors (T,) int64.

    image, layer, query: positions in Predictions. target: the object's number, counted through all
    images of the batch, as in `torch.cat([target.labels for target in targets])`. key: a number for
    the pair that does not depend on what else is in the batch, to draw points from.
    """

    image: Tensor
    layer: Tensor
    query: Tensor
    target: Tensor
    key: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def keep(self, chosen: Tensor) -> Matches:
        """Only the pairs where bool `chosen` (T,) is true."""
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
    """Assign queries to objects, at every layer and in every group of queries.

    predictions: see there; logits (B, L, Q, K) and boxes_cxcywh (B, L, Q, 4) are read, and masks if
    a cost is theirs. targets: B of them, with N objects each. scores: how logits become the score
    that the class cost is made of. points: at how many points masks are compared, a sixteenth of a
    mask's cells if None.

    Returns:
        For each image, layer and group min(Q / G, N) pairs (query_i, object_j): no query and no
        object is in two of them. Objects beyond the queries of a group are matched in none.

    Raises:
        NonFiniteError: if a cost is NaN or infinite, which means that logits, boxes or masks are.
    """
    cost = _cost(predictions, targets, costs, scores)  # (B, L, Q, N), padded to the most objects
    if predictions.masks is not None and (costs.mask_bce or costs.dice):
        _add_mask_cost(cost, predictions, targets, costs, points)
    # One transfer for everything. (B, L, N, Q): the solver is faster with fewer rows than columns.
    # In float64, which it computes in anyway.
    cost = cost.transpose(2, 3).double().cpu().numpy()
    group_size = cost.shape[3] // predictions.groups
    blocks: list[Tensor] = []
    first_target = 0
    for image, target in enumerate(targets):
        for layer in range(cost.shape[1]):
            # Without the padding: an image's own objects only.
            block = cost[image, layer, : len(target)]  # (N, Q)
            _require_finite(block, predictions.layers[layer])
            for group in range(predictions.groups):
                # Groups see the same objects but not each other's queries; at inference only the
                # first one is kept.
                start = group * group_size
                object_j, query_i = linear_sum_assignment(block[:, start : start + group_size])
                object_j, query_i = torch.from_numpy(object_j), torch.from_numpy(query_i)
                columns = [
                    torch.full_like(object_j, image),
                    torch.full_like(object_j, layer),
                    query_i + start,
                    object_j + first_target,
                    pair_key(target.key, layer, group) + object_j,
                ]
                blocks.append(torch.stack(columns))
        first_target += len(target)
    table = torch.cat(blocks, 1) if blocks else torch.zeros(5, 0, dtype=torch.int64)
    return Matches(*table.to(predictions.logits.device).unbind(0))


def _require_finite(block: np.ndarray, layer: str) -> None:
    """Raises NonFiniteError if a cost (N, Q) is NaN or infinite; the solver refuses one without a
    word about where it came from.
    """
    if not (abs(block) < float("inf")).all():
        trouble = f"logits, boxes or masks of layer {layer} became NaN or infinite"
        raise NonFiniteError("matching", trouble, "finite values")


def pair_key(image_key: int, layer: int, group: int) -> int:
    """A signed 64-bit number for one layer and group of an image; the object's number is added to
    it.
    """
    # odd 64-bit constants far apart, so that neighbouring layers and groups do not share keys
    key = (image_key + layer * 0x9E3779B97F4A7C15 + group * 0xD1B54A32D192ED03) % 2**64
    return key - 2**64 if key >= 2**63 else key


def _cost(predictions: Predictions, targets: list[Target], costs: Costs, scores: str) -> Tensor:
    """Class and box costs (B, L, Q, N) float32; columns beyond an image's objects are padding."""
    # Pad the objects of all images to one number, so that the whole batch is one computation.
    device = predictions.logits.device
    most = max((len(target) for target in targets), default=0)
    labels = torch.zeros(len(targets), most, dtype=torch.int64, device=device)
    true_cxcywh = torch.zeros(len(targets), most, 4, device=device)
    for i, target in enumerate(targets):
        labels[i, : len(target)] = target.labels
        true_cxcywh[i, : len(target)] = target.boxes_cxcywh

    # The classification cost. Contrary to the loss, only the score of the object's class counts, as
    # in DETR.
    logits = predictions.logits.float()
    true_class = labels[:, None, None, :].expand(-1, *logits.shape[1:3], -1)  # (B, L, Q, N)
    if scores == "softmax":
        cost = -costs.classes * logits.softmax(-1).gather(-1, true_class)
    else:
        cost = costs.classes * _focal_cost(logits.gather(-1, true_class))
    if predictions.boxes_cxcywh is None:
        return cost

    # The L1 cost between boxes, summed one coordinate at a time: broadcasting all four would hold
    # (B, L, Q, N, 4) at once.
    predicted_cxcywh = predictions.boxes_cxcywh.float()[:, :, :, None]  # (B, L, Q, 1, 4)
    true_cxcywh = true_cxcywh[:, None, None]  # (B, 1, 1, N, 4)
    cost += costs.l1 * sum((predicted_cxcywh[..., i] - true_cxcywh[..., i]).abs() for i in range(4))
    # The GIoU cost between boxes.
    cost -= (
        costs.giou * iou_and_giou(cxcywh_to_xyxy(predicted_cxcywh), cxcywh_to_xyxy(true_cxcywh))[1]
    )
    return cost


def _focal_cost(logits: Tensor) -> Tensor:
    """Focal loss as a positive minus focal loss as a negative, of any shape; finite for any finite
    logit, because the logarithms are taken of the logit and not of a score that rounds to 0.
    """
    p, log_p, log_not_p = logits.sigmoid(), F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = FOCAL_ALPHA * (1 - p) ** FOCAL_GAMMA * -log_p
    negative = (1 - FOCAL_ALPHA) * p**FOCAL_GAMMA * -log_not_p
    return positive - negative


def _add_mask_cost(
    cost: Tensor, predictions: Predictions, targets: list[Target], costs: Costs, count: int | None
) -> None:
    """Add to cost (B, L, Q, N), in place, the disagreement of all queries' masks with all objects'
    at the same points of an image (Mask2Former, arXiv 2112.01527).

    count: how many points, a sixteenth of a mask's cells if None.
    """
    assert predictions.masks is not None
    # All pairs of an image share its points, so that a pairwise cost is two matrix products. The
    # points follow from the image's key alone; layer -1 keeps them apart from those of the loss.
    height, width = predictions.masks.size
    keys = torch.tensor([pair_key(target.key, -1, 0) for target in targets], device=cost.device)
    where = points_of(keys, count or max(1, height * width // 16))  # (B, P, 2)
    logits = predictions.masks.sample(where)  # (B, L, Q, P)
    for i, target in enumerate(targets):
        if not len(target):
            continue
        true_values = sample_targets(target, where[i])  # (N, P)
        # Objects without a mask are matched by class and box alone.
        has_mask = target.has_mask.float()
        # A layer at a time: (Q, N, ...) of all layers at once is what runs out of memory.
        for layer in range(logits.shape[1]):
            bce, dice = _pairwise_mask_costs(logits[i, layer].float(), true_values)
            mask_cost = (costs.mask_bce * bce + costs.dice * dice) * has_mask
            cost[i, layer, :, : len(target)] += mask_cost


def sample_targets(target: Target, where: Tensor) -> Tensor:
    """Values (N, P) float32, 0 or 1, of an image's true masks at common points (P, 2), x and y in
    0..1.
    """
    assert isinstance(target.masks, PackedMasks)
    objects = torch.arange(len(target), device=where.device)
    return target.masks.sample(objects, where.expand(len(target), -1, -1))


def _pairwise_mask_costs(logits: Tensor, true_values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean BCE and dice loss (Q, N) between logits (Q, P) and 0/1 values (N, P)."""
    # BCE of a point is softplus(-x) where the truth is 1 and softplus(x) where it is 0, so the sum
    # over points is a product of matrices and no (Q, N, P) tensor is needed.
    count = logits.shape[1]
    bce = (F.softplus(-logits) @ true_values.T + F.softplus(logits) @ (1 - true_values).T) / count
    # 1 is added above and below, as in the dice term of the loss.
    p = logits.sigmoid()
    overlap = 2 * p @ true_values.T + 1
    dice = 1 - overlap / (p.sum(-1)[:, None] + true_values.sum(-1)[None] + 1)
    return bce, dice
