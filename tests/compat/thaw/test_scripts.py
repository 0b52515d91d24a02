"""The thaw recipe's commands, with the configurations of their text typed as they stand there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from segue.compat.thaw.config import Config, read
from segue.training.journal import read_rows
from tests.compat.thaw.commands import (
    CHECKPOINTS,
    COMMANDS,
    EXAMPLES,
    FOLDER,
    a_process_of_its_own,
    backbone,
    command,
    moved,
    write_config,
)
from tests.compat.thaw.conftest import Here
from tests.compat.thaw.test_coco_eval_val2017 import pycocotools_figures
from tests.conftest import SAMPLES

Trained = dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def trained(place: Path, rendered: Path) -> Trained:
    """All four examples, one after another in one folder, as a person would type them."""
    done = {}
    for name, text in EXAMPLES.items():
        config = write_config(place, name, text, rendered).name
        typed = command if done else a_process_of_its_own
        done[name] = typed("train.py", "--config", config, cwd=place)
        assert done[name].returncode == 0, done[name].stderr
    return done


def test_the_commands_are_those_of_the_text() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_its_flags(name: Any, here: Here) -> None:
    code, said = here(name, "--help")
    assert code == 0 and "--config" in said


def test_the_four_examples_of_the_text_run_and_leave_what_it_promises(
    place: Path, trained: Trained
) -> None:
    for number, name in enumerate(EXAMPLES):
        folder = place / CHECKPOINTS.format(number)
        names = sorted(path.name for path in folder.glob("*.ckpt"))
        # two epochs, of which the best five are kept
        assert names[-1] == "last.ckpt" and len(names) == 3
        losses = read_rows(
            place / "lightning_logs" / "runs" / f"thaw-{number + 1}" / "1-tune" / "steps.csv"
        )
        mean = sum(row["loss"] for row in losses if row["epoch"] == 2) / 2
        assert names[1] == f"best_epoch=1-step=4-train_loss={mean:.4f}.ckpt"
        assert str(folder.relative_to(place) / names[0]) in trained[name].stdout
        assert yaml.safe_load((folder.parent / "config.yaml").read_text())["train"]["epochs"] == 2
        assert "stages" in (folder.parent / "hparams.yaml").read_text() and list(
            folder.parent.glob("events.*")
        )
    assert len(trained) == 4


def test_the_backbone_moves_exactly_where_the_example_says(
    place: Path, trained: Trained, tmp_path: Path
) -> None:
    start = place / CHECKPOINTS.format(0) / "last.ckpt"
    peer = torch.load(place / "test_vit.pth")
    scratch = backbone(start)
    assert all(
        torch.equal(scratch[f"backbone.net.{name}"], t)
        for name, t in peer.items()
        if "head" not in name
    )
    epochs = {
        number: sorted((place / CHECKPOINTS.format(number)).glob("best*.ckpt"))
        for number in (1, 2, 3)
    }
    assert [[moved(start, path) for path in epochs[number]] for number in (1, 2, 3)] == [
        [False, False], [True, True], [False, True],
    ]  # fmt: skip
    assert "frozen backbone: 78 tensors, 306,240 values unchanged" in trained["frozen"].stderr
    assert "epoch 2: backbone thaws" in trained["progressive"].stderr


def test_what_a_stage_handed_over_is_counted(trained: Trained) -> None:
    assert (
        "177 tensors, 554,760 parameters handed over; 0 tensors fresh" in trained["frozen"].stderr
    )
    assert (
        "78 tensors, 306,240 parameters handed over; 99 tensors fresh" in trained["scratch"].stderr
    )


def test_versions_of_other_programs_are_left_alone(
    place: Path, rendered: Path, trained: Trained, here: Here, tmp_path: Path
) -> None:
    theirs = tmp_path / CHECKPOINTS.format(3) / "best_epoch=6-step=51751-train_loss=2.9145.ckpt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    config = write_config(place, "beside", EXAMPLES["scratch"], rendered, epochs=1)
    for _ in range(2):  # typed twice, it is the same run
        assert here("train.py", "--config", config, cwd=tmp_path)[0] == 0
    assert (
        theirs.read_text() == "mine" and (tmp_path / CHECKPOINTS.format(4) / "last.ckpt").is_file()
    )
    assert {path.name for path in tmp_path.glob("lightning_logs/version_*")} == {
        "version_3",
        "version_4",
    }


def test_the_default_file_says_what_is_left_out_of_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert read(FOLDER / "configs" / "default.yaml") == Config()
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"train": {"unfreeze_backbone_at_epoch": 2}},
            "train.unfreeze_backbone_at_epoch: 2 never happens in 2 epochs",
        ),
        ({"train": {"unfreeze_backbone_at_epoch": 0}}, "0, which freezes nothing"),
        (
            {"train": {"unfreeze_backbone_at_epoch": 1, "freeze_backbone": False}},
            "but freeze_backbone is false",
        ),
        (
            {"train": {"freeze_backbones": True}},
            "unknown key 'freeze_backbones'; did you mean 'freeze_backbone'?",
        ),
        ({"trian": {}}, "unknown key 'trian'; did you mean 'train'?"),
        (
            {"train": {"limit_train_batches": 5}},
            "train.limit_train_batches: 5: an epoch is always all images",
        ),
        ({"train": {"learning_rate": -1}}, "train.learning_rate: Input should be greater than 0"),
        ({"model": {"backbone": "resnet51"}}, "model.backbone: timm has no pretrained resnet51"),
        (
            {"train": {"checkpoint_path": "absent.ckpt"}},
            "absent.ckpt: neither a file or folder here nor a model",
        ),
        (
            {"model": {"use_conditional_decoder": True}, "train": {"checkpoint_path": "last"}},
            "tensors differ",
        ),
    ],
)
def test_what_cannot_be_is_one_line_before_training(
    place: Path,
    trained: Trained,
    rendered: Path,
    tmp_path: Path,
    here: Here,
    keys: dict[str, Any],
    words: str,
) -> None:
    config = write_config(place, "wrong", EXAMPLES["scratch"], rendered)
    content = yaml.safe_load(config.read_text())
    if "resnet51" in str(keys):
        content["model"] = {}
    for section, values in keys.items():
        content.setdefault(section, {}).update(values)
    if content["train"]["checkpoint_path"] == "last":
        content["train"]["checkpoint_path"] = str(place / CHECKPOINTS.format(0) / "last.ckpt")
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(content))
    code, said = here("train.py", "--config", "wrong.yaml", cwd=tmp_path)
    assert code == 2 and words in said and "Traceback" not in said, said
    assert not list(tmp_path.rglob("*.ckpt"))


def test_keys_without_effect_are_named_with_their_place(
    place: Path, rendered: Path, trained: Trained, here: Here
) -> None:
    text = (
        EXAMPLES["scratch"]
        + "  debug_overfit: 3\n  lr_scheduler_monitor: val_loss\nlogging: {level: info}\n"
    )
    text = text.replace("null", "lightning_logs/runs/thaw-1")  # a run will do as well as a file
    config = write_config(place, "dead", text, rendered, epochs=1)
    code, said = here("train.py", "--config", config.name, cwd=place)
    assert code == 0 and "177 tensors, 554,760 parameters handed over" in said, said
    for key in (
        "train.debug_overfit has no effect here",
        "logging has no effect here",
        "val_loss is not followed",
    ):
        assert key in said
    assert "dead.yaml:" in said


def evaluated(here: Here, place: Path, *flags: object) -> tuple[dict[str, Any], list[Any]]:
    line = (
        "--config",
        "scratch.yaml",
        "--checkpoint",
        f"{CHECKPOINTS.format(2)}/last.ckpt",
        "--num-workers",
        0,
    )
    code, said = here("coco_eval_val2017.py", *line, "--batch-size", 2, *flags, cwd=place)
    assert code == 0, said
    metrics = json.loads((place / "outputs" / "cocoeval_val2017_metrics.json").read_text())
    return metrics, json.loads(
        (place / "outputs" / "cocoeval_val2017_predictions.json").read_text()
    )


@pytest.mark.parametrize(
    ("flags", "images"), [((), slice(5)), (("--start-idx", 1, "--num-images", 3), slice(1, 4))]
)
def test_the_twelve_figures_are_pycocotools_on_the_same_detections(
    place: Path, trained: Trained, rendered: Path, here: Here, flags: tuple[Any, ...], images: Any
) -> None:
    metrics, predictions = evaluated(here, place, *flags)
    assert (
        len(metrics["metrics"]) == 12
        and metrics["num_images"] == images.stop - metrics["start_idx"]
    )
    wanted = pycocotools_figures(rendered / "valid" / "_annotations.coco.json", predictions, images)
    assert list(metrics["metrics"].values()) == wanted


def test_the_flags_of_the_evaluation_do_what_they_say(
    place: Path, trained: Trained, here: Here
) -> None:
    metrics, predictions = evaluated(
        here, place, "--max-detections-per-image", 4, "--class-id-offset", 10
    )
    assert {entry["category_id"] for entry in predictions} <= {11, 12, 13} and len(
        predictions
    ) == 4 * 5
    assert metrics["max_detections_per_image"] == 4 and metrics["class_id_offset"] == 10
    highest = max(entry["score"] for entry in predictions)
    _, fewer = evaluated(here, place, "--score-threshold", highest)
    assert [entry["score"] for entry in fewer] == [highest]


@pytest.mark.parametrize("preset", ["clean", "debug"])
def test_inference_draws_every_image(
    place: Path, trained: Trained, here: Here, preset: str
) -> None:
    line = (
        "--config",
        "scratch.yaml",
        "--checkpoint",
        f"{CHECKPOINTS.format(1)}/last.ckpt",
        "--preset",
        preset,
    )
    code, said = here("inference.py", *line, "--out", preset, cwd=place)
    assert code == 0 and len(list((place / preset).glob("*.png"))) == 5 == said.count(
        ".png: "
    ) + said.count(".jpg: ")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frozen", "full", "progressive"])
def test_all_three_strategies_run_on_real_blood_cells(
    place: Path, trained: Trained, name: str
) -> None:
    data = SAMPLES / "bccd-44"
    if not data.is_dir():
        pytest.skip("no sample data bccd-44 next to the checkout")
    config = write_config(place, f"bccd-{name}", EXAMPLES[name], data)
    done = command("train.py", "--config", config.name, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "new with fresh rows: Platelets, RBC, WBC" in done.stderr
