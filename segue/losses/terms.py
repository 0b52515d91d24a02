"""Loss terms. Each returns a sum per layer (L,), never a mean: what to divide by is known only to
the whole step.

T matched pairs; `weights` (T,) is how much each object counts. `spared` (B, L, Q) are queries
without an object that are not taught so, `counted` (T, P) the points that take part; None stands
for no query and all points. Everything is computed in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.losses.matcher import FOCAL_ALPHA, FOCAL_GAMMA, Matches
from segue.structures.boxes import cxcywh_to_xyxy, iou_and_giou


def by_layer(values: Tensor, layer: Tensor, layers: int) -> Tensor:
    """Sum values (T,) into the layers (L,) they belong to."""
    return values.new_zeros(layers).index_add(0, layer, values)


def iou_aware_bce(
    logits: Tensor,
    matches: Matches,
    labels: Tensor,
    iou: Tensor,
    weights: Tensor,
    spared: Tensor | None = None,
) -> Tensor:
    """IoU-aware binary cross entropy (L,) of LW-DETR (arXiv 2406.03459) and RF-DETR.

    logits (B, L, Q, K); labels, iou, weights (T,). A matched class is pulled towards p^0.25 *
    IoU^0.75 (at least 0.01), every other entry pushed down with weight p^2. Written with
    logsigmoid, so that a logit of 200 costs nothing instead of NaN; otherwise equal to transformers
    5.23 `LwDetrImageLoss.loss_labels`.
    """
    p = logits.sigmoid()
    losses = _taught(-(p**FOCAL_GAMMA) * F.logsigmoid(-logits), spared)  # as if nothing was there
    where = (matches.image, matches.layer, matches.query, labels)
    hit = logits[where]
    quality = (hit.sigmoid() ** FOCAL_ALPHA * iou ** (1 - FOCAL_ALPHA)).clamp(min=0.01).detach()
    positive = -quality * F.logsigmoid(hit) - (1 - quality) * F.logsigmoid(-hit)
    return _class_sums(losses, where, positive * weights)


def focal(
    logits: Tensor, matches: Matches, labels: Tensor, weights: Tensor, spared: Tensor | None = None
) -> Tensor:
    """Sigmoid focal loss (L,) (arXiv 1708.02002) of logits (B, L, Q, K), alpha 0.25, gamma 2."""
    p = logits.sigmoid()
    losses = _taught(-(1 - FOCAL_ALPHA) * p**FOCAL_GAMMA * F.logsigmoid(-logits), spared)
    where = (matches.image, matches.layer, matches.query, labels)
    hit = logits[where]
    positive = -FOCAL_ALPHA * (1 - hit.sigmoid()) ** FOCAL_GAMMA * F.logsigmoid(hit)
    return _class_sums(losses, where, positive * weights)


def _taught(losses: Tensor, spared: Tensor | None) -> Tensor:
    """Losses (B, L, Q, K) of queries without an object, none for those that are spared."""
    return losses if spared is None else losses * ~spared[..., None]


def _class_sums(losses: Tensor, where: tuple[Tensor, ...], positive: Tensor) -> Tensor:
    """Sum (B, L, Q, K) over all but layers, with the matched entries replaced by `positive` (T,)."""
    layers = losses.shape[1]
    return losses.sum((0, 2, 3)) + by_layer(positive - losses[where], where[1], layers)


def softmax_ce(
    logits: Tensor,
    matches: Matches,
    labels: Tensor,
    weights: Tensor,
    no_object: float,
    spared: Tensor | None = None,
) -> Tensor:
    """Cross entropy (L,) of DETR over K classes and, as the last row, "no object" with weight
    `no_object`.

    logits (B, L, Q, K + 1). The divisor that makes it DETR's weighted mean is the sum of all
    weights: objects plus no_object for every query without one.
    """
    wanted = torch.full(
        logits.shape[:3], logits.shape[3] - 1, dtype=torch.int64, device=logits.device
    )
    weight = torch.full(logits.shape[:3], no_object, device=logits.device)
    if spared is not None:
        weight[spared] = 0.0
    where = (matches.image, matches.layer, matches.query)
    wanted[where], weight[where] = labels, weights
    losses = F.cross_entropy(logits.movedim(3, 1), wanted, reduction="none")
    return (losses * weight).sum((0, 2))


def l1(
    found_cxcywh: Tensor, given_cxcywh: Tensor, matches: Matches, weights: Tensor, layers: int
) -> Tensor:
    """Sum of absolute differences (L,) of box centres and sizes (T, 4)."""
    values = (found_cxcywh - given_cxcywh).abs().sum(-1)
    return by_layer(values * weights, matches.layer, layers)


def giou(
    found_cxcywh: Tensor, given_cxcywh: Tensor, matches: Matches, weights: Tensor, layers: int
) -> Tensor:
    """Sum of 1 - generalised IoU (L,) of box pairs (T, 4)."""
    values = 1 - iou_and_giou(cxcywh_to_xyxy(found_cxcywh), cxcywh_to_xyxy(given_cxcywh))[1]
    return by_layer(values * weights, matches.layer, layers)


def mask_bce(
    point_logits: Tensor,
    wanted: Tensor,
    matches: Matches,
    weights: Tensor,
    layers: int,
    counted: Tensor | None = None,
) -> Tensor:
    """Sum over pairs (L,) of the mean binary cross entropy at their points; both (T, P)."""
    values = F.binary_cross_entropy_with_logits(point_logits, wanted, reduction="none")
    values = (
        values.mean(-1)
        if counted is None
        else (values * counted).sum(-1) / counted.sum(-1).clamp(min=1)
    )
    return by_layer(values * weights, matches.layer, layers)


def dice(
    point_logits: Tensor,
    wanted: Tensor,
    matches: Matches,
    weights: Tensor,
    layers: int,
    counted: Tensor | None = None,
) -> Tensor:
    """Sum over pairs (L,) of 1 - Dice overlap (V-Net, arXiv 1606.04797) at their points; both (T,
    P).

    One is added above and below so that an empty mask still has a gradient, as in
    facebookresearch/detr models/segmentation.py@29901c5.
    """
    p = point_logits.sigmoid()
    if counted is not None:
        p, wanted = p * counted, wanted * counted
    values = 1 - (2 * (p * wanted).sum(-1) + 1) / (p.sum(-1) + wanted.sum(-1) + 1)
    return by_layer(values * weights, matches.layer, layers)
