"""Matches are optimal, and every group of queries has its own."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from segue.losses.matcher import Costs, match
from tests.losses.test_criterion import L, Q, predictions, target


@given(some.integers(0, 4), some.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_matches_cost_no_more_than_any_other_assignment(objects, seed):
    p, wanted = predictions(1, seed=seed), target(objects, seed)
    costs = Costs(classes=0, l1=1, giou=0)
    matches = match(p, [wanted], costs)
    assert len(matches) == L * objects
    # (L, Q, N)
    distance = (p.boxes_cxcywh.detach()[0, :, :, None] - wanted.boxes_cxcywh).abs().sum(-1)
    for layer in range(L):
        here = matches.layer == layer
        ours = float(distance[layer, matches.query[here], matches.target[here]].sum())
        best = min(
            float(distance[layer, list(queries), range(objects)].sum())
            for queries in itertools.permutations(range(Q), objects)
        )
        assert ours == pytest.approx(best, abs=1e-5)


def test_every_group_matches_every_object_once():
    targets = [target(3, 1), target(2, 2)]
    matches = match(predictions(2, groups=3), targets, Costs())
    pairs = list(
        zip(
            matches.layer.tolist(),
            (matches.query // Q).tolist(),
            matches.target.tolist(),
            strict=True,
        )
    )
    assert len(pairs) == len(set(pairs)) == L * 3 * 5
