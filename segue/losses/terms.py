"""Loss terms. Each returns a sum per layer (L,), never a mean: what to divide by is known only to
the whole step (`Criterion.total`).

Common to all: `matches` are T pairs of a query and an object; `object_weights` (T,) float32 is how
much each object counts; `layers` is L. `spared` (B, L, Q) bool marks queries without an object that
are not taught so, None for none; `counted` (T, P) bool the points that take part, None for all.
Logits are any finite float32. Terms of sums are 0 where nothing is matched, and still connected to
the predictions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.losses.matcher import FOCAL_ALPHA, FOCAL_GAMMA, Matches
from segue.structures.boxes import cxcywh_to_xyxy, iou_and_giou


def by_layer(values: Tensor, layer: Tensor, layers: int) -> Tensor:
    """Sum values (T,) into the layers (L,) that `layer` (T,) int64 says they belong to."""
    return values.new_zeros(layers).index_add(0, layer, values)


def iou_aware_bce(
    logits: Tensor,
    matches: Matches,
    labels: Tensor,
    iou: Tensor,
    object_weights: Tensor,
    spared: Tensor | None = None,
) -> Tensor:
    """IoU-aware binary cross entropy (L,) of LW-DETR (arXiv 2406.03459) and RF-DETR.

    logits (B, L, Q, K); labels (T,) int64; iou (T,) in 0..1, of each pair's boxes. A matched class
    is pulled towards p^0.25 * IoU^0.75 (at least 0.01), every other entry pushed down with weight
    p^2. Written with logsigmoid, so that a logit of 200 costs nothing instead of NaN; otherwise
    equal to transformers 5.23 `LwDetrImageLoss.loss_labels`.
    """
    p = logits.sigmoid()
    # first as if no query had an object; `_class_sums` then replaces the entries of those that do
    losses = _without_spared(-(p**FOCAL_GAMMA) * F.logsigmoid(-logits), spared)
    where = (matches.image, matches.layer, matches.query, labels)
    hit = logits[where]  # (T,)
    # a target, so no gradient goes through it although it is made of the prediction
    quality = (hit.sigmoid() ** FOCAL_ALPHA * iou ** (1 - FOCAL_ALPHA)).clamp(min=0.01).detach()
    positive = -quality * F.logsigmoid(hit) - (1 - quality) * F.logsigmoid(-hit)
    return _class_sums(losses, where, positive * object_weights)


def focal(
    logits: Tensor,
    matches: Matches,
    labels: Tensor,
    object_weights: Tensor,
    spared: Tensor | None = None,
) -> Tensor:
    """Sigmoid focal loss (L,) (arXiv 1708.02002), alpha 0.25, gamma 2.

    logits (B, L, Q, K); labels (T,) int64.
    """
    p = logits.sigmoid()
    losses = _without_spared(-(1 - FOCAL_ALPHA) * p**FOCAL_GAMMA * F.logsigmoid(-logits), spared)
    where = (matches.image, matches.layer, matches.query, labels)
    hit = logits[where]
    positive = -FOCAL_ALPHA * (1 - hit.sigmoid()) ** FOCAL_GAMMA * F.logsigmoid(hit)
    return _class_sums(losses, where, positive * object_weights)


def _without_spared(losses: Tensor, spared: Tensor | None) -> Tensor:
    """Losses (B, L, Q, K) of queries without an object, 0 for those that are spared."""
    return losses if spared is None else losses * ~spared[..., None]


def _class_sums(losses: Tensor, where: tuple[Tensor, ...], positive: Tensor) -> Tensor:
    """Sum (L,) of losses (B, L, Q, K), with the matched entries replaced by `positive` (T,).

    Everything is summed once, then T differences are added to the layers they belong to.
    """
    layers = losses.shape[1]
    return losses.sum((0, 2, 3)) + by_layer(positive - losses[where], where[1], layers)


def softmax_ce(
    logits: Tensor,
    matches: Matches,
    labels: Tensor,
    object_weights: Tensor,
    no_object: float,
    spared: Tensor | None = None,
) -> Tensor:
    """Cross entropy (L,) of DETR over K classes and, as the last row, "no object" with weight
    `no_object`.

    logits (B, L, Q, K + 1); labels (T,) int64; no_object in 0..1. The divisor that makes it DETR's
    weighted mean is the sum of all weights: those of objects, plus no_object for every query
    without one.
    """
    true_class = torch.full(
        logits.shape[:3], logits.shape[3] - 1, dtype=torch.int64, device=logits.device
    )
    weight = torch.full(logits.shape[:3], no_object, device=logits.device)
    if spared is not None:
        weight[spared] = 0.0
    where = (matches.image, matches.layer, matches.query)
    true_class[where], weight[where] = labels, object_weights
    losses = F.cross_entropy(logits.movedim(3, 1), true_class, reduction="none")
    return (losses * weight).sum((0, 2))


def l1(
    predicted_cxcywh: Tensor,
    true_cxcywh: Tensor,
    matches: Matches,
    object_weights: Tensor,
    layers: int,
) -> Tensor:
    """Sum of absolute differences (L,) of boxes (T, 4), centre and size in 0..1 of the frame."""
    values = (predicted_cxcywh - true_cxcywh).abs().sum(-1)
    return by_layer(values * object_weights, matches.layer, layers)


def giou(
    predicted_cxcywh: Tensor,
    true_cxcywh: Tensor,
    matches: Matches,
    object_weights: Tensor,
    layers: int,
) -> Tensor:
    """Sum of 1 - generalised IoU (L,) (arXiv 1902.09630) of box pairs (T, 4), in 0..1."""
    values = 1 - iou_and_giou(cxcywh_to_xyxy(predicted_cxcywh), cxcywh_to_xyxy(true_cxcywh))[1]
    return by_layer(values * object_weights, matches.layer, layers)


def mask_bce(
    point_logits: Tensor,
    true_values: Tensor,
    matches: Matches,
    object_weights: Tensor,
    layers: int,
    counted: Tensor | None = None,
) -> Tensor:
    """Sum over pairs (L,) of the mean binary cross entropy at their points.

    point_logits (T, P); true_values (T, P) in 0..1. A pair whose points are all left out is 0.
    """
    values = F.binary_cross_entropy_with_logits(point_logits, true_values, reduction="none")
    values = (
        values.mean(-1)
        if counted is None
        else (values * counted).sum(-1) / counted.sum(-1).clamp(min=1)
    )
    return by_layer(values * object_weights, matches.layer, layers)


def dice(
    point_logits: Tensor,
    true_values: Tensor,
    matches: Matches,
    object_weights: Tensor,
    layers: int,
    counted: Tensor | None = None,
) -> Tensor:
    """Sum over pairs (L,) of 1 - Dice overlap (V-Net, arXiv 1606.04797) at their points.

    point_logits (T, P); true_values (T, P) in 0..1. One is added above and below so that an empty
    mask still has a gradient, as in facebookresearch/detr models/segmentation.py@29901c5.
    """
    p = point_logits.sigmoid()
    if counted is not None:
        p, true_values = p * counted, true_values * counted
    values = 1 - (2 * (p * true_values).sum(-1) + 1) / (p.sum(-1) + true_values.sum(-1) + 1)
    return by_layer(values * object_weights, matches.layer, layers)
