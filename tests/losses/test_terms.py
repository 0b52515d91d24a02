"""Terms of the loss by themselves: known values, sums by layer, and objects counted as they
weigh.
"""

from __future__ import annotations

import math

import pytest
import torch

from segue.losses import terms
from segue.losses.matcher import Costs, Matches, match
from segue.structures.predictions import Predictions
from tests.losses.test_criterion import target

LAYERS = 2


def pairs(layers: list[int], queries: list[int]) -> Matches:
    """Pairs of one image: the first object's with a query of a layer, the second's, and so on."""
    zeros = torch.zeros(len(layers), dtype=torch.int64)
    return Matches(zeros, torch.tensor(layers).long(), torch.tensor(queries).long(), zeros, zeros)


def test_confident_logits_cost_no_nan():
    logits = torch.tensor([200.0, -200.0]).reshape(1, 1, 2, 1).requires_grad_()
    wanted = target(1, 1)
    wanted.labels[:] = 0
    m = match(
        Predictions(logits, torch.full((1, 1, 2, 4), 0.5), ("0",)), [wanted], Costs(classes=0)
    )
    value = terms.iou_aware_bce(logits, m, torch.tensor([0]), torch.tensor([0.9]), torch.ones(1))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(logits.grad).all()


def test_focal_is_the_formula_of_the_paper():
    """At a logit of 0: alpha for the matched entry, 1 - alpha for the other, times ln 2 / 4."""
    value = terms.focal(torch.zeros(1, 1, 1, 2), pairs([0], [0]), torch.tensor([1]), torch.ones(1))
    assert float(value) == pytest.approx((0.25 + 0.75) * 0.25 * math.log(2))


def test_no_object_weighs_less_in_the_cross_entropy():
    logits = torch.zeros(1, LAYERS, 3, 4)
    value = terms.softmax_ce(
        logits, pairs([0, 1], [2, 0]), torch.tensor([1, 2]), torch.tensor([1.0, 0.5]), 0.1
    )
    assert value.tolist() == pytest.approx([1.2 * math.log(4), 0.7 * math.log(4)])


def test_spared_queries_cost_nothing_in_any_classification():
    logits, spared = torch.zeros(1, 1, 2, 2), torch.tensor([[[False, True]]])
    m, label, one = pairs([0], [0]), torch.tensor([0]), torch.ones(1)
    losses = {
        "focal": (lambda s: terms.focal(logits, m, label, one, s), 2 * 0.75 * 0.25),
        "iou_aware_bce": (lambda s: terms.iou_aware_bce(logits, m, label, one, one, s), 2 * 0.25),
        "softmax_ce": (lambda s: terms.softmax_ce(logits, m, label, one, 1.0, s), 1.0),
    }
    for name, (loss, share) in losses.items():
        difference = float(loss(None) - loss(spared))
        assert difference == pytest.approx(share * math.log(2)), name


def test_box_terms_are_sums_of_each_layers_pairs():
    truth = torch.tensor([[0.5, 0.5, 0.2, 0.2]] * 3)
    moved = truth + torch.tensor([[0.0] * 4, [0.1, 0, 0, 0], [0.2, 0, 0, 0]])
    m, weights = pairs([0, 0, 1], [0, 1, 0]), torch.tensor([1.0, 1.0, 0.5])
    assert terms.l1(moved, truth, m, weights, LAYERS).tolist() == pytest.approx([0.1, 0.1])
    # half of each box lies on the other: IoU 1/3, and the box around both has no more than they
    # cover
    giou = terms.giou(moved, truth, m, weights, LAYERS)
    assert giou.tolist() == pytest.approx([2 / 3, 0.5], abs=1e-5)


def test_mask_terms_are_0_for_the_right_mask_and_leave_out_what_does_not_count():
    truth = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    right, m, one = (truth - 0.5) * 100, pairs([1], [0]), torch.ones(1)
    for term in (terms.mask_bce, terms.dice):
        assert term(right, truth, m, one, LAYERS).tolist() == pytest.approx([0, 0], abs=1e-6)
        wrong = right * torch.tensor([1, 1, 1, -1])
        assert term(wrong, truth, m, one, LAYERS)[1] > 0.1
        counted = torch.tensor([[True, True, True, False]])
        assert term(wrong, truth, m, one, LAYERS, counted)[1] == pytest.approx(0, abs=1e-6)
        nothing = term(wrong, truth, m, one, LAYERS, torch.zeros_like(counted))
        assert nothing.tolist() == pytest.approx([0, 0])


def test_without_matches_sums_are_0_and_have_a_gradient():
    boxes = torch.zeros(0, 4, requires_grad=True)
    value = terms.l1(boxes, torch.zeros(0, 4), pairs([], []), torch.zeros(0), LAYERS)
    assert value.tolist() == [0, 0] and value.requires_grad
