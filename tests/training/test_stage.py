"""How long a stage trains, and when it is evaluated next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from segue.training.learner import Progress
from segue.training.stage import Stage, Training


def stage(progress: Progress, **training) -> Stage:
    learner = SimpleNamespace(progress=progress)
    nothing = SimpleNamespace()
    return Stage(
        learner=learner,
        training=Training(**training),
        steps_per_epoch=4,
        batches=lambda epoch, start: [],
        evaluate=lambda tick: {},
        metric="box_ap",
        folder=Path("x"),
        card=nothing,
        journal=None,
        proof=nothing,
        thaw={},
        reporter=nothing,
    )


@pytest.mark.parametrize(
    ("training", "steps", "epochs"),
    [({"epochs": 3}, 12, 3), ({"steps": 10}, 10, 3), ({"steps": 4}, 4, 1), ({"steps": 1}, 1, 1)],
)
def test_a_stage_in_steps_may_end_within_an_epoch(training, steps, epochs):
    assert (stage(Progress(), **training).steps, stage(Progress(), **training).epochs) == (
        steps,
        epochs,
    )


@pytest.mark.parametrize(
    ("progress", "ends"),
    [
        (Progress(), 4),
        (Progress(epoch=1, step=1, steps=5), 8),
        (Progress(epoch=2, step=1, steps=9), 10),
    ],
)
def test_an_epoch_ends_with_the_data_or_with_the_stage(progress, ends):
    assert stage(progress, steps=10).epoch_ends == ends
    assert stage(progress, steps=10).next_evaluation == ends


@pytest.mark.parametrize(("evaluated", "due"), [(0, 3), (3, 6), (4, 6), (9, 10)])
def test_evaluations_by_steps_come_every_so_many_and_at_the_end(evaluated, due):
    progress = Progress(steps=evaluated, evaluated=evaluated)
    assert stage(progress, steps=10, evaluate_every_steps=3).next_evaluation == due
