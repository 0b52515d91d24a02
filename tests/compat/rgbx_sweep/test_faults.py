"""The sweep when something goes wrong, and what is tested, drawn and tuned with its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.models import rgbx_rcnn
from segue.training.journal import Journal
from tests.compat.rgbx_sweep.commands import render, small_sizes, table, typed
from tests.toy import Stopped

SWEEP = (
    "train_all_backbones_comprehensive.py",
    "--data",
    "data",
    "--num-workers",
    0,
    "--lr-step-size",
    2,
)
TIMES = ("epoch_time_sec", "batch_time_sec", "timestamp", "checkpoint_path")


@pytest.fixture(autouse=True)
def small():
    with small_sizes():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture
def place(tmp_path: Path, data: Path) -> Path:
    (tmp_path / "data").symlink_to(data)
    return tmp_path


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two backbones in training_logs, of which all epochs were kept."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "data").symlink_to(data)
    with small_sizes():
        assert (
            typed(
                [*SWEEP, "--epochs", 2, "--backbones", "mit_b0", "mit_b3", "--keep-all-epochs"],
                folder,
            )
            == 0
        )
    return folder


def run_of(place: Path) -> Path:
    (found,) = (place / "training_logs").glob("run_*")
    return found


def info(place: Path, backbone: str) -> dict[str, Any]:
    return json.loads((run_of(place) / backbone / "logs" / "training_info.json").read_text())


def lasting(place: Path, name: str) -> list[dict[str, str]]:
    """A table of mit_b0 without what differs from run to run."""
    rows = table(run_of(place) / "mit_b0" / "logs" / name)
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def test_all_epochs_are_kept_when_asked(trained: Path) -> None:
    rows = table(run_of(trained) / "mit_b3" / "logs" / "epoch_metrics.csv")
    assert len(rows) == 2 and all((trained / row["checkpoint_path"]).is_file() for row in rows)
    assert len(list((run_of(trained) / "mit_b3" / "checkpoints").glob("epoch_*.pth"))) == 2


# in the first epoch; in the second
@pytest.mark.parametrize("step", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_bit(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    note = Journal.step

    def deadly(self: Any, row: Any):
        if row["step"] > step:
            raise Stopped
        note(self, row)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Journal, "step", deadly)
        typed([*SWEEP, "--epochs", 2, "--backbones", "mit_b0"], place)
    assert info(place, "mit_b0")["status"] == "training"
    assert typed([SWEEP[0], "--resume", run_of(place)], place) == 0
    for name in ("epoch_metrics.csv", "batch_metrics.csv"):
        assert lasting(place, name) == lasting(trained, name)
    ends = [
        run_of(folder) / "mit_b0" / "checkpoints" / "mit_b0_final_complete.pth"
        for folder in (place, trained)
    ]
    first, second = (torch.load(path) for path in ends)
    assert all(
        torch.equal(second["model_state_dict"][n], t) for n, t in first["model_state_dict"].items()
    )
    assert (
        first["epoch_losses"] == second["epoch_losses"]
        and first["best_epoch"] == second["best_epoch"]
    )


def test_a_backbone_that_fails_leaves_the_others_alone_and_is_tried_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = rgbx_rcnn.build

    def build(spec: Any, masks: Any):
        if spec.size == "mit_b1":
            raise RuntimeError("the card fell out")
        return real(spec, masks)

    with monkeypatch.context() as patch:
        patch.setattr(rgbx_rcnn, "build", build)
        assert typed([*SWEEP, "--epochs", 1, "--backbones", "mit_b1", "mit_b0"], place) == 1
    assert "mit_b1: failed: RuntimeError: the card fell out" in capsys.readouterr().err
    assert [info(place, f"mit_b{n}")["status"] for n in (0, 1)] == ["completed", "failed"]
    assert info(place, "mit_b1")["error"] == "RuntimeError: the card fell out"
    assert "in build" in (run_of(place) / "mit_b1" / "logs" / "error.txt").read_text()
    summary = json.loads((run_of(place) / "final_summary.json").read_text())
    assert (summary["successful"], summary["failed"]) == (1, 1)
    assert [result["success"] for result in summary["results"]] == [False, True]
    assert typed([SWEEP[0], "--resume", run_of(place)], place) == 0
    said = capsys.readouterr().out
    assert "mit_b0: complete, kept" in said and "mit_b1: complete, kept" not in said
    assert json.loads((run_of(place) / "final_summary.json").read_text())["successful"] == 2


def test_what_the_sweep_left_is_found_measured_ranked_and_drawn(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(["test_all_backbones.py", "--data", "data"], trained) == 0
    said = capsys.readouterr().out
    (summary,) = run_of(trained).glob("evaluation_summary_*.txt")
    assert summary.read_text().strip() in said
    for words in (
        "Model Comparison:",
        "Speed Ranking",
        "Accuracy Ranking",
        "Model Size Ranking",
        "Successful: 2/2",
    ):
        assert words in said
    # its line with its path, its row, and its place in each ranking
    assert said.count("mit_b3") == 2 + 1 + 3
    for backbone in ("mit_b0", "mit_b3"):
        drawings = sorted(path.name for path in (trained / "test_results" / backbone).iterdir())
        assert drawings == ["result_batch_0_img_0.png", "result_batch_0_img_1.png"]


def test_a_missing_backbone_is_a_failure_and_a_pattern_is_followed(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        "test_all_backbones.py",
        "--data",
        "data",
        "--checkpoint-dir",
        run_of(trained),
        "--results-dir",
        "drawn",
    )
    pattern = ("--checkpoint-pattern", "{backbone}/checkpoints/{backbone}_final.pth")
    assert typed([*line, *pattern, "--backbones", "mit_b0", "mit_b5"], trained) == 1
    said = capsys.readouterr().out
    assert (
        "Failed Evaluations:\n  mit_b5: mit_b5: no checkpoint" in said and "Successful: 1/2" in said
    )


@pytest.mark.slow
def test_the_simple_sweep_leaves_what_the_tests_of_all_backbones_read(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        typed(
            ["train_all_backbones.py", "--data", "data", "--epochs", 1, "--backbones", "mit_b0"],
            place,
        )
        == 0
    )
    assert (place / "checkpoints" / "crossattentiondet_mit_b0.pth").is_file()
    (summary,) = (place / "checkpoints").glob("training_summary_*.txt")
    assert "1. mit_b0: val AP" in summary.read_text()
    assert typed(["test_all_backbones.py", "--data", "data"], place) == 0
    assert list((place / "checkpoints").glob("evaluation_summary_*.txt"))


def test_one_backbone_is_trained_tested_and_looked_at(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(["visualize.py", "--vis", 1], place) == 0
    assert "without a model: no crossattentiondet.pth" in capsys.readouterr().out
    assert typed(["train.py", "--epochs", 1], place) == 0
    assert typed(["test.py", "--vis", 0], place) == 0
    said = capsys.readouterr().out
    assert "crossattentiondet.pth: mit_b1, epoch 1, val AP" in said and "box_ap50" in said
    assert {path.name for path in (place / "test_results").iterdir()} == {
        "sample_1.png", "result_batch_0_img_0.png", "result_batch_0_img_1.png",
    }  # fmt: skip
    assert (
        typed(["visualize.py", "--results-dir", "seen"], place) == 0
        and (place / "seen" / "sample_0.png").is_file()
    )


@pytest.mark.slow
def test_a_model_is_tuned_from_where_another_ended(trained: Path) -> None:
    model = run_of(trained) / "mit_b0" / "checkpoints" / "best_model.pth"
    line = (
        "--backbone",
        "mit_b0",
        "--epochs",
        1,
        "--lr",
        1e-9,
        "--weights",
        model,
        "--model",
        "tuned.pth",
    )
    assert typed(["train.py", *line], trained) == 0
    before, after = (
        torch.load(path)["model_state_dict"] for path in (model, trained / "tuned.pth")
    )
    learned = {name for name in before if before[name].is_floating_point()}
    assert learned and all(torch.allclose(before[name], after[name], atol=1e-5) for name in learned)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([*SWEEP, "--backbones", "mit_b6"], "invalid choice: 'mit_b6'"),
        ([*SWEEP, "--resolution", 100], "100 is no multiple of 32 from 64 on"),
        ([*SWEEP, "--channels", "r", "g", "b"], "5 channels; expected 3"),
        ([SWEEP[0], "--data", "nowhere"], "nowhere"),
        ([SWEEP[0], "--epochs", 3], "the following arguments are required: --data"),
        ([SWEEP[0], "--resume", "nowhere"], "--resume nowhere: no run_config.json to read"),
        (
            [SWEEP[0], "--resume", "x", "--epochs", 3],
            "--resume uses the settings of that run",
        ),
        (["test.py", "--model", "nowhere.pth"], "nowhere.pth"),
        (["visualize.py", "--vis", 99], "--vis 99: 10 images; expected 0 to 9"),
    ],
)
def test_what_cannot_be_is_one_line_before_training(
    place: Path, capsys: pytest.CaptureFixture[str], line: Any, words: str
) -> None:
    assert typed(line, place) in (1, 2)
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


def test_a_model_of_another_backbone_or_another_division_is_named(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = run_of(trained) / "mit_b0" / "checkpoints" / "best_model.pth"
    assert typed(["test.py", "--model", model, "--backbone", "mit_b1"], trained) == 2
    assert (
        "a model with mit_b0; expected mit_b1, as --backbone says; next: --backbone mit_b0"
        in capsys.readouterr().err
    )
    line: Any = ("test.py", "--model", model, "--epochs", 2, "--valid-share", 0.3)
    assert typed(line, trained) == 0
    said = capsys.readouterr().err
    assert (
        "not the division of it, that the model was trained on" in said
        and "--epochs has no effect here" in said
    )
