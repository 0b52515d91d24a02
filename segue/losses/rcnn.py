"""The loss of Faster and Mask R-CNN in sums, whose parts do not depend on how a step is split.

Which anchors and regions of an image take part is drawn from its target's key, and each has a draw
of its own, so that nothing else in the batch matters. Divisors are known before a step begins:
images times the most that are drawn, where torchvision divides by what it happened to draw. Masks
are averaged over the regions of an object, then over objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

from segue.base.settings import Settings
from segue.errors import PlanError
from segue.losses.noise import Noise
from segue.structures.boxes import cxcywh_to_xyxy, scale_xy
from segue.structures.predictions import RegionSource
from segue.structures.seeds import uniform
from segue.structures.target import Target

BETA = 1 / 9  # where smooth L1 turns from square to straight (torchvision)
LEAST_SIDE = 1e-2  # pixels; the logarithm of a box without a side is infinite


@dataclass(frozen=True)
class Draw:
    """How many places of an image are looked at, at most which share of them with an object, and
    which these are.
    """

    count: int
    share: float
    matcher: Matcher
    coder: BoxCoder


ANCHORS = Draw(
    256, 0.5, Matcher(0.7, 0.3, allow_low_quality_matches=True), BoxCoder((1.0, 1.0, 1.0, 1.0))
)
REGIONS = Draw(512, 0.25, Matcher(0.5, 0.5), BoxCoder((10.0, 10.0, 5.0, 5.0)))


class RegionLossWeights(Settings):
    """What each term counts in the total loss; a term of weight 0 is not computed."""

    classifier: float = 1.0
    box_reg: float = 1.0
    objectness: float = 1.0
    rpn_box_reg: float = 1.0
    mask: float = 0.0

    def active(self) -> dict[str, float]:
        return {name: weight for name, weight in self.model_dump().items() if weight}


TERMS = tuple(RegionLossWeights.model_fields)


def task_weights(task: str, weights: Mapping[str, float]) -> RegionLossWeights:
    """What a stage of a task weighs each term with; `weights` are the plan's own."""
    alone = dict.fromkeys(TERMS, 0.0) if task == "masks" else {}
    masks = {} if task == "boxes" else {"mask": 1.0}
    return RegionLossWeights(**{**alone, **masks, **weights})


@dataclass(slots=True)
class Drawn:
    """The places of one image that take part: boxes (T, 4) in pixels, which of all they are (T,),
    and the object of each (T,), -1 for none; for them the object's box (T, 4) and weight (T,), 1
    without one.
    """

    which: Tensor
    boxes_xyxy: Tensor
    match: Tensor
    given_xyxy: Tensor
    weights: Tensor

    @property
    def positive(self) -> Tensor:
        return self.match >= 0


@dataclass(frozen=True)
class RegionCriterion:
    """The loss of families that propose regions and then look at them.

    regions: of an image, that take part. noise: of a label's quality alone; the rest is of queries,
    and of masks compared at points.
    """

    weights: RegionLossWeights
    regions: int = REGIONS.count
    noise: Noise = Noise()

    def __post_init__(self) -> None:
        for name in ("boundary", "missed"):
            if getattr(self.noise, name):
                found = f"{getattr(self.noise, name)}, for a model that proposes regions"
                raise PlanError(
                    f"noise.{name}", found, "noise.quality alone, or a family with queries"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that are computed."""
        return tuple(self.weights.active())

    def __call__(self, predictions: RegionSource, targets: list[Target]) -> dict[str, Tensor]:
        """Term -> sum over the images. Divide with `total`."""
        active = self.weights.active()
        with torch.autocast(predictions.objectness.device.type, enabled=False):
            given = [_pixels(target, predictions.size) for target in targets]
            anchors = predictions.anchors
            sums: dict[str, Tensor] = {}
            if active.keys() & {"objectness", "rpn_box_reg"}:
                sums |= _anchor_terms(predictions, anchors, targets, given)
            if active.keys() & {"classifier", "box_reg", "mask"}:
                drawn = self._draw_regions(predictions, anchors, targets, given)
                if active.keys() & {"classifier", "box_reg"}:
                    sums |= _region_terms(predictions, targets, drawn)
                if "mask" in active:
                    sums |= {"mask": _mask_term(predictions, targets, drawn)}
        return {name: value for name, value in sums.items() if name in active}

    def total(self, sums: Mapping[str, Tensor], counts: Mapping[str, float]) -> Tensor:
        """The loss: weighted sums, each divided by what may take part in the whole step.

        counts: `Batch.counts()` summed over every part of the step on every process.
        """
        weights, images = self.weights.active(), max(counts["images"], 1.0)
        divisors = {name: images * self.regions for name in ("classifier", "box_reg")}
        divisors |= {name: images * ANCHORS.count for name in ("objectness", "rpn_box_reg")}
        divisors["mask"] = max(counts["masked_object_weights"], 1.0)
        return torch.stack(
            [weights[name] * value / divisors[name] for name, value in sums.items()]
        ).sum()

    def _draw_regions(
        self, predictions: RegionSource, anchors: Tensor, targets: list[Target], given: list[Tensor]
    ) -> list[Drawn]:
        """Of each image's proposals and its objects' own boxes."""
        rule, drawn = replace(REGIONS, count=self.regions), []
        for (origin, boxes), target, own in zip(
            predictions.proposals(anchors), targets, given, strict=True
        ):
            luck = _luck(target, 1, len(anchors) + len(own), anchors)
            luck = torch.cat([luck[origin], luck[len(anchors) :]])
            drawn.append(draw(rule, torch.cat([boxes, own]), target, own, luck))
        return drawn


def draw(rule: Draw, boxes_xyxy: Tensor, target: Target, given_xyxy: Tensor, luck: Tensor) -> Drawn:
    """The boxes (N, 4) that take part for a target with boxes given (M, 4), all in pixels.

    luck (N,): in each group, those with an object and those without, the smallest win.
    """
    match = torch.full((len(boxes_xyxy),), Matcher.BELOW_LOW_THRESHOLD, device=boxes_xyxy.device)
    if len(given_xyxy) and len(boxes_xyxy):
        match = rule.matcher(box_iou(given_xyxy, boxes_xyxy))
    positive = _luckiest(match >= 0, luck, int(rule.count * rule.share))
    negative = _luckiest(match == Matcher.BELOW_LOW_THRESHOLD, luck, rule.count - len(positive))
    which = torch.cat([positive, negative])
    match = match[which]
    given, weights = boxes_xyxy[which].clone(), torch.ones(len(which), device=which.device)
    given[: len(positive)] = given_xyxy[match[: len(positive)]]
    weights[: len(positive)] = target.object_weights[match[: len(positive)]]
    return Drawn(which, boxes_xyxy[which], match, given, weights)


def _luckiest(candidates: Tensor, luck: Tensor, most: int) -> Tensor:
    """Positions of the `most` true candidates (N,) with the smallest luck (N,)."""
    where = candidates.nonzero()[:, 0]
    return where[luck[where].argsort(stable=True)[:most]]


def _pixels(target: Target, size: tuple[int, int]) -> Tensor:
    """The target's boxes_xyxy (N, 4) in pixels of the frame, none without area."""
    boxes = target.boxes_cxcywh.float()
    sides = scale_xy(boxes, size[1], size[0])[:, 2:].clamp(min=LEAST_SIDE)
    return cxcywh_to_xyxy(torch.cat([scale_xy(boxes, size[1], size[0])[:, :2], sides], 1))


def _luck(target: Target, purpose: int, count: int, like: Tensor) -> Tensor:
    return uniform(torch.tensor([target.key ^ purpose], device=like.device), count)[0]


def _anchor_terms(
    predictions: RegionSource, anchors: Tensor, targets: list[Target], given: list[Tensor]
) -> dict[str, Tensor]:
    objectness, boxes = predictions.objectness.new_zeros(()), predictions.objectness.new_zeros(())
    for i, target in enumerate(targets):
        d = draw(ANCHORS, anchors, target, given[i], _luck(target, 0, len(anchors), anchors))
        logits, wanted = predictions.objectness[i][d.which], d.positive.float()
        values = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        objectness = objectness + (values * d.weights).sum()
        boxes = boxes + _box_sum(ANCHORS, d, predictions.deltas[i][d.which])
    return {"objectness": objectness, "rpn_box_reg": boxes}


def _box_sum(rule: Draw, d: Drawn, deltas: Tensor) -> Tensor:
    """Smooth L1 of deltas (T, 4) against those that lead from the drawn boxes to their objects'."""
    wanted = rule.coder.encode_single(d.given_xyxy[d.positive], d.boxes_xyxy[d.positive])
    values = F.smooth_l1_loss(deltas[d.positive], wanted, beta=BETA, reduction="none")
    return (values.sum(1) * d.weights[d.positive]).sum()


def _region_terms(
    predictions: RegionSource, targets: list[Target], drawn: list[Drawn]
) -> dict[str, Tensor]:
    logits, deltas = predictions.classify([d.boxes_xyxy for d in drawn])
    labels = torch.cat([_labels(d, target) for d, target in zip(drawn, targets, strict=True)])
    weights = torch.cat([d.weights for d in drawn])
    classifier = (F.cross_entropy(logits, labels, reduction="none") * weights).sum()
    chosen = deltas[torch.arange(len(labels), device=labels.device), labels]
    parts = chosen.split([len(d.which) for d in drawn])
    boxes = torch.stack(
        [_box_sum(REGIONS, d, part) for d, part in zip(drawn, parts, strict=True)]
    ).sum()
    return {"classifier": classifier, "box_reg": boxes}


def _labels(d: Drawn, target: Target) -> Tensor:
    """Of each drawn region, from 1; 0 for the background."""
    labels = torch.zeros_like(d.match)
    labels[d.positive] = target.labels[d.match[d.positive]] + 1
    return labels


def _mask_term(predictions: RegionSource, targets: list[Target], drawn: list[Drawn]) -> Tensor:
    """Sum over objects of the mean cross entropy in the regions drawn for them."""
    kept = [_with_masks(d, target) for d, target in zip(drawn, targets, strict=True)]
    logits = predictions.mask_logits(
        [d.boxes_xyxy[rows] for d, rows in zip(drawn, kept, strict=True)]
    )
    parts: Any = logits.split([len(rows) for rows in kept])
    total = logits.sum() * 0
    for d, rows, target, part in zip(drawn, kept, targets, parts, strict=True):
        if not len(rows) or target.masks is None:
            continue
        objects = d.match[rows]
        own = part[torch.arange(len(rows), device=rows.device), target.labels[objects]]  # (T, h, w)
        wanted = _inside(target, objects, d.boxes_xyxy[rows], predictions.size, own.shape[-1])
        values = F.binary_cross_entropy_with_logits(own, wanted, reduction="none").mean((1, 2))
        shares = torch.bincount(objects, minlength=len(target))[objects]
        total = total + (values * target.object_weights[objects] / shares).sum()
    return total


def _with_masks(d: Drawn, target: Target) -> Tensor:
    """Rows of what was drawn whose object has a mask."""
    return (
        (d.positive & target.has_mask[d.match.clamp(min=0)]).nonzero()[:, 0]
        if len(target)
        else d.which[:0]
    )


def _inside(
    target: Target, objects: Tensor, boxes_xyxy: Tensor, size: tuple[int, int], cells: int
) -> Tensor:
    """How much of each cell (T, cells, cells) of boxes (T, 4) the masks of these objects cover: of
    four points each.
    """
    assert target.masks is not None
    steps = (torch.arange(2 * cells, device=boxes_xyxy.device) + 0.5) / (2 * cells)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij")[::-1], -1).reshape(1, -1, 2)
    low, high = boxes_xyxy[:, None, :2], boxes_xyxy[:, None, 2:]
    points = (low + grid * (high - low)) / low.new_tensor([size[1], size[0]])
    covered = target.masks.sample(objects, points.clamp(0, 1 - 1e-6)).unflatten(
        1, (2 * cells, 2 * cells)
    )
    return F.avg_pool2d(covered, 2)
