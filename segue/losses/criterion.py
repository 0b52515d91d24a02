"""From predictions and ground truth to one number, in sums that can be taken over any split of a
step.

The set-prediction loss of DETR (arXiv 2005.12872): match queries to objects, then compare pairs.
`Criterion.__call__` gives sums, `Criterion.total` divides them once, by counts of the whole step.
So gradient accumulation and several processes change nothing, which a mean over a micro-batch does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from segue.losses import terms
from segue.losses.matcher import Costs, Matches, match
from segue.losses.noise import Noise, away_from_outline, spared
from segue.losses.points import point_count, sample_logits, uncertain_points
from segue.losses.weights import TermWeights, weights_for_task
from segue.structures.boxes import cxcywh_to_xyxy, iou_and_giou
from segue.structures.masks import PackedMasks
from segue.structures.predictions import Predictions
from segue.structures.target import Target

ClassTerm = Literal["iou_aware_bce", "focal", "softmax_ce"]


class LossWeights(TermWeights):
    """The weights of the terms of families with queries; defaults are RF-DETR's for boxes."""

    classes: float = 1.0
    l1: float = 5.0
    giou: float = 2.0
    mask_bce: float = 0.0
    dice: float = 0.0


TERMS = tuple(LossWeights.model_fields)


def task_weights(task: str, planned: Mapping[str, float], classes: float = 1.0) -> LossWeights:
    """The weights of a stage of a task (boxes, masks alone, or joint); `planned` are the plan's own
    and come first.

    classes: the family's weight of the class term.
    """
    boxes = {"classes": classes, "l1": 5.0, "giou": 2.0}
    masks = {"mask_bce": 5.0, "dice": 5.0}
    return weights_for_task(LossWeights, task, planned, boxes, masks)


@dataclass(frozen=True)
class Criterion:
    """The set-prediction loss of every DETR-like family.

    queries: of one group. class_term: how classes are scored. no_object: weight of queries without
    an object, 0..1 (softmax_ce only). points: at how many points masks are compared; None for as
    many as the mask's size suggests. noise: what is known to be wrong with the labels.
    """

    weights: LossWeights
    costs: Costs
    queries: int
    class_term: ClassTerm = "iou_aware_bce"
    no_object: float = 0.1
    points: int | None = None
    noise: Noise = Noise()

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that are computed."""
        return tuple(self.weights.active())

    def __call__(self, predictions: Predictions, targets: list[Target]) -> dict[str, Tensor]:
        """Term -> float32 sum at each layer (L,), mean over query groups. Divide with `total`.

        Matching comes first, for all layers and groups at once; masks are computed for matched
        queries only. Without any object the sums are still connected to the predictions, so that
        backward works.

        Raises:
            NonFiniteError: if logits, boxes or masks are NaN or infinite.
        """
        active = self.weights.active()
        scores = "softmax" if self.class_term == "softmax_ce" else "sigmoid"
        # Under mixed precision the model runs in half, its loss in float32: a sum over thousands
        # of queries would lose the small terms.
        with torch.autocast(predictions.logits.device.type, enabled=False):
            matches = match(predictions, targets, self.costs, scores, self.points)
            sums: dict[str, Tensor] = {}
            if "classes" in active:
                sums |= {"classes": self._class_term(predictions, targets, matches)}
            if active.keys() & {"l1", "giou"}:
                sums |= self._box_terms(predictions, targets, matches)
            if active.keys() & {"mask_bce", "dice"}:
                sums |= self._mask_terms(predictions, targets, matches)
        return {name: value / predictions.groups for name, value in sums.items() if name in active}

    def total(self, sums: Mapping[str, Tensor], counts: Mapping[str, float]) -> Tensor:
        """The loss, a scalar: weighted sums over all layers, each divided by what it counts in the
        whole step.

        counts: `Batch.counts()` summed over every micro-batch of the step on every process.
        """
        weights = self.weights.active()
        # Box and class terms count every object, mask terms those with a mask. At least 1, so that
        # a step of empty images divides by no 0.
        divisors = {name: max(counts["object_weights"], 1.0) for name in weights}
        masked = max(counts["masked_object_weights"], 1.0)
        divisors |= {name: masked for name in ("mask_bce", "dice")}
        if self.class_term == "softmax_ce":
            # DETR's cross entropy is a weighted mean over all queries, those without an object too.
            empty = counts["images"] * self.queries - counts["objects"]
            divisors["classes"] = counts["object_weights"] + self.no_object * empty
        return torch.stack(
            [weights[name] * value.sum() / divisors[name] for name, value in sums.items()]
        ).sum()

    def _class_term(
        self, predictions: Predictions, targets: list[Target], matches: Matches
    ) -> Tensor:
        """Sum (L,) over all queries, matched and not."""
        labels = torch.cat([target.labels for target in targets])[matches.target]
        object_weights = torch.cat([target.object_weights for target in targets])[matches.target]
        logits = predictions.logits.float()
        # Queries that are sure of an object which the labels may have missed are not taught that
        # nothing is there.
        spared_queries = None
        if self.noise.missed is not None:
            scores = (
                logits.softmax(-1)[..., :-1]
                if self.class_term == "softmax_ce"
                else logits.sigmoid()
            )
            spared_queries = spared(predictions, targets, matches, scores, self.noise.missed)
        if self.class_term == "softmax_ce":
            return terms.softmax_ce(
                logits, matches, labels, object_weights, self.no_object, spared_queries
            )
        if self.class_term == "focal":
            return terms.focal(logits, matches, labels, object_weights, spared_queries)
        # The IoU is a target here, not a prediction: no gradient goes through it.
        predicted_cxcywh, true_cxcywh = _box_pairs(predictions, targets, matches)
        predicted_xyxy = cxcywh_to_xyxy(predicted_cxcywh.detach())
        iou = iou_and_giou(predicted_xyxy, cxcywh_to_xyxy(true_cxcywh))[0]
        return terms.iou_aware_bce(logits, matches, labels, iou, object_weights, spared_queries)

    def _box_terms(
        self, predictions: Predictions, targets: list[Target], matches: Matches
    ) -> dict[str, Tensor]:
        """Sums (L,) over matched pairs."""
        object_weights = torch.cat([target.object_weights for target in targets])[matches.target]
        predicted_cxcywh, true_cxcywh = _box_pairs(predictions, targets, matches)
        layers = len(predictions.layers)
        return {
            "l1": terms.l1(predicted_cxcywh, true_cxcywh, matches, object_weights, layers),
            "giou": terms.giou(predicted_cxcywh, true_cxcywh, matches, object_weights, layers),
        }

    def _mask_terms(
        self, predictions: Predictions, targets: list[Target], matches: Matches
    ) -> dict[str, Tensor]:
        """Sums (L,) over matched pairs whose object has a mask."""
        assert predictions.masks is not None, (
            "a stage with mask terms needs a model with a mask head"
        )
        matches = matches.keep(torch.cat([target.has_mask for target in targets])[matches.target])
        matches = matches.keep(matches.layer >= predictions.masks.trained_from)
        truth = PackedMasks.cat([target.masks for target in targets if target.masks is not None])
        object_weights = torch.cat([target.object_weights for target in targets])[matches.target]
        # Only here are masks computed: T of them, not B x L x Q.
        logits = predictions.masks.at(matches.image, matches.layer, matches.query).float()
        # Compare at points instead of cells (PointRend, arXiv 1912.08193): the ground truth is
        # sampled at frame resolution, so that fine outlines count although the head is coarse.
        count = self.points or point_count(*logits.shape[1:])
        points = uncertain_points(logits.detach(), matches.key, count)  # (T, P, 2)
        values, true_values = sample_logits(logits, points), truth.sample(matches.target, points)
        counted = None
        if self.noise.boundary:
            counted = away_from_outline(
                truth, matches.target, points, true_values, self.noise.boundary
            )
        layers = len(predictions.layers)
        return {
            "mask_bce": terms.mask_bce(
                values, true_values, matches, object_weights, layers, counted
            ),
            "dice": terms.dice(values, true_values, matches, object_weights, layers, counted),
        }


def _box_pairs(
    predictions: Predictions, targets: list[Target], matches: Matches
) -> tuple[Tensor, Tensor]:
    """The matched queries' boxes_cxcywh and their objects', (T, 4) each, in 0..1."""
    assert predictions.boxes_cxcywh is not None, "a term of boxes needs a model with boxes"
    true_cxcywh = torch.cat([target.boxes_cxcywh for target in targets])[matches.target]
    predicted = predictions.boxes_cxcywh.float()
    return predicted[matches.image, matches.layer, matches.query], true_cxcywh
