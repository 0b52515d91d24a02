"""From predictions and targets to one number, in sums that can be taken over any split of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from segue.base.settings import Settings
from segue.losses import terms
from segue.losses.matcher import Costs, Matches, match
from segue.losses.noise import Noise, away_from_outline, spared
from segue.losses.points import point_count, sample_logits, uncertain_points
from segue.structures.boxes import cxcywh_to_xyxy, iou_and_giou
from segue.structures.masks import PackedMasks
from segue.structures.predictions import Predictions
from segue.structures.target import Target

ClassTerm = Literal["iou_aware_bce", "focal", "softmax_ce"]


class LossWeights(Settings):
    """What each term counts in the total loss; a term of weight 0 is not computed."""

    classes: float = 1.0
    l1: float = 5.0
    giou: float = 2.0
    mask_bce: float = 0.0
    dice: float = 0.0

    def active(self) -> dict[str, float]:
        return {name: weight for name, weight in self.model_dump().items() if weight}


TERMS = tuple(LossWeights.model_fields)


def task_weights(task: str, weights: Mapping[str, float], classes: float = 1.0) -> LossWeights:
    """What a stage of a task (boxes, masks alone, or joint) weighs each term with; `weights` are
    the plan's own.

    classes: the family's weight of the class term.
    """
    masks = {} if task == "boxes" else {"mask_bce": 5.0, "dice": 5.0}
    boxes = {"classes": 0.0, "l1": 0.0, "giou": 0.0} if task == "masks" else {"classes": classes}
    return LossWeights(**{**boxes, **masks, **weights})


@dataclass(frozen=True)
class Criterion:
    """The set-prediction loss of every DETR-like family.

    queries: of one group. class_term: how classes are scored. no_object: weight of queries without
    an object (softmax_ce only). points: at how many points masks are compared; as the mask's size
    suggests if None. noise: what is known to be wrong with the labels.
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
        """Term -> sum at each layer (L,), mean over query groups. Divide with `total`.

        Matching comes first, for all layers and groups at once; masks are computed for matched
        queries only. Without any object the sums are still connected to the predictions, so that
        backward works.
        """
        active = self.weights.active()
        scores = "softmax" if self.class_term == "softmax_ce" else "sigmoid"
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
        """The loss: weighted sums over all layers, each divided by what it counts in the whole
        step.

        counts: `Batch.counts()` summed over every part of the step on every process.
        """
        weights = self.weights.active()
        divisors = {name: max(counts["object_weights"], 1.0) for name in weights}
        divisors |= {
            name: max(counts["masked_object_weights"], 1.0) for name in ("mask_bce", "dice")
        }
        if self.class_term == "softmax_ce":
            empty = counts["images"] * self.queries - counts["objects"]
            divisors["classes"] = counts["object_weights"] + self.no_object * empty
        return torch.stack(
            [weights[name] * value.sum() / divisors[name] for name, value in sums.items()]
        ).sum()

    def _class_term(self, predictions: Predictions, targets: list[Target], m: Matches) -> Tensor:
        labels = torch.cat([target.labels for target in targets])[m.target]
        weights = torch.cat([target.object_weights for target in targets])[m.target]
        logits = predictions.logits.float()
        unsure = None
        if self.noise.missed is not None:
            scores = (
                logits.softmax(-1)[..., :-1]
                if self.class_term == "softmax_ce"
                else logits.sigmoid()
            )
            unsure = spared(predictions, targets, m, scores, self.noise.missed)
        if self.class_term == "softmax_ce":
            return terms.softmax_ce(logits, m, labels, weights, self.no_object, unsure)
        if self.class_term == "focal":
            return terms.focal(logits, m, labels, weights, unsure)
        found, given = _box_pairs(predictions, targets, m)
        iou = iou_and_giou(cxcywh_to_xyxy(found.detach()), cxcywh_to_xyxy(given))[0]
        return terms.iou_aware_bce(logits, m, labels, iou, weights, unsure)

    def _box_terms(
        self, predictions: Predictions, targets: list[Target], m: Matches
    ) -> dict[str, Tensor]:
        weights = torch.cat([target.object_weights for target in targets])[m.target]
        found, given = _box_pairs(predictions, targets, m)
        layers = len(predictions.layers)
        return {
            "l1": terms.l1(found, given, m, weights, layers),
            "giou": terms.giou(found, given, m, weights, layers),
        }

    def _mask_terms(
        self, predictions: Predictions, targets: list[Target], m: Matches
    ) -> dict[str, Tensor]:
        assert predictions.masks is not None, (
            "a stage with mask terms needs a model with a mask head"
        )
        m = m.keep(torch.cat([target.has_mask for target in targets])[m.target])
        m = m.keep(m.layer >= predictions.masks.trained_from)
        given = PackedMasks.cat([target.masks for target in targets if target.masks is not None])
        weights = torch.cat([target.object_weights for target in targets])[m.target]
        logits = predictions.masks.at(m.image, m.layer, m.query).float()  # (T, h, w)
        # (T, P, 2)
        where = uncertain_points(
            logits.detach(), m.key, self.points or point_count(*logits.shape[1:])
        )
        found, wanted = sample_logits(logits, where), given.sample(m.target, where)
        counted = None
        if self.noise.boundary:
            counted = away_from_outline(given, m.target, where, wanted, self.noise.boundary)
        layers = len(predictions.layers)
        return {
            "mask_bce": terms.mask_bce(found, wanted, m, weights, layers, counted),
            "dice": terms.dice(found, wanted, m, weights, layers, counted),
        }


def _box_pairs(
    predictions: Predictions, targets: list[Target], m: Matches
) -> tuple[Tensor, Tensor]:
    """The matched queries' boxes_cxcywh and their objects', (T, 4) each."""
    assert predictions.boxes_cxcywh is not None, "a term of boxes needs a model with boxes"
    given = torch.cat([target.boxes_cxcywh for target in targets])[m.target]
    return predictions.boxes_cxcywh.float()[m.image, m.layer, m.query], given
