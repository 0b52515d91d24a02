"""What freezing saves is measured, and a lack of memory for that changes nothing."""

from __future__ import annotations

import json

import pytest
import torch

from segue.training import freeze_benefit
from segue.training.loop import accumulate
from tests.toy import losses, run, same_tensors
from tests.training.thawing import plan_of


def test_what_freezing_saves_is_measured_and_left_for_the_report(whole):
    found = json.loads((whole / "saving.json").read_text())
    assert found["label"] == "backbone, projector" and 0 < found["bytes"] < found["whole_bytes"]
    assert found["text"].startswith("with backbone, projector frozen a step takes")
    assert found["text"] in (whole.parent / "report.html").read_text()


@pytest.mark.parametrize("call", [1, 2])
def test_no_memory_to_measure_with_changes_nothing(
    rendered, parent, tmp_path, monkeypatch, whole, call
):
    """Not even where it runs out after a backward, with gradients everywhere."""
    calls = []

    def scarce(*arguments):
        calls.append(1)
        accumulate(*arguments)
        if len(calls) == call:
            raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(freeze_benefit, "accumulate", scarce)
    folder = run(plan_of(rendered, tmp_path, parent)) / "1-tune"
    assert losses(folder) == losses(whole) and same_tensors(folder / "last", whole / "last")
    if call == 1:  # not even the frozen step fits
        assert not (folder / "saving.json").exists()
    else:
        assert (
            "with nothing frozen it does not fit"
            in json.loads((folder / "saving.json").read_text())["text"]
        )
