"""The loss of Faster R-CNN (arXiv 1506.01497) and Mask R-CNN (arXiv 1703.06870), in sums that do
not depend on how a step is split.

Two things differ from torchvision's, for that reason. Which anchors and regions of an image take
part is drawn from its target's key, so that nothing else in the batch matters. And divisors are
known before a step begins: images times the most that are drawn, where torchvision divides by what
it happened to draw. Masks are averaged over the regions of an object, then over objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.errors import PlanError
from segue.losses.noise import Noise
from segue.losses.region_sampling import ANCHORS, REGIONS, Draw, Drawn, draw, luck_of
from segue.losses.weights import TermWeights, weights_for_task
from segue.structures.boxes import cxcywh_to_xyxy, scale_xy
from segue.structures.predictions import RegionSource
from segue.structures.target import Target

BETA = 1 / 9  # where smooth L1 turns from square to straight (torchvision)
LEAST_SIDE = 1e-2  # pixels; the logarithm of a box without a side is infinite


class RegionLossWeights(TermWeights):
    """The weights of the terms of families that propose regions, by torchvision's names."""

    classifier: float = 1.0
    box_reg: float = 1.0
    objectness: float = 1.0
    rpn_box_reg: float = 1.0
    mask: float = 0.0


TERMS = tuple(RegionLossWeights.model_fields)


def task_weights(task: str, planned: Mapping[str, float]) -> RegionLossWeights:
    """The weights of a stage of a task (boxes, masks alone, or joint); `planned` are the plan's own
    and come first.
    """
    boxes = dict.fromkeys(("classifier", "box_reg", "objectness", "rpn_box_reg"), 1.0)
    return weights_for_task(RegionLossWeights, task, planned, boxes, {"mask": 1.0})


@dataclass(frozen=True)
class RegionCriterion:
    """The loss of families that propose regions and then look at them.

    regions: how many of an image take part. noise: only its `quality` applies here; the rest is
    about queries, and about masks compared at points.

    Raises:
        PlanError: if noise has `boundary` or `missed`.
    """

    weights: RegionLossWeights
    regions: int = REGIONS.count
    noise: Noise = Noise()

    def __post_init__(self) -> None:
        for name in ("boundary", "missed"):
            if getattr(self.noise, name):
                value = f"{getattr(self.noise, name)}, for a model that proposes regions"
                raise PlanError(
                    f"noise.{name}", value, "noise.quality alone, or a family with queries"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that are computed."""
        return tuple(self.weights.active())

    def __call__(self, predictions: RegionSource, targets: list[Target]) -> dict[str, Tensor]:
        """Term -> float32 sum over the images, a scalar. Divide with `total`."""
        active = self.weights.active()
        with torch.autocast(predictions.objectness.device.type, enabled=False):
            true_xyxy = [_pixels(target, predictions.size) for target in targets]
            anchors = predictions.anchors
            sums: dict[str, Tensor] = {}
            if active.keys() & {"objectness", "rpn_box_reg"}:
                sums |= _anchor_terms(predictions, anchors, targets, true_xyxy)
            if active.keys() & {"classifier", "box_reg", "mask"}:
                drawn = self._draw_regions(predictions, anchors, targets, true_xyxy)
                if active.keys() & {"classifier", "box_reg"}:
                    sums |= _region_terms(predictions, targets, drawn)
                if "mask" in active:
                    sums |= {"mask": _mask_term(predictions, targets, drawn)}
        return {name: value for name, value in sums.items() if name in active}

    def total(self, sums: Mapping[str, Tensor], counts: Mapping[str, float]) -> Tensor:
        """The loss, a scalar: weighted sums, each divided by what may take part in the whole step.

        counts: `Batch.counts()` summed over every micro-batch of the step on every process.
        """
        weights, images = self.weights.active(), max(counts["images"], 1.0)
        divisors = {name: images * self.regions for name in ("classifier", "box_reg")}
        divisors |= {name: images * ANCHORS.count for name in ("objectness", "rpn_box_reg")}
        divisors["mask"] = max(counts["masked_object_weights"], 1.0)
        return torch.stack(
            [weights[name] * value / divisors[name] for name, value in sums.items()]
        ).sum()

    def _draw_regions(
        self,
        predictions: RegionSource,
        anchors: Tensor,
        targets: list[Target],
        true_xyxy: list[Tensor],
    ) -> list[Drawn]:
        """For each image some of its proposals and of its objects' true boxes.

        True boxes take part, as in torchvision: early on no proposal comes near an object.
        """
        rule = replace(REGIONS, count=self.regions)
        drawn: list[Drawn] = []
        proposals = predictions.proposals(anchors)
        for (origin, boxes), target, truth in zip(proposals, targets, true_xyxy, strict=True):
            # A proposal's luck is that of the anchor it comes from, not of its rank: one proposal
            # more or less then leaves the others' draw as it was.
            luck = luck_of(target, 1, len(anchors) + len(truth), anchors)
            luck = torch.cat([luck[origin], luck[len(anchors) :]])
            drawn.append(draw(rule, torch.cat([boxes, truth]), target, truth, luck))
        return drawn


def _pixels(target: Target, size: tuple[int, int]) -> Tensor:
    """The target's boxes_xyxy (N, 4) in pixels of the frame, widened to LEAST_SIDE where they have
    no area.
    """
    boxes = target.boxes_cxcywh.float()
    sides = scale_xy(boxes, size[1], size[0])[:, 2:].clamp(min=LEAST_SIDE)
    return cxcywh_to_xyxy(torch.cat([scale_xy(boxes, size[1], size[0])[:, :2], sides], 1))


def _anchor_terms(
    predictions: RegionSource, anchors: Tensor, targets: list[Target], true_xyxy: list[Tensor]
) -> dict[str, Tensor]:
    """The terms of the region proposal network: is there an object, and where."""
    objectness, boxes = predictions.objectness.new_zeros(()), predictions.objectness.new_zeros(())
    for i, target in enumerate(targets):
        luck = luck_of(target, 0, len(anchors), anchors)
        d = draw(ANCHORS, anchors, target, true_xyxy[i], luck)
        logits, has_object = predictions.objectness[i][d.which], d.positive.float()
        values = F.binary_cross_entropy_with_logits(logits, has_object, reduction="none")
        objectness = objectness + (values * d.object_weights).sum()
        boxes = boxes + _box_sum(ANCHORS, d, predictions.deltas[i][d.which])
    return {"objectness": objectness, "rpn_box_reg": boxes}


def _box_sum(rule: Draw, d: Drawn, deltas: Tensor) -> Tensor:
    """Smooth L1 of deltas (T, 4) against those that lead from the drawn boxes to their objects', a
    scalar; places without an object count nothing.
    """
    true_deltas = rule.coder.encode_single(d.true_xyxy[d.positive], d.boxes_xyxy[d.positive])
    values = F.smooth_l1_loss(deltas[d.positive], true_deltas, beta=BETA, reduction="none")
    return (values.sum(1) * d.object_weights[d.positive]).sum()


def _region_terms(
    predictions: RegionSource, targets: list[Target], drawn: list[Drawn]
) -> dict[str, Tensor]:
    """The terms of the box head: of which class a region is, and where its object."""
    logits, deltas = predictions.classify([d.boxes_xyxy for d in drawn])
    labels = torch.cat([_labels(d, target) for d, target in zip(drawn, targets, strict=True)])
    object_weights = torch.cat([d.object_weights for d in drawn])
    classifier = (F.cross_entropy(logits, labels, reduction="none") * object_weights).sum()
    # The head has a box for each class; only that of the true class is taught.
    chosen = deltas[torch.arange(len(labels), device=labels.device), labels]
    by_image = chosen.split([len(d.which) for d in drawn])
    boxes = torch.stack(
        [_box_sum(REGIONS, d, rows) for d, rows in zip(drawn, by_image, strict=True)]
    ).sum()
    return {"classifier": classifier, "box_reg": boxes}


def _labels(d: Drawn, target: Target) -> Tensor:
    """The class of each drawn region (T,) int64, from 1; 0 for the background."""
    labels = torch.zeros_like(d.match)
    labels[d.positive] = target.labels[d.match[d.positive]] + 1
    return labels


def _mask_term(predictions: RegionSource, targets: list[Target], drawn: list[Drawn]) -> Tensor:
    """Sum over objects of the mean cross entropy in the regions drawn for them, a scalar.

    An object's weight is shared by its regions: torchvision's mean over regions would count an
    object as often as it was proposed.
    """
    kept = [_with_masks(d, target) for d, target in zip(drawn, targets, strict=True)]
    logits = predictions.mask_logits(
        [d.boxes_xyxy[rows] for d, rows in zip(drawn, kept, strict=True)]
    )
    by_image: Any = logits.split([len(rows) for rows in kept])
    total = logits.sum() * 0  # connected to the logits, also where no object has a mask
    for d, rows, target, image_logits in zip(drawn, kept, targets, by_image, strict=True):
        if not len(rows) or target.masks is None:
            continue
        objects = d.match[rows]
        # The head has a mask for each class; only that of the true class is taught. (T, h, w)
        class_logits = image_logits[
            torch.arange(len(rows), device=rows.device), target.labels[objects]
        ]
        cells = class_logits.shape[-1]
        truth = _inside(target, objects, d.boxes_xyxy[rows], predictions.size, cells)
        values = F.binary_cross_entropy_with_logits(class_logits, truth, reduction="none")
        values = values.mean((1, 2))
        shares = torch.bincount(objects, minlength=len(target))[objects]
        total = total + (values * target.object_weights[objects] / shares).sum()
    return total


def _with_masks(d: Drawn, target: Target) -> Tensor:
    """Positions, among the drawn regions, of those whose object has a mask."""
    if not len(target):
        return d.which[:0]
    return (d.positive & target.has_mask[d.match.clamp(min=0)]).nonzero()[:, 0]


def _inside(
    target: Target, objects: Tensor, boxes_xyxy: Tensor, size: tuple[int, int], cells: int
) -> Tensor:
    """The share, 0..1, of each cell (T, cells, cells) of boxes (T, 4) that the true masks of
    `objects` (T,) cover, by four points in a cell.

    Sampling the packed masks stands for RoIAlign of N dense masks, which would have to be built.
    """
    assert target.masks is not None
    # The centres of a grid of twice as many cells, in 0..1 of a box, then of the frame.
    steps = (torch.arange(2 * cells, device=boxes_xyxy.device) + 0.5) / (2 * cells)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij")[::-1], -1).reshape(1, -1, 2)
    low, high = boxes_xyxy[:, None, :2], boxes_xyxy[:, None, 2:]
    points = (low + grid * (high - low)) / low.new_tensor([size[1], size[0]])
    covered = target.masks.sample(objects, points.clamp(0, 1 - 1e-6)).unflatten(
        1, (2 * cells, 2 * cells)
    )
    return F.avg_pool2d(covered, 2)
