"""Which anchors and regions of an image take part in the loss of families that propose regions.

Positives and negatives are balanced as torchvision's BalancedPositiveNegativeSampler does, but what
is drawn follows from the target's key and not from a global generator, so that nothing else in the
batch matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

from segue.structures.seeds import uniform
from segue.structures.target import Target


@dataclass(frozen=True)
class Draw:
    """How places (anchors, or regions) of an image are drawn for the loss.

    count: at most so many. share: at most this share of them, 0..1, have an object. matcher: which
    have one, by IoU. coder: how a box is expressed relative to a place.
    """

    count: int
    share: float
    matcher: Matcher
    coder: BoxCoder


# torchvision's defaults for the region proposal network and for the box head
ANCHORS = Draw(
    256, 0.5, Matcher(0.7, 0.3, allow_low_quality_matches=True), BoxCoder((1.0, 1.0, 1.0, 1.0))
)
REGIONS = Draw(512, 0.25, Matcher(0.5, 0.5), BoxCoder((10.0, 10.0, 5.0, 5.0)))


@dataclass(slots=True)
class Drawn:
    """The T places of one image that take part, those with an object first.

    which (T,) int64: their positions among all places; boxes_xyxy (T, 4): in pixels of the frame;
    match (T,) int64: the object of each, below 0 for none; true_xyxy (T, 4): that object's box, the
    place itself without an object; object_weights (T,): the object's weight, 1 without an object.
    """

    which: Tensor
    boxes_xyxy: Tensor
    match: Tensor
    true_xyxy: Tensor
    object_weights: Tensor

    @property
    def positive(self) -> Tensor:
        """Which places have an object, bool (T,)."""
        return self.match >= 0


def draw(rule: Draw, boxes_xyxy: Tensor, target: Target, true_xyxy: Tensor, luck: Tensor) -> Drawn:
    """Which of M places, boxes_xyxy (M, 4), take part for a target with boxes true_xyxy (N, 4), all
    in pixels of the frame.

    luck (M,) in 0..1: among the places with an object, and among those without, the smallest win.
    """
    # Each place's object, by IoU; places between the matcher's two thresholds take no part at all.
    match = torch.full((len(boxes_xyxy),), Matcher.BELOW_LOW_THRESHOLD, device=boxes_xyxy.device)
    if len(true_xyxy) and len(boxes_xyxy):
        match = rule.matcher(box_iou(true_xyxy, boxes_xyxy))
    # At most a share with an object; places without one fill what is left of the count.
    positive = _luckiest(match >= 0, luck, int(rule.count * rule.share))
    negative = _luckiest(match == Matcher.BELOW_LOW_THRESHOLD, luck, rule.count - len(positive))
    which = torch.cat([positive, negative])
    match = match[which]
    truth, weights = boxes_xyxy[which].clone(), torch.ones(len(which), device=which.device)
    truth[: len(positive)] = true_xyxy[match[: len(positive)]]
    weights[: len(positive)] = target.object_weights[match[: len(positive)]]
    return Drawn(which, boxes_xyxy[which], match, truth, weights)


def _luckiest(candidates: Tensor, luck: Tensor, most: int) -> Tensor:
    """Positions of at most `most` true candidates (M,) with the smallest luck (M,)."""
    where = candidates.nonzero()[:, 0]
    return where[luck[where].argsort(stable=True)[:most]]


def luck_of(target: Target, purpose: int, count: int, like: Tensor) -> Tensor:
    """Numbers (count,) in [0, 1) that follow from the target's key; purpose: 0 for anchors, 1 for
    regions, so that the two draws are independent.
    """
    return uniform(torch.tensor([target.key ^ purpose], device=like.device), count)[0]
