"""Which epochs are kept, by which images, and when a stage has seen enough."""

from __future__ import annotations

import pytest
import torch

from segue.errors import PlanError
from segue.models import ModelSpec
from segue.models.weights.card import Card
from segue.run import build
from segue.training import checkpoint, fit
from segue.training.journal import read_rows
from segue.training.selection import better, keep_best, kept
from tests.toy import run
from tests.training.thawing import plan_of


def test_early_stopping_waits_for_the_thaw_and_starts_anew_there(
    rendered, parent, tmp_path, monkeypatch
):
    monkeypatch.setattr(fit, "NOTHING", -2.0)  # so short a stage finds nothing yet
    changes = {"epochs": 6, "thaw": {3: "backbone"}, "early_stop": {"patience": 2, "min_delta": 1}}
    folder = run(plan_of(rendered, tmp_path, parent, **changes)) / "1-tune"
    # nothing gains 1; two epochs of patience after the thaw
    assert checkpoint.read_card(folder / "last").epoch == 5


def test_only_the_best_epochs_are_kept_and_marked_as_finished(rendered, parent, tmp_path):
    folder = run(plan_of(rendered, tmp_path, parent, keep=2)) / "1-tune"
    best = kept(folder)
    values = sorted(
        (row["box_ap"] for row in read_rows(folder / "epochs.csv") if row["epoch"]), reverse=True
    )
    assert [card.metrics["box_ap"] for _, card in best] == pytest.approx(values[:2]) and len(
        best
    ) == 2
    assert (
        all(card.complete for _, card in best)
        and best[0][1].epoch == checkpoint.read_card(folder / "selected").epoch
    )


def test_between_epochs_only_the_monitored_images_count_and_at_the_end_all(
    rendered, parent, tmp_path, monkeypatch
):
    measured = []
    measure = build.measure

    def noted(data, part, *rest):
        measured.append((part, [record.id for record in data.splits[part].records]))
        return measure(data, part, *rest)

    monkeypatch.setattr(build, "measure", noted)
    run(plan_of(rendered, tmp_path, parent, epochs=2, thaw={}, monitor={"images": 2, "start": 1}))
    everything = measured[-2][1]
    # before training, and after both epochs
    assert measured[:3] == [("valid", everything[1:3])] * 3
    assert (
        measured[3] == ("valid", everything) and len(everything) == 5 and measured[4][0] == "test"
    )
    with pytest.raises(PlanError, match="no objects in 0 of 5 validation images"):
        run(plan_of(rendered, tmp_path, parent, monitor={"start": 9}))


@pytest.mark.parametrize(
    ("value", "best", "expected"),
    [
        (0.1, None, True),
        (0.2, 0.1, True),
        (0.1, 0.2, False),
        (0.2, 0.2, False),  # more training has shown nothing for itself
        (0.0, 0.0, True),  # nothing was found yet: the last have learned the longest
        (-1.0, -1.0, True),
    ],
)
def test_of_equal_figures_the_earlier_stay_unless_nothing_was_found(value, best, expected):
    assert better(value, best) is expected


def card(epoch: int, value: float) -> Card:
    spec = ModelSpec(family="rfdetr", size="pico", classes=("a",))
    return Card(spec=spec, epoch=epoch, step=epoch, selected_by="box_ap", metrics={"box_ap": value})


def test_the_best_are_kept_best_first_and_half_written_ones_are_removed(tmp_path):
    (tmp_path / "best" / "epoch-9-step-9.writing").mkdir(parents=True)
    for epoch, value in enumerate([0.1, 0.3, 0.2, 0.3, 0.05], 1):
        keep_best(tmp_path, {"w": torch.full((1,), float(epoch))}, card(epoch, value), 2)
    assert [(c.epoch, c.metrics["box_ap"]) for _, c in kept(tmp_path)] == [(2, 0.3), (4, 0.3)]
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == [
        "epoch-2-step-2",
        "epoch-4-step-4",
    ]
