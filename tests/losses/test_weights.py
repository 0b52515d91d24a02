"""What the terms of a stage weigh follows from its task, and what the plan says comes first."""

from __future__ import annotations

import pytest

from segue.losses import criterion

BOXES = {"classes": 2.0, "l1": 5.0, "giou": 2.0}
MASKS = {"mask_bce": 5.0, "dice": 5.0}


@pytest.mark.parametrize(
    ("task", "expected"), [("boxes", BOXES), ("masks", MASKS), ("joint", BOXES | MASKS)]
)
def test_only_the_terms_of_the_task_are_computed(task, expected):
    assert criterion.task_weights(task, {}, classes=2.0).active() == expected


def test_what_the_plan_says_comes_before_the_task():
    weights = criterion.task_weights("masks", {"l1": 1.0, "dice": 0.0})
    assert weights.active() == {"l1": 1.0, "mask_bce": 5.0}
