"""The record of a stage reads as if nothing had happened, whatever happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segue.training.journal import Journal, read_rows


def write(folder: Any, steps: Any, epochs: Any = (), **place: Any):
    journal = Journal(folder, **place)
    for step in steps:
        journal.step({"step": step, "loss": step / 10})
    for epoch in epochs:
        journal.epoch({"epoch": epoch, "step": 2 * epoch, "box_ap": 0.1 * epoch}, step=2 * epoch)
    journal.close()


def test_rows_are_numbers_and_survive_a_second_opening(tmp_path: Path) -> None:
    write(tmp_path, [1, 2], [0, 1])
    write(tmp_path, [3], [2], step=2, evaluated=2)
    assert [row["step"] for row in read_rows(tmp_path / "steps.csv")] == [1, 2, 3]
    assert [row["epoch"] for row in read_rows(tmp_path / "epochs.csv")] == [0, 1, 2]
    assert list((tmp_path / "tb").iterdir())


def test_steps_after_the_one_resumed_from_are_cut(tmp_path: Path) -> None:
    write(tmp_path, [1, 2, 3, 4, 5], [0, 1, 2])
    with (tmp_path / "steps.csv").open("a") as file:
        file.write("6,0.")  # killed in the middle of a line
    write(tmp_path, [4], step=3, evaluated=2)
    assert [row["step"] for row in read_rows(tmp_path / "steps.csv")] == [1, 2, 3, 4]
    assert [row["epoch"] for row in read_rows(tmp_path / "epochs.csv")] == [0, 1]


def test_a_stage_that_begins_again_begins_with_an_empty_record(tmp_path: Path) -> None:
    write(tmp_path, [], [0])
    write(tmp_path, [1], [0])
    assert [row["epoch"] for row in read_rows(tmp_path / "epochs.csv")] == [0]


def test_events_are_json_lines_with_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.event("out of memory", images_per_forward=2)
    journal.close()
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(line)["images_per_forward"] == 2 and json.loads(line)["time"] > 1e9
