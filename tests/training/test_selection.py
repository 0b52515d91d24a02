"""Which epochs are kept, by which images, and when a stage has seen enough."""

from __future__ import annotations

import pytest

from segue.errors import PlanError
from segue.run import build
from segue.training import checkpoint, fit
from segue.training.journal import read_rows
from segue.training.selection import kept
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
