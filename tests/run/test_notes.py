"""run.json, sweep.json, metrics.json and saving.json: the same on disk, and refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segue.errors import CheckpointError
from segue.evaluation.outcome import SplitFigures, StageOutcome, read_outcome, write_outcome
from segue.run import notes
from segue.sweep import notes as sweep_notes
from segue.training import freeze_benefit
from segue.training.freeze_benefit import FreezeBenefit

STAGE = {"folder": "1-detector", "state": "complete", "key": "k", "peak_bytes": 7}
RUN = {"plan": "a", "digest": "d", "segue": "0.1.0", "stages": {"detector": STAGE}}
MEMBER = {"values": {"lr": "1"}, "digest": "d", "state": "not begun"}
SWEEP = {"plan": "a", "threads": 1, "members": {"lr=1": MEMBER}}
FIGURES = {"box_ap": 0.5, "detections_counted": 100, "box_ap_by_class": {"cell": 0.5}}
OUTCOME = {
    **{"stage": "a", "task": "boxes", "metric": "box_ap", "epoch": 1, "step": 2, "frozen": ""},
    **{"saving": "", "parts": {}, "valid": FIGURES},
}
BENEFIT = {
    **{"label": "backbone", "seconds": 1.0, "bytes": 2, "whole_seconds": None},
    "whole_bytes": None,
}
FILES = {
    "run.json": (RUN, notes.read_note),
    "sweep.json": (SWEEP, sweep_notes.read_note),
    "metrics.json": (OUTCOME, read_outcome),
    "saving.json": (BENEFIT, freeze_benefit.read),
}


def test_notes_are_written_with_the_keys_they_were_read_with(tmp_path: Path) -> None:
    for name, (content, read) in FILES.items():
        (tmp_path / name).write_text(json.dumps(content))
        read(tmp_path)
    notes.write_note(tmp_path, notes.read_note(tmp_path))
    sweep_notes.write_note(tmp_path, sweep_notes.read_note(tmp_path))
    write_outcome(tmp_path, read_outcome(tmp_path))
    for name in ("run.json", "sweep.json", "metrics.json"):
        written = (tmp_path / name).read_text()
        assert written == json.dumps(FILES[name][0], indent=2) + "\n"


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("change", ["[]", '"text"', "{", '{"stages": 3, "members": 3}', "NaN"])
def test_a_note_of_another_layout_is_an_error_of_one_line(
    tmp_path: Path, name: Any, change: str
) -> None:
    (tmp_path / name).write_text(change)
    with pytest.raises(CheckpointError) as refused:
        FILES[name][1](tmp_path)
    message = refused.value.message
    assert "\n" not in message and message.startswith(f"{tmp_path / name}: ")


def test_a_state_nobody_writes_is_named_with_its_place(tmp_path: Path) -> None:
    stages = {"detector": {**STAGE, "state": "done"}}
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "stages": stages}))
    with pytest.raises(CheckpointError, match=r"run\.json: stages\.detector\.state: .*'running'"):
        notes.read_note(tmp_path)


def test_what_a_later_version_adds_to_a_note_is_left_aside(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "later": 1}))
    assert notes.read_note(tmp_path).stages["detector"].peak_bytes == 7


def test_figures_of_a_split_stand_side_by_side_in_the_file() -> None:
    figures = SplitFigures.model_validate(FIGURES)
    assert figures.figures == {"box_ap": 0.5} and figures.kinds == ("box",)
    assert StageOutcome.model_validate(OUTCOME).splits() == [("valid", figures)]


def test_what_freezing_saves_is_read_as_it_was_written(tmp_path: Path) -> None:
    benefit = FreezeBenefit.model_validate(BENEFIT)
    freeze_benefit.write(tmp_path, benefit)
    assert freeze_benefit.read(tmp_path) == benefit
    assert json.loads((tmp_path / "saving.json").read_text())["text"] == str(benefit)
    assert freeze_benefit.read(tmp_path / "elsewhere") is None
