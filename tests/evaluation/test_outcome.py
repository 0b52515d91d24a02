"""metrics.json: figures of a split stand side by side, and come back as they were."""

from __future__ import annotations

import json

import pytest

from segue.errors import CheckpointError
from segue.evaluation.outcome import SplitFigures, StageOutcome, read_outcome, write_outcome

FIGURES = {"box_ap": 0.5, "detections_counted": 100, "box_ap_by_class": {"cell": 0.5}}
OUTCOME = {
    **{"stage": "a", "task": "boxes", "metric": "box_ap", "epoch": 1, "step": 2, "frozen": ""},
    **{"saving": "", "parts": {}, "valid": FIGURES},
}


def test_figures_by_name_and_by_class_are_told_apart():
    figures = SplitFigures.model_validate(FIGURES)
    assert figures.figures == {"box_ap": 0.5} and figures.ap_by_class == {"box": {"cell": 0.5}}
    assert figures.kinds == ("box",) and figures.model_dump() == FIGURES


def test_masks_are_a_kind_where_they_were_measured():
    figures = SplitFigures.model_validate({**FIGURES, "mask_ap": 0.4})
    assert figures.kinds == ("box", "mask")


def test_an_outcome_comes_back_and_has_the_splits_that_were_measured(tmp_path):
    outcome = StageOutcome.model_validate({**OUTCOME, "test": FIGURES})
    write_outcome(tmp_path, outcome)
    assert read_outcome(tmp_path) == outcome
    assert [name for name, _ in outcome.splits()] == ["valid", "test"]
    assert [name for name, _ in StageOutcome.model_validate(OUTCOME).splits()] == ["valid"]
    assert "test" not in StageOutcome.model_validate(OUTCOME).model_dump(exclude_none=True)


def test_a_figure_that_is_no_number_is_named_with_its_place(tmp_path):
    valid = {**FIGURES, "box_ap": "good"}
    (tmp_path / "metrics.json").write_text(json.dumps({**OUTCOME, "valid": valid}))
    with pytest.raises(CheckpointError, match=r"metrics\.json: valid\.figures\.box_ap: "):
        read_outcome(tmp_path)
