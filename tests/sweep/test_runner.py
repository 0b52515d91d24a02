"""A sweep: members that are valid, trained apart from each other, gone on with, and put in one
table.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.cli.app import main
from segue.data.dataset import Data, read_dataset
from segue.models import ModelSpec
from segue.run.folder import RunFolder, key_of
from segue.sweep.combinations import members_of
from segue.sweep.runner import SweepFolder
from segue.training import checkpoint
from tests.conftest import Promise, toy_plan, write_plan
from tests.toy import Console, losses, same_tensors

HURT = (
    "tests.broken_families.killed",
    "tests.broken_families.poisoned",
    "tests.broken_families.starved",
)
FAMILIES = ("rfdetr", "segue.models.rfdetr", *HURT)
NAMES = [f"family={family}" for family in FAMILIES]


def toy_sweep(data: Path, folder: Path) -> Path:
    """A plan file of one short stage that saves often."""
    often = {"images_per_step": 4, "save_every_steps": 2}
    plan = toy_plan(data, folder / "runs", detector=often)
    return write_plan(folder / "plan.yaml", {**plan, "stages": plan["stages"][:1]})


def command(*arguments: object) -> tuple[int, str, str]:
    """The command line in this process: exit code, output, and what it said."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


@dataclass
class Swept:
    """A sweep in which one member was killed, one became NaN and one ran out of memory; the same
    command again without that, but asked to stop during the last member; and once more.
    """

    plan: Path
    folder: Path
    commands: list[tuple[int, str, str]]
    first_page: dict[str, Any]
    kept: dict[str, int]
    states: list[str]
    steps_before: int

    def stage(self, name: str) -> Path:
        return self.folder / name / "toy-1" / "1-detector"


def stop_once_there(file: Path) -> None:
    """Send this process what a batch system sends, once a file is there."""

    def stop() -> None:
        while not file.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()


@pytest.fixture(scope="module")
def swept(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    folder = tmp_path_factory.mktemp("sweep")
    plan, sweep = toy_sweep(rendered, folder), folder / "runs" / "toy-sweep-1"
    steps = {name: sweep / name / "toy-1/1-detector/steps.csv" for name in NAMES}
    arguments = ("sweep", plan, "model.family=" + ",".join(FAMILIES))
    before = Path.cwd()
    os.chdir(folder)
    try:
        Path("deadly").touch()
        commands = [command(*arguments, "--threads", 1)]
        page = json.loads((sweep / "report.json").read_text())
        kept = {name: steps[name].stat().st_mtime_ns for name in NAMES[:2]}
        Path("deadly").rename("slow")
        stop_once_there(steps[NAMES[4]])
        commands.append(command(*arguments))
        Path("slow").unlink()
        states: list[str] = [note.state for note in SweepFolder.read(sweep).notes.values()]
        saved = len(losses(steps[NAMES[4]].parent))
        commands.append(command(*arguments))
        yield Swept(plan, sweep, commands, page, kept, states, saved)
    finally:
        os.chdir(before)


def test_members_that_are_killed_become_nan_or_run_out_of_memory_do_not_stop_the_others(
    swept: Swept, promise: Promise
) -> None:
    code, out, said = swept.commands[0]
    assert code == 3 and out == "" and "Traceback" not in said
    lines = said.splitlines()
    error = lines[next(i for i, line in enumerate(lines) if "error:" in line) :]
    nan = f"{swept.stage(NAMES[3])}, epoch 1, step 4: logits, boxes or masks of layer"
    reasons = [
        "killed by signal 9 (SIGKILL)",
        nan,
        "training step: a single image does not fit in memory",
    ]
    assert error[0].endswith(": 3 of 5 members are not complete")
    for line, name, reason in zip(error[1:], NAMES[2:], reasons, strict=True):
        assert line.strip().startswith(f"{name}: {reason}")
    assert error[3].endswith(f"next: segue sweep {swept.plan} model.family={','.join(FAMILIES)}")
    rows = swept.first_page["rows"]
    assert [row["name"] for row in rows] == NAMES
    assert [row["state"] for row in rows] == ["complete", "complete", "failed", "failed", "failed"]
    assert rows[2]["reason"].startswith(reasons[0]) and rows[2]["valid_ap"] is None
    assert "3 of 5 are not complete" in swept.first_page["verdict"]
    promise("P15", 3, "members of a sweep that were killed, became NaN or ran out of memory")


def test_asked_to_stop_a_sweep_saves_and_says_so(swept: Swept) -> None:
    code, out, said = swept.commands[1]
    assert code == 143 and out == "" and "the same command resumes" in said
    assert swept.states == ["complete", "complete", "complete", "complete", "interrupted"]
    assert 0 < swept.steps_before < 8
    assert f"{NAMES[4]}: interrupted" in said


def test_the_same_command_again_trains_only_what_is_missing(swept: Swept) -> None:
    code, out, said = swept.commands[2]
    assert code == 0 and Path(out.strip()) == swept.folder
    attempts = {
        name: (swept.folder / name / "log.txt").read_text().split("\n--- ") for name in NAMES
    }
    assert [len(attempts[name]) for name in NAMES] == [1, 1, 2, 2, 3]
    for name in NAMES[:2]:
        assert (
            f"{name}: complete, kept" in swept.commands[1][2]
            and f"{name}: begun" not in swept.commands[1][2]
        )
        assert (swept.stage(name) / "steps.csv").stat().st_mtime_ns == swept.kept[name]
    assert (
        f"{NAMES[2]}: complete, box_ap" in swept.commands[1][2]
        and f"{NAMES[2]}: complete, kept" in said
    )
    assert f"{NAMES[4]}: begun" in said and f"{NAMES[4]}: complete, box_ap" in said
    assert "at epoch 1, step 2" in attempts[NAMES[2]][1]  # of three that were done, two were saved
    assert f"step {swept.steps_before}\n" in attempts[NAMES[4]][2]


def test_a_member_that_was_killed_ends_as_one_that_was_not_to_the_bit(swept: Swept) -> None:
    """The five are the same but for what happens to them."""
    for name in NAMES[1:]:
        assert losses(swept.stage(name)) == losses(swept.stage(NAMES[0]))
        for kind in ("selected", "last"):
            assert same_tensors(swept.stage(name) / kind, swept.stage(NAMES[0]) / kind)
        assert (swept.stage(name) / "predictions.coco.json").read_bytes() == (
            swept.stage(NAMES[0]) / "predictions.coco.json"
        ).read_bytes()


def test_the_report_has_every_member_with_what_it_wrote_down(swept: Swept) -> None:
    code, out, _ = command("report", swept.folder, "--json", "--against", NAMES[2])
    assert code == 0
    page = json.loads(out)
    assert page == json.loads((swept.folder / "report.json").read_text())
    assert page["against"] == NAMES[2] and len(page["rows"]) == 5
    for row in page["rows"]:
        outcome = json.loads((swept.stage(row["name"]) / "metrics.json").read_text())
        assert (
            row["valid_ap"] == outcome["valid"]["box_ap"]
            and row["test_ap"] == outcome["test"]["box_ap"]
        )
        assert row["parameters"] == sum(part["parameters"] for part in outcome["parts"].values())
        assert row["peak_bytes"] > 50e6 and row["ms_per_image"] > 0 and row["training_seconds"] > 0
        assert row["values"] == {"model.family": row["name"].removeprefix("family=")}
        assert row["verdict"] == (None if row["name"] == NAMES[2] else "unchanged")
    with (swept.folder / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model.family"] for row in rows] == [
        row["values"]["model.family"] for row in page["rows"]
    ]
    html = (swept.folder / "report.html").read_text()
    assert all(name in html for name in NAMES) and html.count("<svg") == 2


def test_report_takes_runs_by_name_and_says_which_do_not_fit(swept: Swept, tmp_path: Path) -> None:
    runs = [swept.folder / name / "toy-1" for name in NAMES[:2]]
    code, out, _ = command("report", *runs, "--out", tmp_path / "page")
    assert code == 0 and str(runs[1]) in out and (tmp_path / "page" / "report.csv").is_file()
    code, _, said = command("report", *runs, "--against", "toy-9")
    assert code == 2 and "no complete run called toy-9" in said
    code, _, said = command("report", tmp_path, runs[0])
    assert code == 2 and "neither a run nor a sweep" in said


def test_runs_on_other_data_are_not_compared(swept: Swept, rendered: Path, tmp_path: Path) -> None:
    other, data = tmp_path / "toy-1", tmp_path / "data"
    shutil.copytree(swept.folder / NAMES[1] / "toy-1", other)
    shutil.copytree(rendered, data)
    (other / "plan.yaml").write_text(
        (other / "plan.yaml").read_text().replace(str(rendered), str(data))
    )
    runs = (swept.folder / NAMES[0] / "toy-1", other, "--out", tmp_path / "page")
    assert command("report", *runs)[0] == 0  # the same bytes somewhere else
    labels = data / "valid" / "_annotations.coco.json"
    content = json.loads(labels.read_text())
    content["annotations"].pop()
    labels.write_text(json.dumps(content))
    code, _, said = command("report", *runs)
    assert code == 2 and f"{other}: its images or labels are not those it was trained on" in said
    selected = other / "1-detector" / "selected"  # now as if it had been trained on these
    card, tensors = checkpoint.read(selected)
    changed = {**card.data, "sha256": read_dataset(Data(root=data)).manifest}
    checkpoint.write(selected, tensors, card.model_copy(update={"data": changed}))
    code, _, said = command("report", *runs)
    assert (
        code == 2
        and f"{other}: measured on other validation images, labels or classes than {runs[0]}"
        in said
    )


def test_a_stage_that_members_have_in_common_is_trained_once(
    rendered: Path, tmp_path: Path
) -> None:
    plan = write_plan(tmp_path / "plan.yaml", toy_plan(rendered, tmp_path / "runs"))
    members = members_of(plan, ["stages.masks.optimizer.lr=1e-3,1e-4"], Console(quiet=True))
    sweep = SweepFolder.open(members, None, 1)
    first, second = (RunFolder.open(sweep.plan_of(member), ["data", "data"]) for member in members)
    stage = first.plan.stages[0]
    key = key_of(first.plan.identity(stage), "", "data")
    assert key == key_of(second.plan.identity(second.plan.stages[0]), "", "data")
    assert not second.finished(stage, key)
    first.begin(stage, key)
    spec = ModelSpec(family="rfdetr", size="pico", classes=("a",))
    checkpoint.write(first.selected(stage), {"w": torch.ones(3)}, checkpoint.Card(spec=spec))
    assert not second.finished(stage, key)
    first.end(stage, "complete", 7)
    assert second.finished(stage, key) and not second.finished(stage, "another")
    assert (
        second.stages["detector"].reused_from == "lr=1e-3/toy-1"
        and second.stages["detector"].peak_bytes == 7
    )
    assert torch.equal(checkpoint.read(second.selected(stage))[1]["w"], torch.ones(3))
