"""The sweep's commands as its text types them, and every file, column and key that it promises."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import segue
from segue.compat.rgbx_sweep import train_all_backbones_comprehensive as sweep
from segue.compat.rgbx_sweep.plan import plan_of
from tests.compat.rgbx_sweep.commands import (
    ADVICE,
    COMMANDS,
    FOLDER,
    TYPED,
    render,
    short,
    small_sizes,
    table,
    typed,
)
from tests.conftest import ROOT

LOOKS = (
    "cat training_logs/run_*/mit_b1/logs/epoch_metrics.csv",
    "cat training_logs/run_*/mit_b1/logs/training_info.json",  # | jq
    "cat training_logs/run_*/final_summary.json",  # | jq
    "tail -20 training_logs/run_*/mit_b1/logs/epoch_metrics.csv",  # watch -n 5 "..."
)
EPOCHS = "epoch,avg_loss,total_loss,epoch_time_sec,learning_rate,is_best,checkpoint_path,timestamp"
BATCHES = "epoch,batch,loss,loss_classifier,loss_box_reg,loss_objectness,loss_rpn_box_reg,timestamp"
KEYS = {
    "epoch", "backbone", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "loss",
    "best_loss", "best_epoch", "config",
}  # fmt: skip
CONFIG = {
    "num_epochs", "batch_size", "learning_rate", "momentum", "weight_decay", "device",
    "num_classes", "fpn_out_channels",
}  # fmt: skip
BACKBONES = ("mit_b0", "mit_b1")  # of the command that is looked at closely
SUMMARY = {
    "run_config", "total_time_sec", "total_time_hours", "results", "successful", "failed",
    "timestamp",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the quick command of the text was typed."""
    folder = tmp_path_factory.mktemp("sweep")
    render(folder / "data")
    with small_sizes():
        assert typed([*short(TYPED[3]), "--lr-step-size", 2], folder) == 0
    return folder


@pytest.fixture
def run(place: Path) -> Path:
    (found,) = (place / "training_logs").glob("run_*")
    return found


@pytest.fixture(autouse=True)
def small():
    with small_sizes():
        yield


def test_the_commands_are_those_of_the_text() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == COMMANDS and len(COMMANDS) == 6


def test_every_line_of_the_text_is_understood_with_its_defaults(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    lines = [*TYPED, *(f"--data data/ {words}" for words in ADVICE)]
    assert len(lines) == 9 + 7
    for line in lines:
        monkeypatch.setattr(sys, "argv", ["sweep", *shlex.split(line)])
        args = sweep.parse()
        for backbone in args.backbones:
            stage = plan_of(args, backbone, Path("runs"), backbone).stages[0]
            assert (stage.epochs, stage.images_per_step, stage.workers) == (
                args.epochs,
                args.batch_size,
                args.num_workers,
            )
            assert (stage.optimizer.lr, stage.schedule.every_epochs) == (args.lr, args.lr_step_size)
    monkeypatch.setattr(sys, "argv", ["sweep", "--data", "data/"])
    args = vars(sweep.parse())
    assert args["backbones"] == ("mit_b0", "mit_b1", "mit_b2", "mit_b4", "mit_b5") and args[
        "log_dir"
    ] == Path("training_logs")
    assert [
        args[k] for k in ("epochs", "batch_size", "lr", "lr_step_size", "lr_gamma", "num_workers")
    ] == [
        30,
        2,
        0.005,
        10,
        0.1,
        4,
    ]


def test_a_run_has_the_folders_and_files_of_the_text(run: Path) -> None:
    assert re.fullmatch(r"run_\d{8}_\d{6}", run.name)
    assert {path.name for path in run.iterdir()} == {
        "run_config.json",
        "final_summary.json",
        *BACKBONES,
    }
    for backbone in BACKBONES:
        logs = {path.name for path in (run / backbone / "logs").iterdir()}
        assert logs == {"epoch_metrics.csv", "batch_metrics.csv", "training_info.json"}
        names = {path.name for path in (run / backbone / "checkpoints").iterdir()}
        assert names >= {
            "best_model.pth",
            f"{backbone}_final.pth",
            f"{backbone}_final_complete.pth",
        }
        epochs = sorted(name for name in names if name.startswith("epoch_"))
        assert 1 <= len(epochs) <= 2 and all(
            re.fullmatch(r"epoch_00\d_loss_\d+\.\d{4}\.pth", name) for name in epochs
        )
        assert epochs[-1].startswith("epoch_003")


def test_the_tables_have_the_columns_of_the_text_and_add_up(run: Path) -> None:
    for backbone in BACKBONES:
        epochs = table(run / backbone / "logs" / "epoch_metrics.csv")
        batches = table(run / backbone / "logs" / "batch_metrics.csv")
        assert (
            ",".join(epochs[0]) == f"{EPOCHS},val_ap"
            and ",".join(batches[0]) == f"{BATCHES},batch_time_sec"
        )
        assert [row["epoch"] for row in epochs] == ["1", "2", "3"]
        assert [(row["epoch"], row["batch"]) for row in batches] == [
            (e, b) for e in "123" for b in "12"
        ]  # 7 images, by 4
        assert [float(row["learning_rate"]) for row in epochs] == pytest.approx(
            [0.005, 0.005, 0.0005]
        )
        best = 0.0
        for row in epochs:
            losses = [float(batch["loss"]) for batch in batches if batch["epoch"] == row["epoch"]]
            assert float(row["total_loss"]) == pytest.approx(sum(losses), rel=1e-6)
            assert float(row["avg_loss"]) == pytest.approx(sum(losses) / len(losses), rel=1e-6)
            assert (row["is_best"] == "True") == (
                row["epoch"] == "1" or float(row["val_ap"]) > best
            )
            best = max(best, float(row["val_ap"]))
            assert (
                not row["checkpoint_path"] or (run.parent.parent / row["checkpoint_path"]).is_file()
            )
        for row in batches:
            terms = [float(row[name]) for name in row if name.startswith("loss_")]
            assert len(terms) == 4 and sum(terms) == pytest.approx(float(row["loss"]), rel=1e-5)


def test_the_json_files_have_the_keys_of_the_text(run: Path) -> None:
    config, summary = (
        json.loads((run / name).read_text()) for name in ("run_config.json", "final_summary.json")
    )
    assert (
        config["epochs"] == 3 and config["backbones"] == list(BACKBONES) and config["lr"] == 0.005
    )
    assert set(summary) == SUMMARY
    assert (summary["successful"], summary["failed"]) == (2, 0) and summary["run_config"] == config
    for result in summary["results"]:
        info = json.loads((run / result["backbone"] / "logs" / "training_info.json").read_text())
        assert (
            info["backbone"] == result["backbone"]
            and info["status"] == "completed"
            and info["timestamp"]
        )
        assert set(info["config"]) >= CONFIG and info["config"]["num_classes"] == 3
        assert set(info["model"]) == {"total_parameters", "trainable_parameters", "parameters_M"}
        training = info["training"]
        assert (
            len(training["epoch_losses"])
            == len(training["epoch_times"])
            == training["total_epochs_completed"]
            == 3
        )
        assert info["total_training_time_sec"] == pytest.approx(sum(training["epoch_times"]))
        assert {f"total_training_time_{unit}" for unit in ("sec", "min", "hours")} < set(info)
        for key in ("best_epoch", "best_loss"):
            assert training[key] == result[key]
        assert result["success"] and result["final_loss"] == training["epoch_losses"][-1]
        assert (run.parent.parent / info["final_model_path"]).is_file()
        assert (run.parent.parent / info["best_model_path"]).is_file()


def test_checkpoints_hold_what_the_text_says_and_load_safely(run: Path) -> None:
    folder, rows = (
        run / "mit_b1" / "checkpoints",
        table(run / "mit_b1" / "logs" / "epoch_metrics.csv"),
    )
    best, complete = (
        torch.load(folder / f"{name}.pth") for name in ("best_model", "mit_b1_final_complete")
    )
    weights = torch.load(folder / "mit_b1_final.pth")
    assert set(best) >= KEYS and KEYS | {"final_loss", "epoch_losses"} <= set(complete)
    leader = max(rows, key=lambda row: (float(row["val_ap"]), -int(row["epoch"])))
    assert best["epoch"] == best["best_epoch"] == complete["best_epoch"] == int(leader["epoch"])
    assert best["loss"] == best["best_loss"] == float(leader["avg_loss"])
    assert complete["epoch"] == 3 and complete["epoch_losses"] == [
        float(row["avg_loss"]) for row in rows
    ]
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    assert weights.keys() == complete["model_state_dict"].keys()
    assert all(
        torch.equal(weights[name], tensor) for name, tensor in complete["model_state_dict"].items()
    )
    newest = torch.load(folder / Path(rows[-1]["checkpoint_path"]).name)
    assert all(
        torch.equal(newest["model_state_dict"][name], tensor) for name, tensor in weights.items()
    )


def test_optimizer_and_schedule_of_a_checkpoint_go_into_torchs_own(run: Path) -> None:
    path = run / "mit_b1" / "checkpoints" / "mit_b1_final_complete.pth"
    content, chain = torch.load(path), segue.load(path).chain
    groups = content["optimizer_state_dict"]["param_groups"]
    split = [len(group["params"]) for group in groups]
    parameters = iter(list(chain.parameters()))
    optimizer = torch.optim.SGD(
        [{"params": [next(parameters) for _ in range(n)]} for n in split], 0.005, momentum=0.9
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 7)
    scheduler.load_state_dict(content["scheduler_state_dict"])
    assert scheduler.get_last_lr() == pytest.approx([0.0005, 0.0005]) and scheduler.step_size == 2
    assert {group["momentum"] for group in groups} == {0.9} and {
        g["weight_decay"] for g in groups
    } == {0.0, 5e-4}
    assert len(content["optimizer_state_dict"]["state"]) == sum(split)


def test_what_the_text_looks_at_is_there(place: Path) -> None:
    said = [
        subprocess.run(["sh", "-c", line], cwd=place, capture_output=True, text=True)
        for line in LOOKS
    ]
    assert [done.returncode for done in said] == [0] * 4
    assert said[0].stdout.startswith(EPOCHS) and said[0].stdout == said[3].stdout
    assert (
        json.loads(said[1].stdout)["status"] == "completed"
        and json.loads(said[2].stdout)["successful"] == 2
    )


def test_the_loading_snippet_of_the_page_works_as_it_stands(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "rgbx-sweep.md").read_text()
    (snippet,) = re.findall(r"### Load the best model\n\n```python\n(.*?)```", page, re.DOTALL)
    assert "best_model.pth" in snippet and "model_state_dict" in snippet
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102
    assert not names["model"].training and names["detections"].size == (64, 64)
    final = (
        place
        / "training_logs"
        / names["path"].parts[1]
        / "mit_b1"
        / "checkpoints"
        / "mit_b1_final.pth"
    )
    # weights alone, with their card next to them
    assert segue.load(final).chain.spec == names["model"].spec


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(TYPED)))
def test_every_training_command_of_the_text_runs(place: Path, tmp_path: Path, number: int) -> None:
    (tmp_path / "data").symlink_to(place / "data")
    assert typed(short(TYPED[number], epochs=1), tmp_path) == 0
    (run,) = (tmp_path / "training_logs").glob("run_*")
    summary = json.loads((run / "final_summary.json").read_text())
    named = re.findall(r"mit_b\d", TYPED[number]) or [
        "mit_b0",
        "mit_b1",
        "mit_b2",
        "mit_b4",
        "mit_b5",
    ]
    assert [result["backbone"] for result in summary["results"]] == named and summary["failed"] == 0
