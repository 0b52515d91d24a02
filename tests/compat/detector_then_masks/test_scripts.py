"""The commands of the original projects, typed as their texts have them, leave the files that these
promise.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.models import ModelSpec, rfdetr
from segue.models.weights.rfdetr import rfdetr_file
from segue.training.journal import read_rows
from tests.conftest import ROOT
from tests.typed import in_process

FOLDER = ROOT / "scripts" / "detector-then-masks"
COMMANDS = {
    "validate_setup.py", "train_detector_stage1.py", "shrink_head.py", "strip_class_heads.py",
    "train_seg_stage2.py", "train_seg_single_stage.py",
}  # fmt: skip
PROMISED = ("best.pt", "last.pt", "checkpoint.pt", "checkpoint_best_regular.pth", "metrics.json")


def in_a_process_of_its_own(
    name: str, *arguments: object, cwd: Path
) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-W", "ignore", str(FOLDER / name), *map(str, arguments)]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=600)


def command(name: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return in_process(FOLDER / name, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def place(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dataset`, as the texts have it."""
    folder = tmp_path_factory.mktemp("scripts")
    (folder / "dataset").symlink_to(rendered)
    return folder


@pytest.fixture(scope="module")
def stage1(place: Path) -> Path:
    flags = ("--size", "pico", "--epochs", 1, "--batch", 4, "--accum", 2, "--workers", 0)
    done = in_a_process_of_its_own("train_detector_stage1.py", *flags, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "training starts from random weights" in done.stderr
    return place / "runs" / "detector_pico_128_1"


def seg_stage2(place: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    short = (
        "--size",
        "pico",
        "--epochs",
        1,
        "--batch",
        4,
        "--accum",
        2,
        "--workers",
        0,
        "--multi_scale",
        "false",
    )
    return command("train_seg_stage2.py", *short, *flags, cwd=place)


@pytest.fixture(scope="module")
def stage2(place: Path, stage1: Path) -> Path:
    done = seg_stage2(place, "--stage1_run", stage1)
    assert done.returncode == 0, done.stderr
    assert "tensors fresh" in done.stderr and "values unchanged" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("test: mask_ap ")
    return place / "runs" / "segmentation_pico_128_1"


def test_the_commands_are_those_of_the_text() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_its_flags(
    name: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert end.value.code == 0 and f"usage: {name}" in capsys.readouterr().out


def test_the_setup_is_validated(place: Path, tmp_path: Path) -> None:
    done = command("validate_setup.py", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "masks: stage 2 can follow" in done.stdout and "rf-detr-nano.pth" in done.stdout
    assert command("validate_setup.py", cwd=tmp_path).returncode == 1


def test_stage_1_leaves_what_is_promised(stage1: Path) -> None:
    assert all((stage1 / name).is_file() for name in PROMISED) and list((stage1 / "tb").iterdir())
    content = torch.load(stage1 / "best.pt")  # the safe default
    assert content["args"]["class_names"] == ["cell", "rod", "tube"]
    # three classes and the row that is none
    assert content["model"]["class_embed.weight"].shape[0] == 4
    assert 0 <= json.loads((stage1 / "metrics.json").read_text())["valid"]["box_ap"] <= 1


def test_stage_2_leaves_what_is_promised_and_counts_parameters_not_tensors(
    stage2: Path, stage1: Path
) -> None:
    assert all((stage2 / name).is_file() for name in PROMISED)
    config = json.loads((stage2 / "stage2_config.json").read_text())
    assert set(config) == {
        "stage", "size", "resolution", "stage1_checkpoint", "epochs", "batch_size", "grad_accum",
        "learning_rate",
        "amp_enabled", "device", "num_classes", "class_names", "param_stats", "args",
    }  # fmt: skip
    assert config["stage1_checkpoint"] == str(stage1 / "best.pt")
    counts = config["param_stats"]
    assert counts["detector_frozen"] > 700_000 and counts["seg_head_trainable"] > 20_000
    assert counts["detector_trainable"] == counts["seg_head_frozen"] == 0


def test_the_detector_in_stage_2s_file_is_stage_1s_to_the_bit(stage1: Path, stage2: Path) -> None:
    before, after = (torch.load(folder / "best.pt")["model"] for folder in (stage1, stage2))
    assert len(before) > 200
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.slow
def test_shrinking_the_head_first_changes_nothing_to_the_bit(
    place: Path, stage1: Path, stage2: Path
) -> None:
    shrunk = place / "shrunk.pth"
    done = command(
        "shrink_head.py", "--in_ckpt", stage1 / "best.pt", "--out_ckpt", shrunk,
        "--keep", "cell", "rod", "tube",
        cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = seg_stage2(place, "--stage1_run", stage1, "--checkpoint", shrunk)
    assert again.returncode == 0, again.stderr
    other = place / "runs" / "segmentation_pico_128_2"
    first, second = (torch.load(folder / "best.pt")["model"] for folder in (stage2, other))
    assert first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
    curves = [
        read_rows(place / "runs" / f"segmentation_pico_128-{n}" / "1-masks" / "steps.csv")
        for n in (1, 2)
    ]
    assert [row["loss"] for row in curves[0]] == [row["loss"] for row in curves[1]] != []


@pytest.mark.slow
def test_ninety_one_rows_of_coco_are_shrunk_by_name_in_every_head(place: Path) -> None:
    """The original kept rows 0, 1 and 90 whatever the names said, and left thirteen heads as they
    were.
    """
    names = ["person", "bicycle", *(f"thing {number}" for number in range(87)), "toothbrush"]
    options, _ = rfdetr.resolve_options(rfdetr.Options(groups=3), rfdetr.SIZES["pico"], 5, "cpu")
    spec = ModelSpec(
        family="rfdetr", size="pico", classes=tuple(names), options=options.model_dump()
    )
    content = rfdetr_file(
        rfdetr.build(spec, masks=False).state_dict(), tuple(names), {"size": "pico"}
    )
    torch.save(content, place / "coco.pth")
    done = command(
        "shrink_head.py", "--in_ckpt", "coco.pth", "--out_ckpt", "three.pth",
        "--keep", "toothbrush", "bicycle",
        cwd=place,
    )  # fmt: skip
    assert done.returncode == 0 and "91 -> 3 rows in 8 tensors" in done.stdout, (
        done.stdout + done.stderr
    )
    before, after = (torch.load(place / name)["model"] for name in ("coco.pth", "three.pth"))
    heads = [name for name in before if "class_embed" in name]
    assert len(heads) == 8
    for name in heads:
        assert torch.equal(after[name][:2], before[name][[89, 1]])
    wrong = ("--in_ckpt", "coco.pth", "--out_ckpt", "x.pth", "--keep", "glomerulus")
    refused = command("shrink_head.py", *wrong, cwd=place)
    assert (
        refused.returncode == 2
        and "no class glomerulus" in refused.stderr
        and not (place / "x.pth").exists()
    )


def test_stripping_drops_every_class_head_and_nothing_else(place: Path, stage1: Path) -> None:
    done = command("strip_class_heads.py", stage1 / "best.pt", "stripped.pth", cwd=place)
    assert done.returncode == 0, done.stderr
    before, after = torch.load(stage1 / "best.pt"), torch.load(place / "stripped.pth")
    assert set(before["model"]) - set(after["model"]) == {
        name for name in before["model"] if "class_embed" in name
    }
    assert after["args"] == before["args"]


def test_the_single_stage_trains_both_at_once(place: Path) -> None:
    flags = (
        "--size",
        "pico",
        "--epochs",
        1,
        "--batch",
        4,
        "--accum",
        2,
        "--workers",
        0,
        "--multi_scale",
        0,
    )
    done = command(
        "train_seg_single_stage.py", *flags, "--warmup_epochs", 0, "--num_queries", 40, cwd=place
    )
    assert done.returncode == 0, done.stderr
    folder = place / "runs" / "joint_pico_128_1"
    assert "no GPU here" in done.stdout or torch.cuda.is_available()
    assert all((folder / name).is_file() for name in PROMISED)
    assert "mask_ap" in json.loads((folder / "metrics.json").read_text())["valid"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--epochs", 0), "0 is not above 0"),
        (("--seg_lr", -1), "-1 is not above 0"),
        (("--mask_loss_coef", -1), "loss: mask_bce: -1.0"),
        (("--resolution", 100), "100; expected a multiple of 16"),
    ],
)
def test_a_flag_that_cannot_work_is_a_line_and_exit_code_2(
    place: Path, stage1: Path, flags: tuple[Any, ...], words: str
) -> None:
    done = seg_stage2(place, "--stage1_run", stage1, *flags)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )


def test_a_stage_taken_over_from_an_earlier_run_still_leaves_its_files(
    place: Path, stage2: Path
) -> None:
    done = seg_stage2(place, "--stage1_run", place / "runs" / ".." / "runs" / "detector_pico_128_1")
    assert done.returncode == 0, done.stderr
    newest = max(
        place.glob("runs/segmentation_pico_128_*"),
        key=lambda path: int(path.name.rpartition("_")[2]),
    )
    assert newest != stage2 and all((newest / name).is_file() for name in PROMISED)


def test_a_missing_stage_1_is_one_line(place: Path) -> None:
    done = seg_stage2(place, "--stage1_run", "runs/absent")
    assert done.returncode == 2 and "runs/absent: no checkpoint" in done.stderr
    assert "Traceback" not in done.stderr
