"""What is known to be wrong with labels: outlines may be rough, and objects that were missed are no
background.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from segue.data.pipeline.unlabelled_regions import unlabelled_cells
from segue.losses import criterion
from segue.losses.criterion import Criterion, LossWeights
from segue.losses.matcher import Costs, match
from segue.losses.noise import Noise, away_from_outline, spared
from segue.plan.schema import Plan
from segue.structures.masks import PackedMasks
from segue.structures.predictions import Predictions
from segue.structures.target import Batch, Target
from tests.conftest import toy_plan
from tests.toy import losses, run

SIDE = 64


def disc(x: float, y: float, radius: float) -> np.ndarray:
    ys, xs = np.mgrid[:SIDE, :SIDE] + 0.5
    return (xs - x) ** 2 + (ys - y) ** 2 < radius**2


def picture(*discs: np.ndarray) -> torch.Tensor:
    """Bright discs on a noisy ground, uint8 (3, 64, 64)."""
    values = np.random.default_rng(0).normal(60, 3, (SIDE, SIDE)) + sum(90.0 * d for d in discs)
    return torch.from_numpy(values.clip(0, 255).astype(np.uint8))[None].expand(3, -1, -1)


def packed(*masks: np.ndarray) -> PackedMasks:
    return PackedMasks.pack(list(masks), [(0, 0, SIDE, SIDE)] * len(masks), SIDE, SIDE)


LABELLED, MISSED = disc(16, 16, 8), disc(46, 44, 9)


class Given:
    """Masks that are what they are."""

    size, trained_from = (16, 16), 0

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def at(self, image, layer, query):
        return self.values[image, layer, query]


def case(free: torch.Tensor) -> tuple[Predictions, list[Target]]:
    """Query 0 is on the labelled disc, 1 again, 2 on the missed one, 3 on empty ground, 4 on the
    missed but unsure.
    """
    places = [LABELLED, LABELLED, MISSED, disc(50, 10, 8), MISSED]
    logits = torch.tensor([[4.0, 0.0]] * 4 + [[0.2, 0.0]]).view(1, 1, 5, 2).requires_grad_()
    masks = torch.stack([torch.from_numpy(place)[2::4, 2::4] * 10.0 - 5 for place in places]).view(
        1, 1, 5, 16, 16
    )
    target = Target(
        labels=torch.zeros(1, dtype=torch.int64),
        boxes_cxcywh=torch.tensor([[0.25, 0.25, 0.25, 0.25]]),
        has_mask=torch.ones(1, dtype=torch.bool),
        object_weights=torch.ones(1),
        masks=packed(LABELLED),
        unexplained=free,
    )
    boxes = torch.full((1, 1, 5, 4), 0.25)
    boxes[0, 0, 1:] = 0.9
    return Predictions(logits, boxes, ("0",), 1, Given(masks)), [target]


def test_only_a_sure_query_on_something_unlabelled_is_spared():
    predictions, targets = case(unlabelled_cells(picture(LABELLED, MISSED), packed(LABELLED)))
    matches = match(predictions, targets, Costs(), "softmax")
    assert matches.query.tolist() == [0]
    scores = predictions.logits.softmax(-1)[..., :-1]
    assert spared(predictions, targets, matches, scores, 0.7).flatten().tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]
    nothing_there = [replace(targets[0], unexplained=torch.zeros(16, 16, dtype=torch.bool))]
    assert not spared(predictions, nothing_there, matches, scores, 0.7).any()
    assert (
        spared(predictions, [replace(targets[0], unexplained=None)], matches, scores, 0.7) is None
    )


@pytest.mark.parametrize("term", ["softmax_ce", "focal", "iou_aware_bce"])
def test_a_spared_query_has_no_gradient_and_the_others_keep_theirs(term):
    gradients = []
    for missed in (None, 0.7):
        predictions, targets = case(unlabelled_cells(picture(LABELLED, MISSED), packed(LABELLED)))
        weights = LossWeights(l1=0, giou=0)
        loss = Criterion(weights, Costs(), queries=5, class_term=term, noise=Noise(missed=missed))
        sums = loss(predictions, targets)
        loss.total(sums, Batch({"images": torch.zeros(1)}, targets).counts()).backward()
        gradients.append(predictions.logits.grad[0, 0].abs().sum(-1))
    without, with_it = gradients
    assert without[2] > 0 and with_it[2] == 0
    assert torch.equal(without[[0, 1, 3, 4]], with_it[[0, 1, 3, 4]])


def test_points_near_an_outline_do_not_count():
    ys, xs = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    where = torch.stack([xs, ys], -1).view(1, -1, 2) / SIDE
    masks, objects = packed(LABELLED), torch.zeros(1, dtype=torch.int64)
    counted = away_from_outline(masks, objects, where, masks.sample(objects, where), 2.0).view(
        SIDE, SIDE
    )
    radius = ((xs - 16) ** 2 + (ys - 16) ** 2).sqrt()
    assert counted[(radius - 8).abs() > 3.2].all() and not counted[(radius - 8).abs() < 1.2].any()


def test_a_band_around_outlines_makes_a_label_that_is_a_pixel_too_large_as_good_as_the_right_one():
    def mask_loss(label: np.ndarray, boundary: float) -> float:
        exact = torch.from_numpy(disc(16, 16, 8)) * 20.0 - 10
        predictions, targets = case(torch.zeros(16, 16, dtype=torch.bool))
        source = Given(exact.expand(1, 1, 5, -1, -1))
        source.size = (SIDE, SIDE)
        predictions = replace(predictions, masks=source)
        weights = LossWeights(classes=0, l1=0, giou=0, mask_bce=1, dice=1)
        loss = Criterion(
            weights, Costs(), queries=5, class_term="softmax_ce", noise=Noise(boundary=boundary)
        )
        sums = loss(predictions, [replace(targets[0], masks=packed(label))])
        return float(sum(value.sum() for value in sums.values()))

    right, large = disc(16, 16, 8), disc(16, 16, 9)
    assert mask_loss(large, 0.0) > 10 * mask_loss(right, 0.0)
    assert mask_loss(large, 2.0) == pytest.approx(mask_loss(right, 2.0), abs=1e-3)


def test_each_is_a_line_of_a_plan_that_reaches_the_loss(rendered, tmp_path, monkeypatch):
    asked = []

    def every_query(predictions, targets, matches, scores, least):
        asked.append((least, all(target.unexplained is not None for target in targets)))
        return torch.ones_like(scores[..., 0], dtype=torch.bool)

    monkeypatch.setattr(criterion, "spared", every_query)
    first = {}
    for name, noise in {
        "nothing": {},
        "boundary": {"boundary": 2.0},
        "missed": {"missed": 0.3},
    }.items():
        stage = {"task": "joint", "steps": 1, "epochs": None, "noise": noise}
        plan = toy_plan(rendered, tmp_path / name, detector=stage)
        plan["model"] = {"family": "mask2former", "size": "pico", "queries": 20}
        first[name] = losses(run({**plan, "stages": plan["stages"][:1]}) / "1-detector")[0]
    assert first["missed"] < first["nothing"] != first["boundary"]
    assert asked == [(0.3, True)]


@pytest.mark.parametrize(
    ("task", "noise", "words"),
    [("boxes", {"missed": 0.5}, "use task: joint"), ("boxes", {"boundary": 2}, "is of masks")],
)
def test_noise_of_what_a_stage_does_not_train_is_refused(rendered, tmp_path, task, noise, words):
    with pytest.raises(ValueError, match=words):
        Plan.model_validate(toy_plan(rendered, tmp_path, detector={"task": task, "noise": noise}))
